"""How one end of the ZeroMQ transport waits: asleep while nothing is due, then spinning, then asleep again.

To wake a sleeping thread costs more than the message; a spinning one takes a core, and now and then the GIL
from the other threads of its process, which have work of their own while a step is under way.
"""

import os
import time
import zlib

import zmq

from .small_frames import SmallFrames

_SPIN_SECONDS = 0.003
_CORES_TO_SPIN = 4  # for the driver and each worker: with fewer, a spinning thread keeps the others from work
_EARLY_SECONDS = 0.0005  # the usual wait varies, and waking takes a while
_LONGEST_NAP_SECONDS = 0.05
_PAUSE = bytes(16 * 1024)  # to sum them up takes 4 us, for which other threads can have the GIL


def spin_seconds(world_size: int) -> float:
    """How long to spin for a message that is due before sleeping: 0 where cores are few."""
    enough = len(os.sched_getaffinity(0)) >= _CORES_TO_SPIN * (1 + world_size)
    return _SPIN_SECONDS if enough else 0.0


class SpinReceiver:
    """Waits for messages of one socket; the next is due after as long as the shorter of the last two took."""

    def __init__(self, spin_seconds: float):
        self.spin_seconds = spin_seconds
        """How long it spins."""
        self._frames = SmallFrames()
        self._last = self._usual = 0.0

    def receive(self, socket: zmq.Socket) -> bytes:
        """The first frame of the next message. Raises zmq.Again where none comes in the socket's time."""
        if not self.spin_seconds:
            return socket.recv()
        begin = time.perf_counter()
        try:
            frame = self._spin(socket)
            return socket.recv() if frame is None else frame
        finally:
            waited = time.perf_counter() - begin
            self._usual, self._last = min(waited, self._last), waited

    def _spin(self, socket: zmq.Socket) -> bytes | None:
        nap = int(1000 * min(self._usual - _EARLY_SECONDS, _LONGEST_NAP_SECONDS))
        if nap > 0:
            socket.poll(nap)
        end = time.perf_counter() + self.spin_seconds
        while (frame := self._frames.receive(socket)) is None and time.perf_counter() < end:
            zlib.crc32(_PAUSE)
        return frame
