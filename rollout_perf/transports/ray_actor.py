"""The Ray transport: an actor for each worker, a step is one actor call and a fetched reply.

The actor computes in one thread and hands out replies in another (Ray's concurrency groups),
so that the next call begins while the reply of the last one is still waiting for the GPU.
The driver asks for the reply together with the call, which costs no waiting.
"""

import queue
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from ..errors import EngineError
from .base import CLOSE_SECONDS, OK, POLL_SECONDS, HostSpec, Reply, answer, fetched
from .ray_workers import RayTransport, RayWorker, abandon, first_line
from .wire import Message, byte_count, join, split


class Worker(RayWorker):
    """The worker's end: computes in the group `compute`, answers in the group `reply`."""

    def __init__(self, rank: int):
        super().__init__(rank)
        self._answers: queue.SimpleQueue = queue.SimpleQueue()

    @ray.method(concurrency_group="watch")
    def live(self) -> bytes:
        return super().live()

    @ray.method(concurrency_group="compute")
    def start(self, spec: HostSpec) -> bytes:
        status, self.host = answer(lambda: spec.build(self.rank))
        return status + join([] if status == OK else self.host)

    @ray.method(concurrency_group="compute", num_returns=0)
    def call(self, wanted: bool, block: bytes) -> None:
        status, value = answer(lambda: self.host.call(split(block)))
        if wanted:
            self._answers.put((status, value))
        elif status != OK:
            self.tell(value)

    @ray.method(concurrency_group="reply")
    def fetch(self) -> bytes:
        status, message = fetched(*self._answers.get())
        return status + join(message)

    @ray.method(concurrency_group="compute")
    def close(self) -> None:
        if self.host is not None:
            self.host.close()


_Actor: Any = ray.remote(
    num_cpus=0, max_restarts=0, concurrency_groups={"compute": 1, "reply": 1, "watch": 1}
)(Worker)


class RayActor(RayTransport):
    """Ray actor calls, overlapped with the GPU; the caller of `Reply.result` fetches."""

    channel = "ray actor call"

    def __init__(self, world_size: int, folder: Path):
        super().__init__(world_size, folder)
        # By rank, in call order: reply, reference, monotonic end, seconds.
        self._waiting: list[deque[tuple[Reply, Any, float, float]]] = [deque() for _ in range(world_size)]

    def start(self, spec: HostSpec, deadline_seconds: float) -> None:
        try:
            self._launch(_Actor, spec)
            self._watch_workers()
            ready = Reply(range(self.world_size), self._fetch_until_done, list)
            end = time.monotonic() + deadline_seconds
            for rank, actor in enumerate(self._actors):
                self._waiting[rank].append((ready, actor.start.remote(spec), end, deadline_seconds))
            ready.result()
        except BaseException:
            self.close()
            raise

    def send(
        self,
        message: Message,
        reply_ranks: Sequence[int],
        deadline_seconds: float,
        then: Callable[[list[Message]], Any] = list,
    ) -> Reply:
        self._check_open()
        begin = time.perf_counter()
        reply = Reply(reply_ranks, self._fetch_until_done, then)
        if not reply_ranks:
            reply.set_result(None)
        block = join(message)
        end = time.monotonic() + deadline_seconds
        for rank, actor in enumerate(self._actors):
            wanted = rank in reply_ranks
            actor.call.remote(wanted, block)
            if wanted:
                self._waiting[rank].append((reply, actor.fetch.remote(), end, deadline_seconds))
        self.counters.calls += self.world_size
        self.counters.sent_bytes += len(block) * self.world_size
        self.counters.send_seconds += time.perf_counter() - begin
        return reply

    def _fetch_until_done(self, reply: Reply) -> None:
        begin = time.perf_counter()
        for rank in reply.ranks:
            while not reply.done() and self._waiting[rank]:
                self._fetch_one(rank)
        self.counters.wait_seconds += time.perf_counter() - begin

    def _fetch_one(self, rank: int) -> None:
        reply, reference, end, seconds = self._waiting[rank][0]
        try:
            block = memoryview(ray.get(reference, timeout=POLL_SECONDS))
        except GetTimeoutError:
            error = self._given_up([rank], end, seconds)
            if error is not None:
                self._abandon(error)
            return
        except RayActorError as error:
            self._abandon(self._fail(self._died(rank, error)))
            return
        except RayError as error:
            self._abandon(self._fail(EngineError(f"worker {rank}: Ray failed: {first_line(error)}")))
            return
        self._waiting[rank].popleft()
        message = split(block[1:])
        self.counters.replies += 1
        self.counters.received_bytes += byte_count(message)
        reply.add(rank, bytes(block[:1]), message)

    def _abandon(self, error: EngineError) -> None:
        for waiting in self._waiting:
            abandon([reply for reply, *_rest in waiting], error)
            waiting.clear()

    def _end_workers(self) -> None:
        if self._failure is None:
            ray.wait(
                [actor.close.remote() for actor in self._actors],
                num_returns=len(self._actors),
                timeout=CLOSE_SECONDS,
            )
        self._kill()
