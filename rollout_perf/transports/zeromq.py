"""The ZeroMQ transport: calls go out by a ROUTER socket in the driver, replies come in by a PULL.

A worker receives calls on a DEALER, in its main thread, and sends replies by a PUSH, so that a
thread that waits for the GPU can reply while the main thread is in the next call. A call is
packed once for all workers; see `zeromq_frames`.

Over ipc the sockets are in a folder that only the user can enter. Over tcp they are bound to the
interface asked for, encrypted and authenticated by CURVE with keys made for the run; nothing
that an unauthenticated peer sends reaches this module.

A worker is a process of its own, which runs

    python -P -m rollout_perf.transports.zeromq < bootstrap
"""

import contextlib
import os
import queue
import struct
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import zmq

from ..errors import EngineError, WorkerDied
from .base import (
    CLOSE_SECONDS,
    OK,
    POLL_SECONDS,
    Deferred,
    Host,
    HostSpec,
    Reply,
    Transport,
    answer,
    fetched,
    worker_error,
)
from .processes import CUT, WorkerProcesses, end_at_once, remove_with_driver, take_bootstrap
from .wire import Message, byte_count
from .zeromq_endpoint import LARGEST_FRAME_BYTES, Doorkeeper, Endpoint, Keys, widen, widened
from .zeromq_frames import CALL, MOST_WORKERS, REPLY, Garbage, pack, receive, send
from .zeromq_library import SEND_MORE, send_small
from .zeromq_lookout import Lookout, look_seconds

_READY = 0  # the number under which a worker reports that its host is built
_CLOSE = b"close"


class _Pending(NamedTuple):
    """A call that has not been answered by all that were asked."""

    reply: Reply
    end: float
    """When it has stalled, on the monotonic clock."""
    seconds: float


