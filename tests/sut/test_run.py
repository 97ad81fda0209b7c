"""transports/run.py: what a run leaves is removed, although those who made it have ended before the run; and
nothing is ended that belongs to another run."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rollout_perf.surroundings import environment
from rollout_perf.transports.run import Run

USER = """
import sys, time
from multiprocessing import resource_tracker, shared_memory
memory = shared_memory.SharedMemory(create=True, size=4096)
resource_tracker.unregister(memory._name, "shared_memory")  # as if its tracker had been killed with it
print(memory.name, flush=True)
time.sleep(60)
"""


def started() -> tuple[subprocess.Popen, Path]:
    """A process that uses shared memory, which it will not unlink."""
    process = subprocess.Popen([sys.executable, "-c", USER], stdout=subprocess.PIPE, text=True)
    return process, Path("/dev/shm") / process.stdout.readline().strip()


def test_shared_memory_of_who_was_killed_before_the_end_is_removed_and_no_neighbours():
    """Ray kills a worker of vLLM's together with the process that would unlink what it used."""
    neighbour, not_ours = started()
    run = Run.create("zmq", 1.0, 1.0)
    with environment(run.variables()):
        process, ours = started()
    try:
        known = run.shared_memory()
        assert ours.name in known
        late, _, living = str(run.started_late()).partition("; its processes then: ")
        assert late == "the engine did not start within 1 s"
        assert {re.sub(r"[\d.]* \([RS], \d s$", "", one) for one in living[:-1].split("), ")} == {"python"}
        process.kill()
        process.wait()
        assert ours.exists()
        run.end(1.0, known | {not_ours.name})  # one that a living process has mapped stays, whoever names it
        assert not ours.exists()
        assert not_ours.exists()
    finally:
        for one in (process, neighbour):
            one.kill()
            one.communicate()
        for segment in (ours, not_ours):
            segment.unlink(missing_ok=True)


TWO_RUNS = """
import multiprocessing, subprocess, time
import setproctitle
from rollout_perf.surroundings import environment
from rollout_perf.transports.run import Run

def titled(ready):
    setproctitle.setproctitle("VLLM::EngineCore")
    ready.set()
    time.sleep(60)

context = multiprocessing.get_context("fork")
runs = [Run.create("zmq", 1.0, 1.0) for _ in "ab"]
engines = []
for run in runs:
    with environment(run.variables()):
        ready = context.Event()
        engines.append(context.Process(target=titled, args=[ready]))
        engines[-1].start()
        ready.wait()
for ended in map(int, {order!r}):
    runs[ended].end(0.0)
    print([engine.is_alive() for engine in engines])
"""


@pytest.mark.parametrize(
    ("order", "alive"), [("01", "[False, True] [False, False]"), ("10", "[True, False] [False, False]")]
)
def test_the_end_of_a_run_leaves_the_forks_of_another_alone(order, alive):
    """Every fork has the descriptors of all runs that were open when it was made."""
    pytest.importorskip("setproctitle")
    done = subprocess.run(
        [sys.executable, "-c", TWO_RUNS.format(order=order)], capture_output=True, text=True, timeout=30
    )
    assert done.stdout.split("\n")[:2] == re.findall(r"\[.*?\]", alive), done.stderr


def test_who_is_stopped_is_not_waited_for():
    """It cannot end by itself: leaving a rollout took ten seconds more than it had to."""
    run = Run.create("zmq", 1.0, 1.0)
    with environment(run.variables()):
        process = subprocess.Popen(["sleep", "60"])
    process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    run.end(20.0)
    assert time.monotonic() - begin < 10.0
    assert process.wait() == -signal.SIGKILL
