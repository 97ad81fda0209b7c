"""The ZeroMQ transport: one ROUTER socket in the driver, two DEALER sockets in each worker.

A worker receives calls on one socket, in its main thread, and sends replies on the other, so
that a thread that waits for the GPU can reply while the main thread is in the next call.
Sockets are of the ipc kind, in a folder that only the user can enter.

A worker is a process of its own, told over its standard input what to run; the end of that
input tells it that the driver has gone, and it ends at once. Run as

    python -P -m rollout_perf.transports.zeromq < bootstrap
"""

import contextlib
import os
import pickle
import queue
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

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
    python_path,
    worker_error,
)
from .wire import Message, byte_count

_CALL = struct.Struct("<Q?")  # number of the call, whether a reply is wanted
_REPLY = struct.Struct("<QI")  # number of the call, rank
_READY = 0  # the number under which a worker reports that its host is built
_CLOSE = b"close"
_COPY_BELOW_BYTES = 64 * 1024  # under this, copying a frame is cheaper than sharing it


class ZeroMQ(Transport):
    """ROUTER to DEALER over ipc; the caller of `Reply.result` receives for all."""

    channel = "zmq ROUTER/DEALER ipc"

    def __init__(self, world_size: int, folder: Any):
        super().__init__(world_size, folder)
        self._context = zmq.Context()
        self._socket: zmq.Socket | None = None
        self._lock = threading.RLock()  # the socket belongs to whoever holds it
        self._processes: list[subprocess.Popen] = []
        self._closing = os.eventfd(0)
        self._watcher: threading.Thread | None = None
        self._pending: dict[int, Reply] = {}
        self._deadlines: dict[int, tuple[float, float]] = {}  # number: (monotonic end, seconds)
        self._number = _READY
        self._closed = False

    def start(self, spec: HostSpec, deadline_seconds: float) -> None:
        try:
            self._bind()
            self._launch(spec)
            ready = Reply(range(self.world_size), self._receive_until_done, list)
            self._expect(_READY, ready, deadline_seconds)
            self._watcher = threading.Thread(target=self._watch, name="zmq-worker-watch", daemon=True)
            self._watcher.start()
            ready.result()
        except BaseException:
            self.close()
            raise

    def _bind(self) -> None:
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.router_mandatory = 1
        self._socket.sndhwm = self._socket.rcvhwm = 0
        self._socket.sndtimeo = int(CLOSE_SECONDS * 1000)
        self._socket.rcvtimeo = int(POLL_SECONDS * 1000)
        self._endpoint = f"ipc://{self.folder}/zmq-{os.getpid()}-{id(self):x}"
        self._socket.bind(self._endpoint)

    def _launch(self, spec: HostSpec) -> None:
        environment = os.environ | spec.environment
        environment["PYTHONPATH"] = python_path()
        for rank in range(self.world_size):
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "rollout_perf.transports.zeromq"],
                stdin=subprocess.PIPE,
                env=environment,
            )
            self._processes.append(process)
            bootstrap = pickle.dumps({"endpoint": self._endpoint, "rank": rank, "spec": spec})
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it died at once: the watcher will say so
                process.stdin.write(struct.pack("<Q", len(bootstrap)) + bootstrap)
                process.stdin.flush()

    def send(
        self,
        message: Message,
        reply_ranks: Sequence[int],
        deadline_seconds: float,
        then: Callable[[list[Message]], Any] = list,
    ) -> Reply:
        begin = time.perf_counter()
        size = byte_count(message)
        copy = size < _COPY_BELOW_BYTES
        with self._lock:
            self.check()
            if self._closed:
                raise EngineError("the transport is closed")
            assert self._socket is not None
            self._number += 1
            reply = Reply(reply_ranks, self._receive_until_done, then)
            self._expect(self._number, reply, deadline_seconds)
            for rank in range(self.world_size):
                header = _CALL.pack(self._number, rank in reply_ranks)
                try:
                    self._socket.send_multipart([b"c%d" % rank, header, *message], copy=copy)
                except zmq.ZMQError as error:
                    raise self._fail(WorkerDied(f"worker {rank} cannot be reached: {error}")) from error
            self.counters.calls += self.world_size
            self.counters.sent_bytes += size * self.world_size
            self.counters.send_seconds += time.perf_counter() - begin
        return reply

    def _expect(self, number: int, reply: Reply, deadline_seconds: float) -> None:
        if reply.ranks:
            self._pending[number] = reply
            self._deadlines[number] = (time.monotonic() + deadline_seconds, deadline_seconds)
        else:
            reply.set_result(None)

    def _receive_until_done(self, reply: Reply) -> None:
        begin = time.perf_counter()
        while not reply.done():
            with self._lock:
                if self._closed:
                    self._abandon(EngineError("the transport was closed while a call was under way"))
                elif self._failure is not None:
                    self._abandon(self._failure)
                elif not reply.done():
                    self._receive_one(reply)
        self.counters.wait_seconds += time.perf_counter() - begin

    def _receive_one(self, reply: Reply) -> None:
        assert self._socket is not None
        try:
            # One receive with a timeout: polling first would cost a second system call a step.
            _identity, header, status, *message = self._socket.recv_multipart()
        except zmq.Again:
            number = next(number for number, pending in self._pending.items() if pending is reply)
            end, seconds = self._deadlines[number]
            if time.monotonic() > end:
                self._abandon(self._stalled(reply.ranks, seconds))
            return
        number, rank = _REPLY.unpack(header)
        self.counters.replies += 1
        self.counters.received_bytes += byte_count(message)
        answered = self._pending.get(number)
        if status != OK and (answered is None or rank not in answered.ranks):
            # A worker that was not asked to reply reports an error all the same.
            self._abandon(self._fail(worker_error(rank, message)))
            return
        if answered is None:
            return
        answered.add(rank, status, message)
        if not answered.missing:
            del self._pending[number], self._deadlines[number]

    def _abandon(self, error: EngineError) -> None:
        for reply in self._pending.values():
            if not reply.done():
                reply.set_exception(error)
        self._pending.clear()
        self._deadlines.clear()

    def _watch(self) -> None:
        """Fail the transport when a worker's process ends before it is told to."""
        ends = {}
        poller = select.poll()
        poller.register(self._closing, select.POLLIN)
        for rank, process in enumerate(self._processes):
            try:
                ends[os.pidfd_open(process.pid)] = rank
            except ProcessLookupError:
                self._fail(WorkerDied(self._epitaph(rank)))
                return
        for end in ends:
            poller.register(end, select.POLLIN)
        try:
            ready = [descriptor for descriptor, _event in poller.poll()]
            if self._closing in ready:
                return
            time.sleep(POLL_SECONDS)  # a last reply may still be on its way, and says more
            self._fail(WorkerDied(self._epitaph(ends[ready[0]])))
        finally:
            for end in ends:
                os.close(end)

    def _epitaph(self, rank: int) -> str:
        process = self._processes[rank]
        try:
            code = process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            code = None
        how = (
            f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
        )
        return f"worker {rank} (process {process.pid}) ended {how}"

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            os.eventfd_write(self._closing, 1)
            self._abandon(EngineError("the transport was closed while a call was under way"))
            for rank in range(len(self._processes)):
                with contextlib.suppress(zmq.ZMQError):
                    assert self._socket is not None
                    self._socket.send_multipart([b"c%d" % rank, _CLOSE], flags=zmq.NOBLOCK)
        end = time.monotonic() + (CLOSE_SECONDS if self._failure is None else POLL_SECONDS)
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.0, end - time.monotonic()))
            process.kill()
            process.wait()
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()
        os.close(self._closing)
        if self._socket is not None:
            self._socket.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._endpoint.removeprefix("ipc://"))
        self._context.term()

    def describe(self) -> dict[str, Any]:
        assert self._socket is not None
        return super().describe() | {
            "socket": zmq.SocketType(int(self._socket.type)).name,
            "endpoint_kind": self._endpoint.split("://")[0],
            "pyzmq": zmq.__version__,
            "libzmq": zmq.zmq_version(),
        }