class ZeroMQ(Transport):
    """ROUTER to DEALER, PUSH to PULL; the caller of `Reply.result` receives for all."""

    channel = "zmq ROUTER/DEALER and PUSH/PULL"

    def __init__(self, world_size: int, folder: Path, endpoint: str | None = None):
        super().__init__(world_size, folder)
        if world_size > MOST_WORKERS:
            raise EngineError(f"{world_size} workers; this transport takes {MOST_WORKERS} at most")
        self._identities = [b"%d" % rank for rank in range(world_size)]
        self._lookout = Lookout(look_seconds(world_size))
        self._endpoint = Endpoint.of(endpoint, folder)
        self._context = zmq.Context()
        self._doorkeeper = Doorkeeper(self._context) if self._endpoint.is_open else None
        self._calls: zmq.Socket | None = None
        self._replies: zmq.Socket | None = None
        self._sending = threading.Lock()  # guards _calls, the order of calls and what is pending
        self._receiving = threading.Lock()  # guards _replies
        self._processes = WorkerProcesses("rollout_perf.transports.zeromq")
        self._pending: dict[int, _Pending] = {}  # by the number of the call
        self._answered = [_READY] * world_size  # the last call that each worker has answered
        self._number = _READY
        self._closed = False

    def start(self, spec: HostSpec, deadline_seconds: float) -> None:
        try:
            self._calls = self._bind(zmq.ROUTER, "calls")
            self._calls.router_mandatory = 1
            self._replies = self._bind(zmq.PULL, "replies")
            keys = self._doorkeeper.keys if self._doorkeeper else None
            addresses = tuple(socket.get_string(zmq.LAST_ENDPOINT) for socket in (self._calls, self._replies))
            told = (keys, self._lookout.seconds, spec)
            bootstraps = [(addresses, rank, *told) for rank in range(self.world_size)]
            with widened(self._calls):
                self._processes.launch(bootstraps, spec.environment)
                self._processes.watch(lambda epitaph: self._fail(WorkerDied(epitaph)))
                self._wait_until_built(time.monotonic() + deadline_seconds, deadline_seconds)
        except BaseException:
            self.close()
            raise

    def _bind(self, kind: int, purpose: str) -> zmq.Socket:
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.maxmsgsize = LARGEST_FRAME_BYTES
        socket.sndhwm = socket.rcvhwm = 0
        socket.sndtimeo = int(CLOSE_SECONDS * 1000)
        socket.rcvtimeo = int(POLL_SECONDS * 1000)
        if self._doorkeeper is not None:
            self._doorkeeper.guard(socket)
        try:
            self._endpoint.bind(socket, purpose)
        except EngineError:
            socket.close()
            raise
        return socket

    def _wait_until_built(self, end: float, deadline_seconds: float) -> None:
        """Hear of each worker's host, on the socket of the calls, which so learns where it is."""
        assert self._calls is not None
        missing = set(range(self.world_size))
        while missing:
            self.check()
            try:
                self._calls.recv()
                (_number, rank, status, _count), message = receive(self._calls, REPLY, self._lookout)
            except zmq.Again:
                if time.monotonic() > end:
                    raise self._stalled(sorted(missing), deadline_seconds) from None
                continue
            if status != OK:
                raise self._fail(worker_error(rank, message))
            missing.discard(rank)

    def _carry(self, message: Message, size: int, reply: Reply, deadline_seconds: float) -> None:
        mask = 0
        for rank in reply.ranks:
            mask |= 1 << rank
        with self._sending:
            self._check_open()  # it may have been closed since `send` has looked
            assert self._calls is not None
            self._number = number = self._number + 1
            if mask:
                end = time.monotonic() + deadline_seconds
                self._pending[number] = _Pending(reply, end, deadline_seconds)
            frames = pack(CALL, (number, mask), message, size)
            for rank, identity in enumerate(self._identities):
                try:
                    send_small(self._calls, identity, SEND_MORE)
                    send(self._calls, frames, size)
                except zmq.ZMQError as error:
                    time.sleep(2 * POLL_SECONDS)  # whoever watches may know more of it
                    raise self._fail(WorkerDied(f"worker {rank} cannot be reached: {error}")) from error

    def _receive_for(self, reply: Reply) -> None:
        while not reply.done():
            with self._receiving:
                if reply.done():
                    return  # another thread has received it meanwhile
                if self._closed:
                    self._abandon(EngineError("the transport was closed while a call was under way"))
                elif self._failure is not None:
                    self._abandon(self._failure)
                else:
                    self._receive_one(reply)

    def _receive_one(self, awaited: Reply) -> None:
        assert self._replies is not None
        try:
            (number, rank, status, _count), message = receive(self._replies, REPLY, self._lookout)
        except zmq.Again:
            self._check_deadline(awaited)
            return
        except (Garbage, struct.error) as error:
            self._abandon(self._fail(EngineError(f"a worker sent what is no reply: {error}")))
            return
        self._take(number, rank, status, message)

    def _take(self, number: int, rank: int, status: bytes, message: Message) -> None:
        pending = self._pending.get(number)
        asked = pending is not None and rank in pending.reply.missing
        if status != OK and not asked:
            # A worker that was not asked to reply reports an error all the same.
            self._abandon(self._fail(worker_error(rank, message)))
        elif pending is None or not asked or number <= self._answered[rank]:
            self._abandon(
                self._fail(EngineError(f"worker {rank} answered call {number} twice, late or unasked"))
            )
        else:
            self._answered[rank] = number
            self._deliver(pending.reply, rank, status, message)
            if not pending.reply.missing:
                del self._pending[number]

    def _check_deadline(self, awaited: Reply) -> None:
        for pending in list(self._pending.values()):
            if pending.reply is awaited and time.monotonic() > pending.end:
                self._abandon(self._stalled(awaited.ranks, pending.seconds))

    def _abandon(self, error: EngineError) -> None:
        for pending in list(self._pending.values()):
            pending.reply.set_exception(error)
        self._pending.clear()

    def close(self) -> None:
        with self._sending:
            if self._closed:
                return
            self._closed = True
            self._processes.expect_end()
            for identity in self._identities:
                with contextlib.suppress(zmq.ZMQError):
                    if self._calls is not None:
                        self._calls.send_multipart([identity, _CLOSE], flags=zmq.NOBLOCK)
        self._processes.end(CLOSE_SECONDS if self._failure is None else POLL_SECONDS)
        with self._receiving:
            self._abandon(EngineError("the transport was closed while a call was under way"))
        for socket in (self._calls, self._replies):
            if socket is not None:
                socket.close()
        if self._doorkeeper is not None:
            self._doorkeeper.close()
        self._endpoint.clear()
        self._context.term()

    @property
    def _is_closed(self) -> bool:
        return self._closed

    def describe(self) -> dict[str, Any]:
        return super().describe() | {
            "look_seconds": self._lookout.seconds,
            "endpoint_kind": self._endpoint.scheme,
            "security": "CURVE" if self._doorkeeper else "a folder of the user's own",
            "pyzmq": zmq.__version__,
            "libzmq": zmq.zmq_version(),
        }


