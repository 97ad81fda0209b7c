"""studies/bursts.py: the load is there while the command runs, and not for longer."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import psutil
from leaks import eventually, lives

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "import sys; sys.stdin.read(); sys.exit(3)"


@contextmanager
def loaded():
    """The study with a command that ends with its input, and the process that loads a core."""
    asked = [sys.executable, "-m", "studies.bursts", sys.executable, "-c", COMMAND]
    with subprocess.Popen(asked, cwd=ROOT, stdin=subprocess.PIPE) as process:
        beside = psutil.Process(process.pid).children
        assert eventually(lambda: len(beside()) == 2)
        [load] = [one for one in beside() if "--load" in one.cmdline()]
        yield process, load


def test_the_status_is_the_commands_and_the_load_ends_with_it():
    with loaded() as (process, load):
        assert lives(load)
        process.communicate(timeout=60)
        assert process.returncode == 3
        assert not lives(load)


def test_the_load_ends_where_whoever_asked_is_killed():
    with loaded() as (process, load):
        assert lives(load)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert eventually(lambda: not lives(load))
