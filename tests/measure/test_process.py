"""process.py: what was started is found again, whatever it calls itself."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from leaks import eventually, nothing_left
from rollout_bench.measure.marked import kill_marked, marked
from rollout_bench.measure.process import Outcome, _environment, run_module
from rollout_bench.schema.variables import LOG, MARK

ROOT = Path(__file__).resolve().parents[2]

TITLED = """
import setproctitle, time
setproctitle.setproctitle("VLLM::EngineCore")
print("titled", flush=True)
time.sleep(60)
"""

USER_OF_SHARED_MEMORY = """
import time
from multiprocessing import shared_memory
memory = shared_memory.SharedMemory(create=True, size=4096)
print(memory.name, flush=True)
time.sleep(60)
"""


TALKS = r"""
import os
os.write(1, b"progress half of it \xff\n" + b"\xff a line of the log\n" * 20_000 + b"progress all of it\n")
"""


@pytest.mark.timeout(30)
@pytest.mark.parametrize("listener", ["goes on", "has gone"])
@pytest.mark.parametrize("log", [None, "log", "/dev/full"])
def test_who_prints_is_always_read(log, listener, tmp_path, monkeypatch):
    """Bytes that are no text, a full disk, a listener that has gone: it stalled at a full pipe."""
    (tmp_path / "talks.py").write_text(TALKS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    if log:
        monkeypatch.setenv(LOG, str(tmp_path / log))
    said = []

    def say(text):
        said.append(text)
        if listener == "has gone":
            raise BrokenPipeError

    assert run_module("talks", {}, say, 10.0) == Outcome("")
    assert said == ["half of it \ufffd", "all of it"]
    if log == "log":
        assert (tmp_path / log).read_text(encoding="utf-8").count("\ufffd a line of the log\n") == 20_000


ASV = f"""#!{sys.executable}
import subprocess, sys
sys.exit(subprocess.run([sys.executable, "-c", *sys.argv[2:]], process_group=0).returncode)
"""

SETUP_CACHE = """
from rollout_bench.measure.process import run_module
for _ in range(2):
    run_module("holds", {}, lambda text: print(text, flush=True), 60.0)
"""

HOLDS = """
import subprocess, sys, time
from rollout_bench.measure.process import say
subprocess.Popen(["sleep", "300"], start_new_session=True)
say("holds a session")
time.sleep(300)
"""

BUILDS = """
import subprocess
from rollout_bench.measure import asv_cases
def installer(_name):
    print("holds an installer", flush=True)
    subprocess.run(["sleep", "300"])
asv_cases.asv_records.records_file = installer
asv_cases.measure(type("Table", (), {"name": "nano"}))
"""


SERVES = """
import time
import benchmarks
print("holds the benchmarks", flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize(
    ("code", "mode"),
    [(SETUP_CACHE, "setup_cache"), (BUILDS, "setup_cache"), (SERVES, "run_server")],
    ids=["measures", "builds the control", "serves lookups"],
)
def test_what_asv_has_started_ends_with_an_asv_that_is_killed(code, mode, tmp_path, monkeypatch):
    """A setup_cache went on for hours, and started the engines of the sessions that were left."""
    (tmp_path / "holds.py").write_text(HOLDS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}", prepend=os.pathsep)
    asv = tmp_path / "asv"
    asv.write_text(ASV)
    asv.chmod(0o755)
    with (
        nothing_left(only=("process",)),
        subprocess.Popen([asv, "run", code, mode], stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout.readline().startswith("holds ")
        process.kill()


def test_who_is_killed_leaves_no_shared_memory():
    """Python's tracker would unlink it, and carries the mark as well."""
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-c", USER_OF_SHARED_MEMORY],
        env=_environment(mark, {"PATH": "/usr/bin"}, "/nowhere"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    segment = Path("/dev/shm") / process.stdout.readline().strip()
    try:
        assert segment.exists()
        assert eventually(lambda: len(marked(MARK, mark)) == 2)
        kill_marked(MARK, mark)
        assert marked(MARK, mark) == []
        assert not segment.exists()
    finally:
        process.kill()
        process.communicate()
        segment.unlink(missing_ok=True)


def test_a_process_that_has_given_itself_a_title_is_found_by_its_mark_and_killed():
    """vLLM's engine does; unfound, it would outlive a run that was killed, and hold the GPU."""
    pytest.importorskip("setproctitle")
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-c", TITLED],
        env=_environment(mark, {"PATH": "/usr/bin"}, "/nowhere"),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "titled\n"
        assert marked(MARK, mark) == [process.pid]
        kill_marked(MARK, mark)
        assert eventually(lambda: process.poll() is not None)
    finally:
        process.kill()
        process.communicate()