class _Worker:
    """The worker's end: takes calls in order, answers in order, from two threads at most."""

    def __init__(self, addresses: tuple[str, str], rank: int, keys: Keys | None):
        self.rank = rank
        self._context = zmq.Context()
        self._closing = False
        self._watchers: list[threading.Thread] = []
        self._calls = self._connect(zmq.DEALER, addresses[0], keys)
        self._replies = self._connect(zmq.PUSH, addresses[1], keys)
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        self._replier: threading.Thread | None = None

    def _connect(self, kind: int, address: str, keys: Keys | None) -> zmq.Socket:
        socket = self._context.socket(kind)
        if kind == zmq.DEALER:
            socket.routing_id = b"%d" % self.rank
        socket.linger = int(CLOSE_SECONDS * 1000)
        socket.sndhwm = socket.rcvhwm = 0
        if keys is not None:
            keys.carry(socket)
        monitor = socket.get_monitor_socket(
            zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_MONITOR_STOPPED
        )
        watcher = threading.Thread(target=self._end_when_cut, args=[monitor], name="zmq-watch", daemon=True)
        watcher.start()
        self._watchers.append(watcher)
        socket.connect(address)
        return socket

    def _end_when_cut(self, monitor: zmq.Socket) -> None:
        """A connection that is lost comes back by itself, what was on it does not: end, and be noticed."""
        while widen(monitor):
            pass
        if not self._closing:
            end_at_once(CUT)
        monitor.close()

    def serve(self, spec: HostSpec, look_seconds: float) -> None:
        """Build the host, say so, and handle calls until told to close."""
        status, host = answer(lambda: spec.build(self.rank))
        # On the socket of the calls, so that the driver knows it before it sends the first one.
        self._reply(_READY, status, [] if status == OK else host, self._calls)
        if status != OK:
            return
        try:
            self._serve(host, Lookout(look_seconds))
        finally:
            host.close()

    def _serve(self, host: Host, lookout: Lookout) -> None:
        while True:
            try:
                (number, mask, _count), message = receive(self._calls, CALL, lookout)
            except Garbage:
                self._closing = True  # the word to close, which is no call
                break
            status, value = answer(partial(host.call, message))
            if status == OK and not mask >> self.rank & 1:
                continue
            if self._replier is None and not isinstance(value, Deferred):
                self._reply(number, status, value)
                continue
            if self._replier is None:
                self._replier = threading.Thread(target=self._reply_in_turn, name="zmq-replies", daemon=True)
                self._replier.start()
            self._answers.put((number, status, value))
        if self._replier is not None:
            self._answers.put(None)
            self._replier.join(CLOSE_SECONDS)

    def _reply_in_turn(self) -> None:
        while (item := self._answers.get()) is not None:
            number, status, value = item
            self._reply(number, *fetched(status, value))

    def _reply(self, number: int, status: bytes, message: Message, socket: zmq.Socket | None = None) -> None:
        size = byte_count(message)
        frames = pack(REPLY, (number, self.rank, status), message, size)
        send(socket or self._replies, frames, size)

    def close(self) -> None:
        """Let what has been sent arrive, and end."""
        self._closing = True
        for socket in (self._calls, self._replies):
            socket.disable_monitor()
            socket.close()
        for watcher in self._watchers:
            watcher.join()
        self._context.term()


def main() -> None:
    """Serve as a worker until told to close or until the driver is gone."""
    addresses, rank, keys, look_seconds, spec = take_bootstrap()
    remove_with_driver([name.removeprefix("ipc://") for name in addresses if name.startswith("ipc://")])
    worker = _Worker(addresses, rank, keys)
    try:
        worker.serve(spec, look_seconds)
    finally:
        worker.close()
    sys.stdout.flush()
    os._exit(0)  # threads and libraries of the host must not delay the end


if __name__ == "__main__":
    main()
