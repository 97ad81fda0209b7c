"""The baseline `verl-zmq`: a REQ socket to each worker's REP, a reply from every rank.

It is the pattern of verl's ZeroMQ executor for vLLM, as small as it can be, to show what a design
is worth; `blocking.BlockingExecutor` calls it as verl did. Known weaknesses, kept on purpose:

- REQ and REP go in lockstep: a second call waits until every rank has answered the first.
- Every rank sends the whole reply, and the driver reads them in turn, to throw all but one away.
- The worker answers in the thread that computes: a reply that waits for the GPU holds it up.

Not kept: verl listened on tcp, unpickled what came from anyone, and waited without a deadline. The
sockets are in a folder that only the user can enter, and waits and deaths are as in `base`.

    python -P -m rollout_perf.transports.verl_zmq < bootstrap
"""

import contextlib
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from ..errors import EngineError, WorkerDied
from .base import CLOSE_SECONDS, POLL_SECONDS, HostSpec, Transport
from .processes import WorkerProcesses, remove_with_driver, take_bootstrap
from .reply import OK, Reply, answer, fetched, worker_error
from .wire import Message, byte_count

_BUILD, _CALL, _CLOSE = b"build", b"call", b"close"


class VerlZeroMQ(Transport):
    """REQ to REP over ipc, in lockstep."""

    channel = "zmq REQ/REP ipc"

    def __init__(self, world_size: int, folder: Path):
        super().__init__(world_size, folder)
        self._context = zmq.Context()
        self._sockets: list[zmq.Socket] = []
        self._paths = [f"{folder}/verl-{os.getpid()}-{id(self):x}-{rank}" for rank in range(world_size)]
        self._processes = WorkerProcesses("rollout_perf.transports.verl_zmq")
        self._lock = threading.RLock()  # guards the sockets and the call that is under way
        self._reply: Reply | None = None
        self._silent: list[int] = []  # ranks that have not answered it yet
        self._end = self._seconds = 0.0
        self._closed = False

    def start(self, spec: HostSpec, deadline_seconds: float) -> None:
        try:
            for path in self._paths:
                socket = self._context.socket(zmq.REQ)
                socket.linger = 0
                socket.rcvtimeo = int(POLL_SECONDS * 1000)
                socket.connect(f"ipc://{path}")
                self._sockets.append(socket)
            bootstraps = [(path, rank, spec) for rank, path in enumerate(self._paths)]
            self._processes.launch(bootstraps, spec.environment)
            self._processes.watch(lambda epitaph: self._fail(WorkerDied(epitaph)))
            ready = Reply(range(self.world_size), self._wait_for, list)
            self._ask(_BUILD, [], ready, deadline_seconds)
            ready.result()
        except BaseException:
            self.close()
            raise

    def _carry(self, message: Message, size: int, reply: Reply, deadline_seconds: float) -> None:
        """See `Transport._carry`; waits until the call before has been answered by all."""
        self._finish()
        self._ask(_CALL, message, reply, deadline_seconds)

    def _ask(self, asked: bytes, message: Message, reply: Reply, deadline_seconds: float) -> None:
        with self._lock:
            self._check_open()
            self._reply, self._silent = reply, list(range(self.world_size))
            self._end, self._seconds = time.monotonic() + deadline_seconds, deadline_seconds
            for socket in self._sockets:
                socket.send_multipart([asked, *message])

    def _receive_for(self, reply: Reply) -> None:
        self._finish()

    def _finish(self) -> None:
        """Take every rank's answer to the call that is under way."""
        while self._reply is not None:
            with self._lock:
                if self._reply is not None:
                    self._receive_one(self._reply, self._silent[0])

    def _receive_one(self, reply: Reply, rank: int) -> None:
        if self._failure is not None:
            self._abandon(self._failure)
            return
        try:
            status, *message = self._sockets[rank].recv_multipart()
        except zmq.Again:
            if time.monotonic() > self._end:
                self._abandon(self._stalled([rank], self._seconds))
            return
        self._silent.pop(0)
        if not self._silent:
            self._reply = None
        if rank in reply.ranks:
            self._deliver(reply, rank, status, message)
            return
        self.counters.replies += 1
        self.counters.received_bytes += byte_count(message)
        if status != OK:
            self._abandon(self._fail(worker_error(rank, message)))

    def _abandon(self, error: EngineError) -> None:
        reply, self._reply = self._reply, None
        if reply is not None and not reply.done():
            reply.set_exception(error)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._processes.expect_end()
            self._abandon(EngineError("the transport was closed while a call was under way"))
            for socket in self._sockets:
                with contextlib.suppress(zmq.ZMQError):  # lockstep: one that owes an answer cannot be sent to
                    socket.send(_CLOSE, zmq.NOBLOCK)
        self._processes.end(CLOSE_SECONDS if self._failure is None else POLL_SECONDS)
        for socket in self._sockets:
            socket.close()
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self._context.term()

    @property
    def _is_closed(self) -> bool:
        return self._closed

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"pyzmq": zmq.__version__, "libzmq": zmq.zmq_version()}


def main() -> None:
    """Serve as a worker until the driver closes or is gone."""
    path, rank, spec = take_bootstrap()
    remove_with_driver([path])
    socket: zmq.Socket = zmq.Context.instance().socket(zmq.REP)
    socket.bind(f"ipc://{path}")
    host: Any = None
    while True:
        asked, *message = socket.recv_multipart()
        if asked == _CLOSE:
            break
        if asked == _BUILD:
            status, value = answer(partial(spec.build, rank))
            if status == OK:
                host, value = value, []
        else:
            status, value = fetched(*answer(partial(host.call, message)))
        socket.send_multipart([status, *value])
    if host is not None:
        host.close()
    sys.stdout.flush()
    os._exit(0)  # threads and libraries of the host must not delay the end


if __name__ == "__main__":
    main()