class _Worker:
    """The worker's end: takes calls in order, answers in order, from two threads at most."""

    def __init__(self, endpoint: str, rank: int):
        self.rank = rank
        self._context = zmq.Context()
        self._calls = self._connect(endpoint, b"c%d" % rank)
        self._replies = self._connect(endpoint, b"r%d" % rank)
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        self._replier: threading.Thread | None = None

    def _connect(self, endpoint: str, identity: bytes) -> zmq.Socket:
        socket = self._context.socket(zmq.DEALER)
        socket.routing_id = identity
        socket.linger = int(CLOSE_SECONDS * 1000)
        socket.sndhwm = socket.rcvhwm = 0
        socket.connect(endpoint)
        return socket

    def serve(self, spec: HostSpec) -> None:
        status, host = answer(lambda: spec.build(self.rank))
        # On the socket of the calls, so that the driver knows it before it sends the first one.
        self._reply(_READY, status, [] if status == OK else host, self._calls)
        if status != OK:
            return
        try:
            self._serve(host)
        finally:
            host.close()

    def _serve(self, host: Host) -> None:
        while True:
            header, *message = self._calls.recv_multipart()
            if header == _CLOSE:
                break
            number, wanted = _CALL.unpack(header)
            status, value = answer(partial(host.call, message))
            if not wanted and status == OK:
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
        copy = byte_count(message) < _COPY_BELOW_BYTES
        header = _REPLY.pack(number, self.rank)
        (socket or self._replies).send_multipart([header, status, *message], copy=copy)

    def close(self) -> None:
        self._calls.close(linger=0)
        self._replies.close()
        self._context.term()


def _end_with_driver() -> None:
    os.read(sys.stdin.fileno(), 1)  # holds no lock of Python's, so that the host may fork
    os._exit(1)


def main() -> None:
    """Serve as a worker until told to close or until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides when a worker ends
    (length,) = struct.unpack("<Q", sys.stdin.buffer.read(8))
    bootstrap = pickle.loads(sys.stdin.buffer.read(length))
    threading.Thread(target=_end_with_driver, name="driver-watch", daemon=True).start()
    worker = _Worker(bootstrap["endpoint"], bootstrap["rank"])
    try:
        worker.serve(bootstrap["spec"])
    finally:
        worker.close()
    sys.stdout.flush()
    os._exit(0)  # threads and libraries of the host must not delay the end


if __name__ == "__main__":
    main()
