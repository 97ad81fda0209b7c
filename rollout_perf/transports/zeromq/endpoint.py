"""Where ZeroMQ sockets are bound, how a process hangs on its connection, and how much connections buffer."""

import contextlib
import os
import socket as sockets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import zmq
from zmq.utils.monitor import recv_monitor_message

from ...errors import ConfigurationError, EngineError
from ..base import CLOSE_SECONDS
from ..processes import CUT, end_at_once
from .keys import Keys

LARGEST_FRAME_BYTES = 1 << 30
"""A peer that sends a larger frame is disconnected."""

_BUFFER_BYTES = 4 << 20  # of which the system grants what it allows

_EVERYWHERE = ("", "*", "0.0.0.0", "::")


def check_endpoint(endpoint: str) -> str:
    """The scheme of an endpoint: ipc, or tcp with the one interface to bind. Raises ConfigurationError."""
    allowed = "give tcp://ADDRESS or tcp://ADDRESS:PORT with the address of one interface, or ipc"
    if endpoint == "ipc":
        return "ipc"
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"endpoint {endpoint!r}: {error}; {allowed}") from None
    if parts.scheme != "tcp" or parts.path or parts.query:
        raise ConfigurationError(f"endpoint {endpoint!r} is not taken; {allowed}")
    if (parts.hostname or "") in _EVERYWHERE:
        raise ConfigurationError(f"endpoint {endpoint!r} would listen on every interface; {allowed}")
    if port is not None and not 1 <= port <= 65534:
        raise ConfigurationError(
            f"endpoint {endpoint!r}: two ports are used, this one and the next; {allowed}"
        )
    return "tcp"


@dataclass(frozen=True)
class Endpoint:
    """Where sockets are bound: in a folder of the user's own, or at an address."""

    scheme: str
    address: str
    """The folder's path and a name's beginning, or tcp://HOST."""
    port: int | None = None
    """The first of two ports; None takes two that are free."""

    @classmethod
    def of(cls, endpoint: str | None, folder: Path) -> "Endpoint":
        """The endpoint of a transport whose folder this is. Raises ConfigurationError."""
        if endpoint is None or check_endpoint(endpoint) == "ipc":
            return cls("ipc", f"{folder}/zmq-{os.getpid()}-{os.urandom(4).hex()}")
        parts = urlsplit(endpoint)
        host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
        return cls("tcp", f"tcp://{host}", parts.port)

    @property
    def is_open(self) -> bool:
        """Whether others than the user can reach it."""
        return self.scheme != "ipc"

    def bind(self, socket: zmq.Socket, purpose: str) -> None:
        """Bind the socket for `calls` or for `replies`. Raises EngineError where that cannot be."""
        if self.scheme == "ipc":
            address = f"ipc://{self.address}-{purpose}"
        elif self.port is None:
            address = f"{self.address}:0"
        else:
            address = f"{self.address}:{self.port + (purpose == 'replies')}"
        if ":" in self.address.removeprefix("tcp://"):
            socket.ipv6 = True
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            raise EngineError(f"cannot listen at {address}: {error}") from error

    def clear(self) -> None:
        """Remove the sockets' files."""
        if self.scheme == "ipc":
            for purpose in ("calls", "replies"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{self.address}-{purpose}")


@contextlib.contextmanager
def with_large_buffers(socket: zmq.Socket) -> Iterator[None]:
    """Enlarge the buffers of the connections to a bound socket that are made in the block."""
    monitor = socket.get_monitor_socket(zmq.EVENT_ACCEPTED)
    try:
        yield
        while monitor.poll(0):
            enlarge_buffer(monitor)
    finally:
        socket.disable_monitor()
        monitor.close()


def connect_for_life(
    socket: zmq.Socket, address: str, keys: Keys | None, is_closing: Callable[[], bool]
) -> threading.Thread:
    """Connect the socket of a process that ends at once when the connection does, unless it is closing.

    Who has bound the other end notices that; libzmq would connect again, but what was under way is lost.
    The thread watches the connection, until the socket's monitor is disabled.
    """
    socket.linger = int(CLOSE_SECONDS * 1000)
    socket.sndhwm = socket.rcvhwm = 0
    if keys is not None:
        keys.apply_to(socket)
    monitor = socket.get_monitor_socket(
        zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_MONITOR_STOPPED
    )

    def watch() -> None:
        while enlarge_buffer(monitor):
            pass
        if not is_closing():
            end_at_once(CUT)
        monitor.close()

    watcher = threading.Thread(target=watch, name="zmq-watch", daemon=True)
    watcher.start()
    socket.connect(address)
    return watcher


def enlarge_buffer(monitor: zmq.Socket) -> bool:
    """Take an event from a socket's monitor; whether it was a new connection, whose buffer is then enlarged.

    A unix socket buffers 208 KiB by default, and whoever sends more waits for the receiver meanwhile.
    libzmq sets the buffers of tcp alone.
    """
    event = recv_monitor_message(monitor)
    if event["event"] not in (zmq.EVENT_CONNECTED, zmq.EVENT_ACCEPTED):
        return False
    with contextlib.suppress(OSError):  # it may have been cut already
        connection = sockets.socket(fileno=event["value"])
        try:
            if connection.family == sockets.AF_UNIX:
                connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, _BUFFER_BYTES)
        finally:
            connection.detach()  # it is libzmq's
    return True
