"""Small frames by libzmq's own functions, without releasing the GIL.

pyzmq releases it for the microseconds that a call into libzmq takes. In the engine's process another thread
waits for just that whenever a step has ended, to pass its output on, and the GIL comes back only when
that thread has done: a send takes 0.3 ms instead of 0.05 (docs/transport-speed.md).
"""

import ctypes
import importlib
from typing import Any

import zmq

SMALL_BYTES = 64 * 1024
"""The most that a small frame has, without a header."""

SEND_MORE = int(zmq.SNDMORE)
"""The flag of a frame that another follows."""

_AT_ONCE = int(zmq.NOBLOCK)  # a plain number: pyzmq's own takes as long to combine as a frame to send

_ROOM_BYTES = SMALL_BYTES + 64  # for one with a header


def _function(name: str, *types: Any) -> Any:
    """A function of the libzmq that pyzmq uses; None where pyzmq's build does not show it."""
    try:
        function = getattr(ctypes.PyDLL(importlib.import_module("zmq.backend.cython._zmq").__file__), name)
    except (ImportError, AttributeError, OSError):
        return None
    function.argtypes = types
    return function


_zmq_send = _function("zmq_send", ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_zmq_recv = _function("zmq_recv", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def send_small(socket: zmq.Socket, frame: bytes, flags: int = 0) -> None:
    """Send a small frame. Waits and raises as `socket.send` does."""
    if _zmq_send is None or _zmq_send(socket.underlying, frame, len(frame), flags | _AT_ONCE) < 0:
        socket.send(frame, flags)


class SmallFrames:
    """Receives the small frames of one socket. Not for several threads at once."""

    def __init__(self) -> None:
        self._room = ctypes.create_string_buffer(_ROOM_BYTES)

    def receive(self, socket: zmq.Socket) -> bytes | None:
        """The next frame, or None where there is none yet. One too large for a small frame is cut off."""
        if _zmq_recv is None:
            return socket.recv(zmq.NOBLOCK) if socket.poll(0) else None
        size = _zmq_recv(socket.underlying, self._room, _ROOM_BYTES, _AT_ONCE)
        return None if size < 0 else ctypes.string_at(self._room, min(size, _ROOM_BYTES))
