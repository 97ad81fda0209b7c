"""The baseline `verl-ray`: an actor call to each worker, a reply from every rank.

It is the pattern of verl's Ray executor for vLLM, as small as it can be, to show what a design is
worth; `blocking.BlockingExecutor` calls it as verl did. Known weaknesses, kept on purpose:

- An actor has one thread: a reply that waits for the GPU holds up the next call.
- Every rank returns the whole reply, and the driver gets them all, to throw all but one away.

Not kept: verl waited without a deadline. Waits and deaths are as in `base`.
"""

import time
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from ..errors import EngineError
from .base import CLOSE_SECONDS, POLL_SECONDS, HostSpec
from .ray_workers import Awaited, RayTransport, RayWorker, Unanswered
from .reply import OK, Reply, answer, fetched, worker_error
from .wire import Message, byte_count, join, split


class Worker(RayWorker):
    """The worker's end: one thread for everything."""

    @ray.method(concurrency_group="watch")
    def live(self) -> bytes:
        return super().live()

    def start(self, spec: HostSpec) -> bytes:
        status, self.host = answer(lambda: spec.build(self.rank))
        return status + join([] if status == OK else self.host)

    def call(self, block: bytes) -> bytes:
        status, message = fetched(*answer(lambda: self.host.call(split(block))))
        return status + join(message)

    def close(self) -> None:
        if self.host is not None:
            self.host.close()


_Actor: Any = ray.remote(num_cpus=0, max_restarts=0, concurrency_groups={"watch": 1})(Worker)


class VerlRay(RayTransport):
    """Ray actor calls that every rank answers."""

    channel = "ray actor call to every rank"

    def __init__(self, world_size: int, folder: Path):
        super().__init__(world_size, folder)
        self._unanswered: Unanswered[Awaited] = Unanswered()

    def start(self, spec: HostSpec, deadline_seconds: float) -> None:
        try:
            self._launch(_Actor, spec)
            self._watch_workers()
            ready = Reply(range(self.world_size), self._wait_for, list)
            self._expect(ready, [actor.start.remote(spec) for actor in self._actors], deadline_seconds)
            ready.result()
        except BaseException:
            self.close()
            raise

    def _carry(self, message: Message, size: int, reply: Reply, deadline_seconds: float) -> None:
        block = join(message)
        self._expect(reply, [actor.call.remote(block) for actor in self._actors], deadline_seconds)

    def _expect(self, reply: Reply, references: list, seconds: float) -> None:
        self._unanswered.add(Awaited(reply, references, time.monotonic() + seconds, seconds))

    def _receive_for(self, reply: Reply) -> None:
        while not reply.done():
            with self._unanswered.receiving:
                oldest = self._unanswered.oldest()
                if oldest is not None and not reply.done():
                    self._get_one(oldest)

    def _get_one(self, oldest: Awaited) -> None:
        """Take every rank's answer to the oldest call."""
        reply, references, end, seconds = oldest
        try:
            blocks = ray.get(references, timeout=POLL_SECONDS)
        except GetTimeoutError:
            error = self._given_up(reply.ranks, end, seconds)
            if error is not None:
                self._abandon(error)
            return
        except RayError as error:
            self._abandon(self._fail(self._translated(error)))
            return
        self._unanswered.remove(oldest)
        for rank, block in enumerate(blocks):
            status, message = block[:1], split(memoryview(block)[1:])
            if rank in reply.ranks:
                self._deliver(reply, rank, status, message)
                continue
            self.counters.replies += 1
            self.counters.received_bytes += byte_count(message)
            if status != OK:
                self._abandon(self._fail(worker_error(rank, message)))

    def _abandon(self, error: EngineError) -> None:
        self._unanswered.abandon(error)

    def _end_workers(self) -> None:
        if self._failure is None:
            closing = [actor.close.remote() for actor in self._actors]
            ray.wait(closing, num_returns=len(closing), timeout=CLOSE_SECONDS)
        self._kill()
