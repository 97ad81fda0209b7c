"""process.py: what was started is found again, whatever it calls itself."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from leaks import eventually
from rollout_bench.measure.process import _environment, kill_marked, marked
from rollout_bench.schema.variables import MARK

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
        assert len(marked(MARK, mark)) == 2
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
