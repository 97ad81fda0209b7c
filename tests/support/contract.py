"""What the contract tests of transports share: a transport of each path, with Puppets behind it."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_host import say

from rollout_perf import EngineError
from rollout_perf.transports import TRANSPORTS, wire
from rollout_perf.transports.base import HostSpec, Transport

DEADLINE = 60.0

PATHS = [
    pytest.param(
        name,
        marks=[pytest.mark.engine] * bool(row.surroundings) + [pytest.mark.baseline] * row.baseline,
    )
    for name, row in TRANSPORTS.items()
    if row.transport
]
"""Every path that has a transport of ours."""

BASELINES = {name for name, row in TRANSPORTS.items() if row.baseline}
"""Every rank replies to every call there, and one call ends before the next begins."""

NEEDS_NO_CLUSTER = [name for name, row in TRANSPORTS.items() if row.transport and not row.surroundings]
"""Those whose threads and descriptors are all their own: Ray's library keeps some for the process."""


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
    return TRANSPORTS[path].load()(workers, Path(folder))


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
