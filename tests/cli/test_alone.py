"""measure/alone.py: one process measures, or writes to a file; the second waits, and says for whom."""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rollout_bench.cli import main as cli
from rollout_bench.history import asv_runs, environments
from rollout_bench.measure import alone as module
from rollout_bench.measure import machine
from rollout_bench.measure.alone import alone
from rollout_bench.measure.process import run_module
from rollout_bench.schema.variables import ALONE
from simulated import write_repository

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import os, pathlib, sys, time
from rollout_bench.measure import alone as module
module._MACHINE = pathlib.Path(sys.argv[1])
with module.alone(print, *map(pathlib.Path, sys.argv[2:])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder of the machine's lock; other tests hold the true one."""
    monkeypatch.delenv(ALONE)
    monkeypatch.setattr(module, "_MACHINE", tmp_path / "locks")
    return tmp_path / "locks"


def is_locked(file):
    with file.open("ab") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.timeout(60)
@pytest.mark.parametrize("shared", ["machine", "file"])
def test_who_comes_second_waits_says_for_whom_and_goes_on_when_that_is_killed(shared, folder, tmp_path):
    files = [tmp_path / "records"] if shared == "file" else []
    held = folder if shared == "machine" else tmp_path / "elsewhere"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(held), *map(str, files)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    said, waits, done = [], threading.Event(), threading.Event()

    def say(text):
        said.append(text)
        waits.set()

    def second():
        with alone(say, *files):
            done.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert waits.wait(20)
    assert not done.wait(0.3)
    holder.kill()
    holder.communicate()
    thread.join(20)
    assert done.is_set()
    what = f"writes to {files[0]}" if files else "measures on this machine"
    assert said[0].startswith(f"waiting for process {holder.pid} ({sys.executable} -c")
    assert said[0].endswith(f", which {what}")
    assert said[1:] == ["the wait is over"]
    assert not [file for file in (folder / "measuring", *files) if file.exists()]


def test_what_is_started_does_not_wait_for_who_started_it(tmp_path, monkeypatch, folder):
    """track starts asv, which starts a process that measures; gate and compare measure again and again."""
    (tmp_path / "answers.py").write_text(
        "from rollout_bench.measure.alone import alone\nwith alone(print): pass"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = []
    with alone(said.append):
        assert is_locked(folder / "measuring")
        assert run_module("answers", {}, said.append, 20.0).reason is None
    assert run_module("answers", {}, said.append, 20.0).reason is None
    assert said == []
    assert ALONE not in os.environ


def test_a_folder_that_others_can_reach_is_not_used_and_this_is_said(tmp_path, folder):
    folder.symlink_to(tmp_path)
    said = []
    with alone(said.append):
        assert not (tmp_path / "measuring").exists()
    [warning] = said
    assert warning.startswith(f"warning: {folder}/measuring cannot be locked (its folder is not this user's")


class Stop(KeyboardInterrupt):
    """What ends a command where it would begin to measure."""


@pytest.mark.parametrize("command", ["measure", "limit", "compare", "track", "gate"])
def test_every_command_that_measures_is_alone_with_what_it_writes_to(
    command, tmp_path, folder, monkeypatch, capsys
):
    checkout, output = tmp_path / "repository", tmp_path / "records"
    write_repository(checkout, 2)
    (checkout / "benchmarks").mkdir()
    for name in ("asv.conf.json", "tracked.toml"):
        shutil.copy(ROOT / name, checkout)
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(machine, "gpus", list)
    words = {"track": ["--no-publish"], "gate": ["HEAD~1", "HEAD"]}
    file = checkout / ".asv" / "rollout-perf.lock" if command in words else output
    found = []

    def begin(*_arguments, **_keywords):
        found.append((is_locked(file), is_locked(folder / "measuring"), ALONE in os.environ))
        raise Stop

    for name in ("measure.measure_cases", "limit.measure_cases", "compare.run_session"):
        monkeypatch.setattr(f"rollout_bench.cli.{name}", begin)
    monkeypatch.setattr(environments, "build", begin)
    monkeypatch.setattr(asv_runs, "run_asv", begin)
    assert cli.main([command, *words.get(command, ["--path", "zmq", "--output", str(output)])]) == 130
    assert found == [(True, True, True)]
