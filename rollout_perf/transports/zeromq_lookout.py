"""How one side of the ZeroMQ transport waits: asleep while nothing is due, then looking, then asleep again.

A sleeper's waking costs more than the message; who looks takes a core, and now and then the interpreter's
lock from the other threads of its process, which have work of their own while a step is under way.
"""

import os
import time
import zlib

import zmq

from .zeromq_library import SmallFrames

_LOOK_SECONDS = 0.003
_CORES_TO_LOOK = 4  # for the driver and each worker: fewer, and whoever looks keeps the others from work
_EARLY_SECONDS = 0.0005  # what is usual varies, and waking takes a while
_LONGEST_NAP_SECONDS = 0.05
_PAUSE = bytes(16 * 1024)  # to sum them up takes 4 us, for which other threads can have the interpreter


def look_seconds(world_size: int) -> float:
    """How long to look for a message that is due before sleeping: 0 where cores are few."""
    enough = len(os.sched_getaffinity(0)) >= _CORES_TO_LOOK * (1 + world_size)
    return _LOOK_SECONDS if enough else 0.0


class Lookout:
    """Waits for messages of one socket; the next is due after as long as the shorter of the last two took."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        """How long it looks."""
        self._frames = SmallFrames()
        self._last = self._usual = 0.0

    def receive(self, socket: zmq.Socket) -> bytes:
        """The first frame of the next message. Raises zmq.Again where none comes in the socket's time."""
        if not self.seconds:
            return socket.recv()
        begin = time.perf_counter()
        try:
            frame = self._look(socket)
            return socket.recv() if frame is None else frame
        finally:
            waited = time.perf_counter() - begin
            self._usual, self._last = min(waited, self._last), waited

    def _look(self, socket: zmq.Socket) -> bytes | None:
        nap = int(1000 * min(self._usual - _EARLY_SECONDS, _LONGEST_NAP_SECONDS))
        if nap > 0:
            socket.poll(nap)
        end = time.perf_counter() + self.seconds
        while (frame := self._frames.receive(socket)) is None and time.perf_counter() < end:
            zlib.crc32(_PAUSE)
        return frame
