"""transports/run.py: what a run leaves is removed, although those who made it have ended before the run."""

import subprocess
import sys
from pathlib import Path

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
    with run.surroundings():
        process, ours = started()
    try:
        known = run.shared_memory()
        assert ours.name in known
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
