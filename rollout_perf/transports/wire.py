"""How a call and its reply become frames, and back. Pure: no sockets, no processes.

A message is a list of frames (bytes-like). The first frame is the pickle of an object, the
others are the buffers that pickle protocol 5 left out of band, so that large arrays are not
copied into the pickle. Pickle executes what it reads: decode only what a process of this run has
sent over a channel that nobody else can write to.
"""

import pickle
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

Frame = bytes | bytearray | memoryview
Message = Sequence[Frame]

_COUNT = struct.Struct("<I")


def encode(value: Any) -> list[Frame]:
    """Encode `value` as a message. Falls back to cloudpickle for what pickle cannot name."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    except (pickle.PicklingError, AttributeError, TypeError):
        import cloudpickle

        buffers.clear()
        head = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return [head, *(buffer.raw() for buffer in buffers)]


def decode(message: Message) -> Any:
    """Return the value that `encode` was given."""
    return pickle.loads(message[0], buffers=message[1:])


def byte_count(message: Message) -> int:
    """Bytes of all frames together, without the framing of the channel that carries them."""
    size = 0
    for frame in message:
        size += len(frame) if type(frame) is bytes else memoryview(frame).nbytes
    return size


def join(message: Message) -> bytes:
    """Pack a message into one block, for channels that carry a single buffer. See `split`."""
    lengths = [len(frame) if type(frame) is bytes else memoryview(frame).nbytes for frame in message]
    return b"".join((_head(len(lengths)).pack(len(lengths), *lengths), *message))


def joined_bytes(size: int, frames: int) -> int:
    """Length of the block that `join` makes of a message of `size` bytes in so many frames."""
    return _head(frames).size + size


def split(block: Frame) -> list[memoryview]:
    """Return the frames of a block made by `join`, as views into it, not copies.

    Raises ValueError where the block is not one that `join` made.
    """
    view = memoryview(block)
    try:
        (count,) = _COUNT.unpack_from(view)
        lengths = _head(count).unpack_from(view)[1:]
    except struct.error as error:
        raise ValueError(f"not a joined message: {error}") from None
    start = _head(count).size
    if start + sum(lengths) != view.nbytes:
        raise ValueError(f"a joined message of {start + sum(lengths)} bytes came as {view.nbytes}")
    frames = []
    for length in lengths:
        frames.append(view[start : start + length])
        start += length
    return frames


@lru_cache(maxsize=64)
def _head(count: int) -> struct.Struct:
    return struct.Struct(f"<I{count}Q")
