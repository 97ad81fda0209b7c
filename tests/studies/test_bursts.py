"""studies/bursts.py: the load is there while the command runs, and not for longer."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BESIDE = """
import os, sys, time
print(os.getpid(), open(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read(), flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(3)
"""


def started(seconds):
    asked = [sys.executable, "-m", "studies.bursts", sys.executable, "-c", BESIDE, str(seconds)]
    return subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def load_of(said):
    own, *beside = map(int, said.split())
    [load] = {*beside} - {own}
    return load


def is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_status_is_the_commands_and_the_load_ends_with_it():
    process = started(0)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert not is_there(load_of(said))


def test_the_load_ends_where_whoever_asked_is_killed():
    process = started(0.5)
    load = load_of(process.stdout.readline())
    assert is_there(load)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 20
    while is_there(load) and time.monotonic() < end:
        time.sleep(0.1)
    assert not is_there(load)
