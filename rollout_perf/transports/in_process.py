"""The in-process transport: a worker is two threads of the driver's process, and queues carry the frames.

The one to read first: it does what every transport does (see `base`), without sockets or processes. It
is no path of the table, since nothing is measured over it; tests of what lies above a transport use it.

What threads cannot do: `HostSpec.environment` is not set, since all share the driver's, and a host that
hangs cannot be ended; `close` leaves its thread behind.
"""

import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..errors import EngineError, WorkerDied
from .base import CLOSE_SECONDS, POLL_SECONDS, Host, HostSpec, Transport
from .reply import OK, Reply, answer, fetched, worker_error
from .wire import Message


class InProcess(Transport):
    """A queue of calls to each worker, one of replies from all; the caller of `Reply.result` receives."""

    channel = "queues between threads"

    def __init__(self, world_size: int, folder: Path):
        super().__init__(world_size, folder)
        self._replies: queue.SimpleQueue = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._pending: dict[Reply, tuple[float, float]] = {}  # its end on the monotonic clock, and seconds
        self._receiving = threading.Lock()  # guards _replies and who is resolved by what came
        self._closed = threading.Event()

    def start(self, spec: HostSpec, deadline_seconds: float) -> None:
        ready = Reply(range(self.world_size), self._wait_for, list)
        self._pending[ready] = (time.monotonic() + deadline_seconds, deadline_seconds)
        build = partial(_Worker, spec, ready, self._replies.put, self._fail)
        self._workers = [build(rank) for rank in range(self.world_size)]
        try:
            ready.result()
        except BaseException:
            self.close()
            raise

    def _carry(self, message: Message, size: int, reply: Reply, deadline_seconds: float) -> None:
        if reply.ranks:
            self._pending[reply] = (time.monotonic() + deadline_seconds, deadline_seconds)
        frames = _copy(message)  # the caller may use its buffers again
        for worker in self._workers:
            worker.calls.put((frames, reply))

    def _receive_for(self, reply: Reply) -> None:
        while not reply.done():
            with self._receiving:
                if not reply.done():  # not received by another thread meanwhile
                    self._receive_one(reply)

    def _receive_one(self, awaited: Reply) -> None:
        try:
            reply, rank, status, message = self._replies.get(timeout=POLL_SECONDS)
        except queue.Empty:
            end, seconds = self._pending[awaited]
            if self._closed.is_set():
                self._abandon(EngineError("the transport was closed while a call was under way"))
            elif self._failure is not None:
                self._abandon(self._failure)
            elif time.monotonic() > end:
                self._abandon(self._stalled(sorted(awaited.missing), seconds))
        else:
            self._deliver(reply, rank, status, message)
            if not reply.missing:
                self._pending.pop(reply, None)

    def _abandon(self, error: EngineError) -> None:
        while self._pending:
            self._pending.popitem()[0].set_exception(error)

    @property
    def _is_closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        self._closed.set()
        end = time.monotonic() + (CLOSE_SECONDS if self._failure is None else POLL_SECONDS)
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.calls.put(None)
        for worker in workers:
            worker.thread.join(max(0.0, end - time.monotonic()))


class _Worker:
    """The worker's end. One thread builds the host and calls it, in order; the other waits for answers that
    are deferred, so that the next call begins meanwhile, and gives them to the driver."""

    def __init__(self, spec: HostSpec, ready: Reply, give: Callable, fail: Callable, rank: int):
        self.calls: queue.SimpleQueue = queue.SimpleQueue()
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        self._rank, self._give, self._fail = rank, give, fail
        self._fetching = threading.Thread(target=self._fetch, name=f"worker-{rank}-replies", daemon=True)
        self._fetching.start()
        self.thread = threading.Thread(
            target=self._work, args=[spec, ready], name=f"worker-{rank}", daemon=True
        )
        self.thread.start()

    def _work(self, spec: HostSpec, ready: Reply) -> None:
        try:
            status, host = answer(partial(spec.build, self._rank))
            self._answers.put((ready, status, [] if status == OK else host))
            if status == OK:
                self._handle_calls(host)
        except BaseException as error:  # as SystemExit: `answer` takes every Exception
            self._fail(WorkerDied(f"worker {self._rank} (a thread) ended: {type(error).__name__}: {error}"))
        finally:
            self._answers.put(None)

    def _handle_calls(self, host: Host) -> None:
        while (call := self.calls.get()) is not None:
            message, reply = call
            status, value = answer(partial(host.call, message))
            if self._rank in reply.ranks:
                self._answers.put((reply, status, value))
            elif status != OK:
                self._fail(worker_error(self._rank, value))
        self._answers.put(None)
        self._fetching.join(CLOSE_SECONDS)
        host.close()

    def _fetch(self) -> None:
        while (item := self._answers.get()) is not None:
            reply, status, value = item
            status, message = fetched(status, value)
            copied, frames = answer(partial(_copy, message))  # fails where a host gave no message
            self._give((reply, self._rank, status if copied == OK else copied, frames))


def _copy(message: Message) -> list[bytes]:
    return [bytes(frame) for frame in message]
