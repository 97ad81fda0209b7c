"""How a message of the ZeroMQ transport becomes frames of a socket, and back.

A header comes first: of a call or of a reply, with the count of the message's frames last. A lone
small frame travels behind the header in the same frame: one more costs half a round trip's time.
"""

import os
import struct
import time

import zmq

from .wire import Message

CALL = struct.Struct("<QQI")
"""Header of a call: its number, the ranks that reply as a bit mask, count of frames."""

REPLY = struct.Struct("<QHcI")
"""Header of a reply: number of the call, rank, status, count of frames."""

MOST_WORKERS = 64
"""Bits of a call's mask."""

_COPY_BELOW_BYTES = 64 * 1024  # under this, copying a frame is cheaper than sharing it
_MOST_FRAMES = 4096
_SPIN_SECONDS = 0.003  # a step of a small model; longer waits sleep
_CORES_TO_SPIN = 4  # for the driver and each worker: fewer, and whoever spins keeps the others from work


class Garbage(Exception):
    """What came is no message of this transport."""


def pack(header: struct.Struct, values: tuple, message: Message, size: int) -> list:
    """The frames of a message of `size` bytes; a lone small frame joins the header's."""
    head = header.pack(*values, len(message))
    if len(message) == 1 and size < _COPY_BELOW_BYTES:
        return [b"".join((head, message[0]))]
    return [head, *message]


def send(socket: zmq.Socket, frames: list, size: int) -> None:
    """Send what `pack` has made."""
    if len(frames) == 1:
        socket.send(frames[0])
    else:
        socket.send_multipart(frames, copy=size < _COPY_BELOW_BYTES)


def spin_seconds(world_size: int) -> float:
    """How long to look for a message before sleeping: a sleeper's waking costs more than the message."""
    enough = len(os.sched_getaffinity(0)) >= _CORES_TO_SPIN * (1 + world_size)
    return _SPIN_SECONDS if enough else 0.0


def _first_frame(socket: zmq.Socket, spin: float) -> zmq.Frame:
    end = time.perf_counter() + spin if spin else 0.0
    while spin and time.perf_counter() < end:
        try:
            return socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            continue
    return socket.recv(copy=False)


def receive(socket: zmq.Socket, header: struct.Struct, spin: float = 0.0) -> tuple[tuple, list[memoryview]]:
    """Values of the header, the count of frames last, and the message.

    Raises Garbage for what has no such header, and zmq.Again when nothing came in time.
    """
    frame = _first_frame(socket, spin)
    head, frames = frame.buffer, []
    while frame.more:
        frame = socket.recv(copy=False)
        frames.append(frame.buffer)
    if len(head) < header.size or len(frames) > _MOST_FRAMES:
        raise Garbage(f"{len(frames) + 1} frames, the first of {len(head)} bytes")
    values = header.unpack_from(head)
    if values[-1] == 1 and not frames:
        frames.append(head[header.size :])
    if values[-1] != len(frames):
        raise Garbage(f"{values[-1]} frames were announced, {len(frames)} came")
    return values, frames
