"""What the contract tests of transports share: a transport of each path, with Puppets behind it.

The in-process transport holds the contract too, as far as threads can. It stands beside the table of paths
and not in it: a path of the table is offered by every command, measured and held against a label.
"""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_host import say

from rollout_perf import EngineError
from rollout_perf.transports import TRANSPORTS, Row, wire
from rollout_perf.transports.base import HostSpec, Transport

DEADLINE = 60.0

IN_PROCESS = Row(
    "threads of the driver's process",
    "rollout_perf.transports.executor.TransportExecutor",
    "rollout_perf.transports.in_process:InProcess",
)

CARRIERS = {
    "in-process": IN_PROCESS,
    **{name: row for name, row in TRANSPORTS.items() if row.transport},
}
"""Whatever has a transport of ours: it holds the contract."""

_ONE_PROCESS = "its worker is this process, which would be killed or stopped"
_CANNOT_BE_ENDED = "a thread that sleeps cannot be ended"

LEFT_OUT_OVER_THREADS = {
    "test_the_environment_of_the_spec_reaches_the_worker": "threads share the driver's environment",
    "test_a_worker_that_dies_while_it_starts_is_worker_died": _ONE_PROCESS,
    "test_a_worker_killed_while_a_call_waits_is_noticed": _ONE_PROCESS,
    "test_a_worker_that_kills_itself_in_a_call_is_noticed": _ONE_PROCESS,
    "test_a_worker_killed_while_idle_is_noticed": _ONE_PROCESS,
    "test_a_worker_that_is_stopped_has_stalled_is_ended_all_the_same_and_the_next_start_works": _ONE_PROCESS,
    "test_workers_end_when_the_driver_is_killed": _ONE_PROCESS,
    "test_fifty_starts_and_stops_in_a_row_leave_nothing": _ONE_PROCESS,
    "test_a_worker_that_does_not_start_in_time_has_stalled": _CANNOT_BE_ENDED,
    "test_a_worker_that_does_not_answer_in_time_has_stalled": _CANNOT_BE_ENDED,
    "test_a_caller_that_waits_gets_an_error_when_the_transport_is_closed": _CANNOT_BE_ENDED,
}
"""Tests of the contract that cannot be held by threads, and why; test_in_process.py has what stands in."""

PATHS = [
    pytest.param(
        name,
        marks=[pytest.mark.engine] * bool(row.surroundings) + [pytest.mark.baseline] * row.baseline,
    )
    for name, row in CARRIERS.items()
]

BASELINES = {name for name, row in TRANSPORTS.items() if row.baseline}
"""Every rank replies to every call there, and one call ends before the next begins."""

NEEDS_NO_CLUSTER = [name for name, row in CARRIERS.items() if not row.surroundings]
"""Those whose threads and descriptors are all their own: Ray's library keeps some for the process."""


def leave_out_what_threads_cannot(request: pytest.FixtureRequest, path: str) -> None:
    """Skip the test that asks where `path` is the in-process transport and cannot hold it."""
    name = request.node.originalname
    if path == "in-process" and name in LEFT_OUT_OVER_THREADS:
        pytest.skip(f"in-process: {LEFT_OUT_OVER_THREADS[name]}")


def most_descriptors_left(path: str, starts: int) -> int:
    """How many descriptors the driver may keep of so many starts with one worker; it ends with its engine.

    `ray.shutdown` closes no connection whose call has no answer yet (Ray 2.60). Such a call is the cluster's
    WaitForActorRefDeleted, answered in another thread when the last handle of an actor has gone; under load
    that comes too late now and then. After a graph it has no answer at all: of the two actors, the worker
    and the graph's proxy, Ray takes one to be referred to when no handle is left (a bare compile and
    teardown leaves as much). At times a graph's worker has asked too, by PubsubLongPolling.
    """
    if path in NEEDS_NO_CLUSTER:
        return 0
    return 2 * starts if path == "ray-graph" else max(2, starts // 5)


def make(path: str, folder: Path | str, workers: int = 1) -> Transport:
    """A transport of the path, not started."""
    return CARRIERS[path].load()(workers, Path(folder))


@contextlib.contextmanager
def started(
    path: str, folder: Path | str, workers: int = 1, payload: bytes = b"", host: str = "Puppet", **settings
) -> Iterator[Transport]:
    """A transport of the path with hosts behind it, for a block."""
    transport = make(path, folder, workers)
    transport.start(HostSpec(f"fake_host:{host}", payload, **settings), DEADLINE)
    try:
        yield transport
    finally:
        transport.close()


def ask(transport: Transport, verb: str, argument=None, ranks=(0,), deadline: float = DEADLINE) -> list:
    """Send one order, wait, and return what each of `ranks` answered."""
    reply = transport.send(say(verb, argument), ranks, deadline)
    return [wire.decode(message) for message in reply.result()]


def failures_of(transport: Transport) -> SimpleNamespace:
    """Collects what the transport reports by on_failure."""
    noted = SimpleNamespace(errors=[], event=threading.Event())

    def note(error: EngineError) -> None:
        noted.errors.append(error)
        noted.event.set()

    transport.on_failure(note)
    return noted
