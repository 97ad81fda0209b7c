"""The in-process transport where threads differ from processes: how a worker ends, and how one hangs.

What it has in common with the others is in test_transports.py and test_transport_failures.py.
"""

import re
import threading
import time
from pathlib import Path

import fake_host
import pytest
from contract import DEADLINE, LEFT_OUT_OVER_THREADS, failures_of, make
from fake_host import Hangs, Leaves
from leaks import nothing_left

from rollout_perf import EngineError, Stalled, WorkerDied
from rollout_perf.transports.base import DEATH_NOTICE_SECONDS, HostSpec


@pytest.fixture
def transport(folder):
    """One with two workers, not started; afterwards nothing of it may be left."""
    fake_host.RELEASED.clear()
    with nothing_left(folder, only=("thread", "descriptor", "file")):
        made = make("in-process", folder, 2)
        try:
            yield made
        finally:
            fake_host.RELEASED.set()
            made.close()


def spec(host: type, payload: bytes = b"") -> HostSpec:
    return HostSpec(f"fake_host:{host.__name__}", payload)


def test_what_is_left_out_over_threads_are_tests_of_the_contract():
    files = [
        Path(__file__).with_name(f"test_{name}.py")
        for name in ("transports", "transport_failures", "endurance")
    ]
    known = {
        name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert set(LEFT_OUT_OVER_THREADS) - known == set()


def test_a_thread_that_ends_in_a_call_is_worker_died(transport):
    transport.start(spec(Leaves), DEADLINE)
    noted = failures_of(transport)
    begin = time.monotonic()
    with pytest.raises(WorkerDied, match=r"worker [01] \(a thread\) ended: SystemExit: no more"):
        transport.send([b"go"], [0], DEADLINE).result()
    assert time.monotonic() - begin < DEATH_NOTICE_SECONDS
    assert [type(error) for error in noted.errors] == [WorkerDied]


def test_a_thread_that_ends_while_its_host_is_built_is_worker_died(transport):
    with pytest.raises(WorkerDied, match="ended: SystemExit: no more"):
        transport.start(spec(Leaves, b"at the start"), DEADLINE)


def test_a_host_that_hangs_in_a_call_has_stalled(transport):
    transport.start(spec(Hangs), DEADLINE)
    begin = time.monotonic()
    with pytest.raises(Stalled, match=r"no answer from worker 0, 1 within 0\.3 s"):
        transport.send([b"go"], [0, 1], 0.3).result()
    assert 0.3 <= time.monotonic() - begin < 1.0
    with pytest.raises(Stalled):
        transport.send([b"go"], [0], DEADLINE)


def test_a_host_that_hangs_while_it_is_built_has_stalled(transport):
    with pytest.raises(Stalled, match=r"within 0\.3 s"):
        transport.start(spec(Hangs, b"at the start"), 0.3)


def test_a_caller_that_waits_gets_an_error_when_the_transport_is_closed(transport):
    transport.start(spec(Hangs), DEADLINE)
    reply = transport.send([b"go"], [0], DEADLINE)
    closing = threading.Timer(0.1, transport.close)
    closing.start()
    with pytest.raises(EngineError, match="closed while a call was under way"):
        reply.result()
    fake_host.RELEASED.set()
    closing.join()
