"""The driver's end of the ZeroMQ transport: calls go out by a ROUTER socket, replies come in by a PULL.

Knows sockets and worker processes; not what a message means.
"""

import contextlib
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import zmq

from ...errors import EngineError, WorkerDied
from ..base import CLOSE_SECONDS, POLL_SECONDS, HostSpec, Transport
from ..processes import WorkerProcesses
from ..reply import OK, Reply, worker_error
from ..wire import Message
from .endpoint import LARGEST_FRAME_BYTES, Endpoint, with_large_buffers
from .frames import CALL, CLOSE, MOST_WORKERS, READY, REPLY, Garbage, pack, receive, send
from .keys import Authenticator
from .small_frames import SEND_MORE, send_small
from .spin import SpinReceiver, spin_seconds

if TYPE_CHECKING:
    from ..remote_processes import RemoteProcesses


_WORKER = "rollout_perf.transports.zeromq.worker"


class _Pending(NamedTuple):
    """A call that has not been answered by all that were asked."""

    reply: Reply
    end: float
    """When it has stalled, on the monotonic clock."""
    seconds: float


def _remote(spec: HostSpec) -> "RemoteProcesses":
    """Processes on other nodes: of Ray, which nothing else here needs."""
    from ..remote_processes import RemoteProcesses

    return RemoteProcesses(_WORKER, spec)


class ZeroMQ(Transport):
    """ROUTER to DEALER, PUSH to PULL; the caller of `Reply.result` receives for all."""

    channel = "zmq ROUTER/DEALER and PUSH/PULL"

    def __init__(self, world_size: int, folder: Path, endpoint: str | None = None):
        super().__init__(world_size, folder)
        if world_size > MOST_WORKERS:
            raise EngineError(f"{world_size} workers; this transport takes {MOST_WORKERS} at most")
        self._identities = [b"%d" % rank for rank in range(world_size)]
        self._receiver = SpinReceiver(spin_seconds(world_size))
        self._endpoint = Endpoint.of(endpoint, folder)
        self._context = zmq.Context()
        self._authenticator = Authenticator(self._context) if self._endpoint.is_open else None
        self._calls: zmq.Socket | None = None
        self._replies: zmq.Socket | None = None
        self._sending = threading.Lock()  # guards _calls, the order of calls and what is pending
        self._receiving = threading.Lock()  # guards _replies
        self._processes: WorkerProcesses | RemoteProcesses = WorkerProcesses(_WORKER)
        self._pending: dict[int, _Pending] = {}  # by the number of the call
        self._answered = [READY] * world_size  # the last call that each worker has answered
        self._number = READY
        self._closed = False

    def start(self, spec: HostSpec, deadline_seconds: float) -> None:
        try:
            self._calls = self._bind(zmq.ROUTER, "calls")
            self._calls.router_mandatory = 1
            self._replies = self._bind(zmq.PULL, "replies")
            keys = self._authenticator.keys if self._authenticator else None
            addresses = tuple(socket.get_string(zmq.LAST_ENDPOINT) for socket in (self._calls, self._replies))
            shared = (keys, self._receiver.spin_seconds, spec)
            bootstraps = [(addresses, rank, *shared) for rank in range(self.world_size)]
            if spec.placement is not None:
                self._processes = _remote(spec)
            with with_large_buffers(self._calls):
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
        if self._authenticator is not None:
            self._authenticator.protect(socket)
        try:
            self._endpoint.bind(socket, purpose)
        except EngineError:
            socket.close()
            raise
        return socket

    def _wait_until_built(self, end: float, deadline_seconds: float) -> None:
        """Wait for each worker's report, on the socket of the calls, which so learns how to reach it."""
        assert self._calls is not None
        missing = set(range(self.world_size))
        while missing:
            self.check()
            try:
                self._calls.recv()
                (_number, rank, status, _count), message = receive(self._calls, REPLY, self._receiver)
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
                    time.sleep(2 * POLL_SECONDS)  # the thread that watches may know how it ended
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
            (number, rank, status, _count), message = receive(self._replies, REPLY, self._receiver)
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
                        self._calls.send_multipart([identity, CLOSE], flags=zmq.NOBLOCK)
        self._processes.end(CLOSE_SECONDS if self._failure is None else POLL_SECONDS)
        with self._receiving:
            self._abandon(EngineError("the transport was closed while a call was under way"))
        for socket in (self._calls, self._replies):
            if socket is not None:
                socket.close()
        if self._authenticator is not None:
            self._authenticator.close()
        self._endpoint.clear()
        self._context.term()

    @property
    def _is_closed(self) -> bool:
        return self._closed

    def describe(self) -> dict[str, Any]:
        return super().describe() | {
            "look_seconds": self._receiver.spin_seconds,
            "endpoint_kind": self._endpoint.scheme,
            "security": "CURVE" if self._authenticator else "a folder of the user's own",
            "pyzmq": zmq.__version__,
            "libzmq": zmq.zmq_version(),
        }
