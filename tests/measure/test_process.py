"""process.py: what was started is found again, whatever it calls itself."""

import subprocess
import sys
import uuid

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
