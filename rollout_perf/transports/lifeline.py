"""A connection between the driver and each worker on another node, by which each sees that the other has
gone.

What ends a process closes it at once. Where a host or the network goes, the kernels notice: each end sends a
byte every second, and a kernel that has no receipt for one from the other's ends the connection. So one
direction that is cut is enough, and a process that is busy or stopped is not taken for a dead one. Ray sees
such ends too, but only half a minute later. Nothing else travels but a token, to the driver, and before the
end a line of text that says why.
"""

import contextlib
import os
import secrets
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ..errors import EngineError

GONE_SECONDS = 4
"""After how long a peer that cannot be reached is taken for gone."""

_BEAT, _BEAT_SECONDS = b".", 1.0

CUT = 75
"""Exit code of a process whose driver has gone."""

_THIN_LINEAR_TIMEOUTS = 16
"""TCP_THIN_LINEAR_TIMEOUTS of linux/tcp.h, which Python's socket does not name."""

_CONNECT_SECONDS = 10.0
_HELLO = struct.Struct("<32sI")
_MOST_TEXT_BYTES = 4096


class Line(NamedTuple):
    """Where a worker connects, and with what. Secret."""

    address: str
    port: int
    token: bytes
    rank: int


class Lifelines:
    """The driver's end: listens at one address, and calls when the line of a worker has ended."""

    def __init__(self, address: str):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self._listener = socket.create_server((address, 0), family=family)
        except OSError as error:
            raise EngineError(f"cannot listen at {address}: {error}") from error
        self._token = secrets.token_bytes(32)
        self._address = address
        self._ending = os.eventfd(0)
        self._thread: threading.Thread | None = None

    def line(self, rank: int) -> Line:
        """What worker `rank` is told, over a channel that nobody else reads."""
        return Line(self._address, self._listener.getsockname()[1], self._token, rank)

    def watch(self, names: Mapping[int, str], notice: Callable[[int, str], None]) -> None:
        """Have a thread call `notice` with the first worker of `names` whose line ends, and what is known."""
        self._thread = threading.Thread(
            target=self._watch, args=[names, notice], name="lifelines", daemon=True
        )
        self._thread.start()

    def _watch(self, names: Mapping[int, str], notice: Callable[[int, str], None]) -> None:
        poller = select.poll()
        poller.register(self._ending, select.POLLIN)
        poller.register(self._listener, select.POLLIN)
        lines: dict[int, tuple[int, socket.socket]] = {}
        beats = _Beats()
        try:
            while True:
                for descriptor, _event in poller.poll(beats.left_milliseconds()):
                    if descriptor == self._ending:
                        return
                    if descriptor == self._listener.fileno():
                        if (joined := self._accept()) is not None:
                            lines[joined[1].fileno()] = joined
                            poller.register(joined[1], select.POLLIN)
                        continue
                    rank, connection = lines[descriptor]
                    if (words := _said(connection)) is None:
                        continue
                    poller.unregister(descriptor)
                    lines.pop(descriptor)[1].close()
                    how = words or f"the connection to worker {rank} was cut"
                    notice(rank, f"{how}, on {names[rank]}")
                beats.send([connection for _rank, connection in lines.values()])
        finally:
            for _rank, connection in lines.values():
                connection.close()

    def _accept(self) -> tuple[int, socket.socket] | None:
        """A worker that has the token; a stranger is sent away."""
        connection, _address = self._listener.accept()
        connection.settimeout(_BEAT_SECONDS)  # a worker says it at once
        hello = b""
        with contextlib.suppress(OSError):
            hello = connection.recv(_HELLO.size, socket.MSG_WAITALL)
        if len(hello) == _HELLO.size:
            token, rank = _HELLO.unpack(hello)
            if secrets.compare_digest(token, self._token):
                _end_unanswered(connection)
                return rank, connection
        connection.close()
        return None

    def close(self) -> None:
        """Let go of all; the workers end with that, if they have not yet. Closing twice is closing once."""
        if self._listener.fileno() == -1:
            return
        os.eventfd_write(self._ending, 1)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._listener.close()
        os.close(self._ending)


class Held:
    """The worker's end: this process ends when the driver has gone."""

    def __init__(self, line: Line):
        """Raises EngineError where the driver cannot be reached."""
        try:
            self._connection = socket.create_connection((line.address, line.port), _CONNECT_SECONDS)
        except OSError as error:
            raise EngineError(
                f"the driver cannot be reached at {line.address}:{line.port} from here: {error}; "
                "a firewall between the nodes must let that through"
            ) from None
        _end_unanswered(self._connection)
        self._connection.sendall(_HELLO.pack(line.token, line.rank))
        threading.Thread(target=self._wait, name="driver-watch", daemon=True).start()

    def _wait(self) -> None:
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        beats = _Beats()
        while not poller.poll(beats.left_milliseconds()) or _said(self._connection) is None:
            beats.send([self._connection])
        os._exit(CUT)

    def end_with(self, words: str) -> None:
        """Tell the driver why there is no more to come."""
        with contextlib.suppress(OSError):
            self._connection.sendall(words.encode()[:_MOST_TEXT_BYTES])
            self._connection.shutdown(socket.SHUT_WR)


def _end_unanswered(connection: socket.socket) -> None:
    """Have the kernel end a connection whose peer gives no receipt, early enough for GONE_SECONDS.

    A beat that is lost is sent again every 0.2 s, not ever later and at last too late: a network that stalls
    for 2 s ends nothing.
    """
    left = int((GONE_SECONDS - _BEAT_SECONDS) * 1000)  # a beat may be due only in a while
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, left)
    with contextlib.suppress(OSError):  # a system without these ends it after a shorter stall
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")  # under bbr nothing is thin
        connection.setsockopt(socket.IPPROTO_TCP, _THIN_LINEAR_TIMEOUTS, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(_BEAT_SECONDS)


class _Beats:
    """When beats are due: not whenever one comes, or each would be answered by the next."""

    def __init__(self) -> None:
        self._due = time.monotonic() + _BEAT_SECONDS

    def left_milliseconds(self) -> float:
        """How long until then."""
        return max(0.0, 1000 * (self._due - time.monotonic()))

    def send(self, connections: Iterable[socket.socket]) -> None:
        """Send one on each, if it is due."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _BEAT_SECONDS
        for connection in connections:
            with contextlib.suppress(OSError):  # who reads from it sees its end
                connection.send(_BEAT, socket.MSG_DONTWAIT)


def _said(connection: socket.socket) -> str | None:
    """What was said last on a connection that has ended; None of one that lives."""
    with contextlib.suppress(OSError):
        data = connection.recv(_MOST_TEXT_BYTES)
        if data and not data.strip(_BEAT):
            return None
        return data.lstrip(_BEAT).decode(errors="replace")
    return ""
