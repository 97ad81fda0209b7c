"""What a command's exit code says: a crash is 3 and never 1, which is a verdict; and what a crash leaves."""

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rollout_bench.cli import main as cli
from rollout_bench.errors import BenchError

WORDS = {
    "measure": ["--path", "zmq"],
    "compare": ["--path", "zmq"],
    "limit": ["--path", "zmq"],
    "report": ["newest"],
    "gate": ["HEAD~1", "HEAD"],
    "workload": ["fixed"],
    "record": ["log", "--output", "workload.jsonl"],
    "campaign": ["CAMPAIGN.toml"],
    "releases": ["ray"],
    "upgrade": ["ray==2.58.0"],
}
ROOT = Path(__file__).resolve().parents[2]
SECRET = "sesame-open-5f1c"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("error", "code"), [(BenchError("no"), 2), (KeyboardInterrupt(), 130), (ZeroDivisionError(), 3)]
)
def test_the_code_is_the_same_where_nobody_can_be_told_why(error, code, temporary, monkeypatch):
    """Python itself would end with 1, which is a verdict."""
    raise_instead("gate", error, monkeypatch)
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr("sys.stderr", full)
        assert cli.main(["gate", "HEAD~1", "HEAD"]) == code
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # closing it writes what is left


def test_a_full_disk_is_told_in_a_line_and_is_no_defect(monkeypatch, capsys):
    raise_instead("gate", OSError(errno.ENOSPC, "No space left on device", "gates/x.json"), monkeypatch)
    assert cli.main(["gate", "HEAD~1", "HEAD"]) == 2
    assert capsys.readouterr().err == (
        "rollout-perf: [Errno 28] No space left on device: 'gates/x.json': make room and run it again\n"
    )


def raise_instead(command, error, monkeypatch):
    def run(_given):
        raise error

    monkeypatch.setattr(cli._load(command), "run", run)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_crash_is_3_with_one_line_and_a_report(command, temporary, monkeypatch, capsys):
    monkeypatch.setenv("ROLLOUT_PERF_PASSWORD", SECRET)
    raise_instead(command, ZeroDivisionError("no\nsuch number"), monkeypatch)
    words = [command, *WORDS.get(command, [])]
    assert cli.main(words) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rollout-perf: crashed: ZeroDivisionError: no such number (")
    assert err.count("\n") == 1
    [file] = re.findall(r"(/\S+\.txt)\)", err)
    assert Path(file).parent == temporary
    report = Path(file).read_text()
    assert f"command:  rollout-perf {shlex.join(words)}\n" in report
    for part in (
        "\nplatform: ",
        "\npython: ",
        "\nasv 0.",
        "\nvllm",
        "Traceback (most recent",
        "line ",
        "in run",
    ):
        assert part in report
    assert SECRET not in report


def test_a_crash_where_no_report_can_be_written_is_3_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    raise_instead("pipe", ZeroDivisionError(), monkeypatch)
    assert cli.main(["pipe"]) == 3
    err = capsys.readouterr().err
    assert "ZeroDivisionError (no report of it can be written: " in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_tool_that_failed_is_no_verdict(command, monkeypatch, capsys):
    raise_instead(command, BenchError("asv failed"), monkeypatch)
    assert cli.main([command, *WORDS.get(command, [])]) == 2
    assert capsys.readouterr().err == "rollout-perf: asv failed\n"


@pytest.mark.parametrize("command", ["detect", "report"])
def test_an_encoding_without_our_signs_ends_nothing(command, tmp_path):
    words = [command, *WORDS.get(command, [])]
    code = "import sys\nfrom rollout_bench.cli.main import main\nsys.exit(main())"
    variables = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, env=variables, capture_output=True, text=True
    )
    assert done.returncode in (0, 1), done.stderr  # of detect 1 is a regression
    assert done.stdout.isascii()
    assert "?" in done.stdout


def test_the_module_exits_as_the_command_does(tmp_path):
    code = (
        "import runpy, rollout_bench.cli.pipe as pipe\n"
        "pipe.run = lambda given: [][0]\n"
        "runpy.run_module('rollout_bench.cli', run_name='__main__')"
    )
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code, "pipe"], env=variables, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("rollout-perf: crashed: IndexError: list index out of range")
    assert len(list(tmp_path.glob("rollout-perf-crash-*.txt"))) == 1


ENDED = """
import subprocess, sys, time
from types import SimpleNamespace
from rollout_bench.cli import main

CHILD = "import time; print('up', flush=True); time.sleep(60)"

def run(given):
    try:
        child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
        print(child.stdout.readline().strip(), flush=True)
        time.sleep(60)
    finally:
        child.send_signal(2)
        time.sleep(0.5)
        child.wait(5)
        print("ended what it had started", flush=True)

main._load = lambda name: SimpleNamespace(arguments=lambda parser: None, run=run)
sys.argv = ["rollout-perf", "track"]
sys.exit(main.main())
"""


@pytest.mark.parametrize(
    "signals", [(signal.SIGTERM,), (signal.SIGHUP,), (signal.SIGINT, signal.SIGTERM), (signal.SIGTERM,) * 2]
)
def test_whoever_asks_for_the_end_gets_it_as_at_ctrl_c(signals):
    """A timeout, a cancelled job, `docker stop`, a closed terminal: asv, engines and workers went on.

    A script starts it with `&`, by which it and what it starts would ignore SIGINT.
    """
    words = [sys.executable, "-c", ENDED]
    if signal.SIGINT not in signals:
        words = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *words]
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # whatever started the tests
    )
    assert process.stdout.readline() == "up\n"
    for number in signals:
        process.send_signal(number)
        time.sleep(0.1)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "ended what it had started\n")
    assert err.endswith("KeyboardInterrupt\nrollout-perf: interrupted\n")
