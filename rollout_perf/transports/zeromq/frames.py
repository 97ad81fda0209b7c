"""How a message of the ZeroMQ transport becomes frames of a socket, and back.

A header comes first: of a call or of a reply, with the count of the message's frames last. A lone
small frame travels behind the header in the same frame: copying it is cheaper than one more frame.
"""

import struct

import zmq

from ..wire import Message
from .small_frames import SEND_MORE, SMALL_BYTES, send_small
from .spin import SpinReceiver

CALL = struct.Struct("<QQI")
"""Header of a call: its number, the ranks that reply as a bit mask, count of frames."""

REPLY = struct.Struct("<QHcI")
"""Header of a reply: number of the call, rank, status, count of frames."""

READY = 0
"""The number under which a worker reports that its host is built; calls are numbered from 1."""

CLOSE = b"close"
"""What a worker is sent to end."""

MOST_WORKERS = 64
"""Bits of a call's mask."""

_SHARE_FROM_BYTES = 192 * 1024  # under this, copying a frame is cheaper than sharing it, which takes a thread
_MOST_FRAMES = 4096


class Garbage(Exception):
    """What came is no message of this transport."""


def pack(header: struct.Struct, values: tuple, message: Message, size: int) -> list:
    """The frames of a message of `size` bytes; a lone small frame joins the header's."""
    head = header.pack(*values, len(message))
    if len(message) == 1 and size < SMALL_BYTES:
        return [b"".join((head, message[0]))]
    return [head, *message]


def send(socket: zmq.Socket, frames: list, size: int) -> None:
    """Send what `pack` has made."""
    head, *message = frames
    if not message:
        send_small(socket, head)
        return
    send_small(socket, head, SEND_MORE)
    socket.send_multipart(message, copy=size < _SHARE_FROM_BYTES)


def receive(socket: zmq.Socket, header: struct.Struct, receiver: SpinReceiver) -> tuple[tuple, list]:
    """Values of the header, the count of frames last, and the message.

    Raises Garbage for what has no such header, and zmq.Again when nothing came in time.
    """
    head = receiver.receive(socket)  # small, since `pack` made it
    if not header.size <= len(head) < header.size + SMALL_BYTES:
        raise Garbage(
            f"{len(head)} bytes where a header has {header.size} and less than {SMALL_BYTES} may follow"
        )
    values = header.unpack_from(head)
    count = values[-1]
    if count == 1 and len(head) > header.size:
        return values, [memoryview(head)[header.size :]]
    frames: list = []
    more = socket.get(zmq.RCVMORE)
    while more and len(frames) <= min(count, _MOST_FRAMES):
        frame = socket.recv(copy=False)
        frames.append(frame.buffer)
        more = frame.more
    if count == 1 and not frames:
        frames.append(b"")  # joined, and empty
    if count != len(frames):
        raise Garbage(f"{count} frames were announced, {len(frames)} came")
    return values, frames
