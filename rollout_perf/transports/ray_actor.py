"""The Ray transport: an actor for each worker, a step is one actor call, whose return is the reply.

An actor call occupies a thread until its reply is there, and that may wait for the GPU. So calls
have several threads (a concurrency group), which do nothing but hand a call to the one thread in
which the host lives, and wait for its answer: the next call begins while the reply of the last
one is still awaited. Ray may start those threads in any order; calls are numbered.

A message of one frame travels as it is, an argument or a return value of its own, and is copied
no more often than Ray copies it; others are packed.
"""

import itertools
import queue
import struct
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from ..errors import EngineError
from . import wire
from .base import CLOSE_SECONDS, POLL_SECONDS, HostSpec
from .lifeline import Line
from .ray_workers import Awaited, RayTransport, RayWorker, Unanswered
from .reply import OK, Reply, answer, fetched
from .wire import Message, join, split

IN_FLIGHT = 8
"""Calls that may wait for their replies at once; further ones queue."""

_HEADER = struct.Struct("<QBI")  # number of the call, what is asked, frames that are packed (0: a lone one)
_BUILD, _CALL, _CLOSE = range(3)


class Worker(RayWorker):
    """The worker's end: the host lives in a thread of its own, Ray's threads wait for it."""

    def __init__(self, rank: int, line: Line | None = None):
        super().__init__(rank, line)
        self._calls: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._compute, name="ray-host", daemon=True).start()

    @ray.method(concurrency_group="watch")
    def live(self) -> bytes:
        return super().live()

    @ray.method(concurrency_group="calls")
    def call(self, header: bytes, block: bytes) -> Any:
        """Hand a call to the host and return its reply: a lone frame, or (status, packed frames)."""
        answers: queue.SimpleQueue = queue.SimpleQueue()
        self._calls.put((*_HEADER.unpack(header), block, answers.put))
        status, message = fetched(*answers.get())
        if status == OK and len(message) == 1 and type(message[0]) is bytes:
            return message[0]
        return status, join(message)

    @ray.method(concurrency_group="calls", num_returns=0)
    def work(self, header: bytes, block: bytes) -> None:
        """Hand a call to the host that nobody waits for."""
        self._calls.put((*_HEADER.unpack(header), block, self._report_error))

    def _report_error(self, outcome: tuple[bytes, Any]) -> None:
        status, value = outcome
        if status != OK:
            self.report(value)

    def _compute(self) -> None:
        """Answer calls in the order of their numbers."""
        early: dict[int, tuple] = {}
        for number in itertools.count():
            while number not in early:
                arrived, *call = self._calls.get()
                early[arrived] = tuple(call)
            asked, packed, block, give = early.pop(number)
            message = split(block) if packed else [block]
            give(answer(partial(self._handle, asked, message)))

    def _handle(self, asked: int, message: Message) -> Any:
        if asked == _CALL:
            return self.host.call(message)
        if asked == _BUILD:
            self.host = wire.decode(message).build(self.rank)
        elif self.host is not None:
            self.host.close()
        return []


_Actor: Any = ray.remote(num_cpus=0, max_restarts=0, concurrency_groups={"calls": IN_FLIGHT, "watch": 1})(
    Worker
)


class RayActor(RayTransport):
    """Ray actor calls, overlapped with the GPU; the caller of `Reply.result` gets what they return."""

    channel = "ray actor call"

    def __init__(self, world_size: int, folder: Path):
        super().__init__(world_size, folder)
        self._number = itertools.count()
        self._sending = threading.Lock()
        self._unanswered: list[Unanswered[Awaited]] = [Unanswered() for _ in range(world_size)]  # by rank

    def start(self, spec: HostSpec, deadline_seconds: float) -> None:
        try:
            self._launch(_Actor, spec)
            # Looking a method up costs as much as encoding a call.
            self._call = [actor.call for actor in self._actors]
            self._work = [actor.work for actor in self._actors]
            self._watch_workers()
            ready = Reply(range(self.world_size), self._wait_for, list)
            self._ask(_BUILD, wire.encode(spec), ready, deadline_seconds)
            ready.result()
        except BaseException:
            self.close()
            raise

    def _carry(self, message: Message, size: int, reply: Reply, deadline_seconds: float) -> None:
        self._ask(_CALL, message, reply, deadline_seconds)

    def _ask(self, asked: int, message: Message, reply: Reply, deadline_seconds: float) -> list:
        lone = len(message) == 1 and type(message[0]) is bytes
        block = message[0] if lone else join(message)
        end = time.monotonic() + deadline_seconds
        references = []
        with self._sending:
            header = _HEADER.pack(next(self._number), asked, 0 if lone else len(message))
            for rank in range(self.world_size):
                if rank in reply.ranks:
                    reference = self._call[rank].remote(header, block)
                    self._unanswered[rank].add(Awaited(reply, reference, end, deadline_seconds))
                    references.append(reference)
                else:
                    self._work[rank].remote(header, block)
        return references

    def _receive_for(self, reply: Reply) -> None:
        for rank in reply.ranks:
            unanswered = self._unanswered[rank]
            while rank in reply.missing and not reply.done():
                with unanswered.receiving:
                    oldest = unanswered.oldest()
                    # Not received by another meanwhile.
                    if oldest is not None and rank in reply.missing and not reply.done():
                        self._get_one(rank, oldest)

    def _get_one(self, rank: int, oldest: Awaited) -> None:
        try:
            value = ray.get(oldest.reference, timeout=POLL_SECONDS)
        except GetTimeoutError:
            error = self._given_up([rank], oldest.end, oldest.seconds)
            if error is not None:
                self._abandon(error)
            return
        except RayError as error:
            self._abandon(self._fail(self._translated(error, rank)))
            return
        try:
            status, message = (OK, [value]) if type(value) is bytes else (value[0], split(value[1]))
        except (LookupError, TypeError, ValueError) as error:
            self._abandon(self._fail(EngineError(f"worker {rank} sent what is no reply: {error}")))
            return
        self._unanswered[rank].remove(oldest)
        self._deliver(oldest.reply, rank, status, message)

    def _abandon(self, error: EngineError) -> None:
        for unanswered in self._unanswered:
            unanswered.abandon(error)

    def _end_workers(self) -> None:
        if self._failure is None:
            closed = Reply(range(self.world_size), self._wait_for, list)
            references = self._ask(_CLOSE, [b""], closed, CLOSE_SECONDS)
            ray.wait(references, num_returns=len(references), timeout=CLOSE_SECONDS)
        self._kill()

    def _forget_actors(self) -> None:
        self._call, self._work = [], []
