"""The worker's end of the ZeroMQ transport: calls come in on a DEALER, replies go out by a PUSH.

A process of its own, which ends with its driver. Knows of the host only that it answers messages. Run as

    python -P -m rollout_perf.transports.zeromq.worker < bootstrap
"""

import os
import queue
import sys
import threading
from functools import partial

import zmq

from ..base import CLOSE_SECONDS, Host, HostSpec
from ..processes import remove_with_driver, take_bootstrap
from ..reply import OK, Deferred, answer, fetched
from ..wire import Message, byte_count
from .endpoint import connect_for_life
from .frames import CALL, READY, REPLY, Garbage, pack, receive, send
from .keys import Keys
from .spin import SpinReceiver


class Worker:
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
        self._watchers.append(connect_for_life(socket, address, keys, lambda: self._closing))
        return socket

    def serve(self, spec: HostSpec, spin_seconds: float) -> None:
        """Build the host, report that, and handle calls until one says to close."""
        status, host = answer(lambda: spec.build(self.rank))
        # On the socket of the calls, so that the driver knows it before it sends the first one.
        self._reply(READY, status, [] if status == OK else host, self._calls)
        if status != OK:
            return
        try:
            self._serve(host, SpinReceiver(spin_seconds))
        finally:
            host.close()

    def _serve(self, host: Host, receiver: SpinReceiver) -> None:
        while True:
            try:
                (number, mask, _count), message = receive(self._calls, CALL, receiver)
            except Garbage:
                self._closing = True  # CLOSE, which is no call
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
    """Serve as a worker until the driver closes or is gone."""
    addresses, rank, keys, spin_seconds, spec = take_bootstrap()
    remove_with_driver([name.removeprefix("ipc://") for name in addresses if name.startswith("ipc://")])
    worker = Worker(addresses, rank, keys)
    try:
        worker.serve(spec, spin_seconds)
    finally:
        worker.close()
    sys.stdout.flush()
    os._exit(0)  # threads and libraries of the host must not delay the end


if __name__ == "__main__":
    main()
