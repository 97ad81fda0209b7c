"""How a message becomes blocks, for channels that carry one buffer at a time, and back. Pure.

A message has a header here, of a few bytes. Both are packed into one block where that is short: what it
holds, how long the header is, the header, and a lone frame as it is or several that are joined.
A lone long frame is a block by itself, so that it is not copied; its header is that of the last
packed one. Anything else is announced by a packed block and follows frame by frame, a very long
frame in parts.
"""

import struct
from array import array

from .wire import Frame, Message, byte_count, join, joined_bytes, split

PACKED_BYTES = 64 * 1024
"""No packed block is longer, and no lone frame that goes as it is is shorter."""

LONGEST_BYTES = 4 * 1024 * 1024
"""No block is longer."""

MOST_FRAMES = 4096
"""A message with more is refused; vLLM's have a handful."""

_LEAD = struct.Struct("<cB")  # of a packed block: what it holds, and bytes of the header, which follows
_LONE, _JOINED, _ANNOUNCED = b"1", b"n", b"a"


class Sender:
    """Cuts messages; the blocks of one sender belong to one `Receiver`, in order."""

    def __init__(self, header: bytes = b""):
        self._header = header

    def cut(self, header: bytes, message: Message) -> list[bytes]:
        """The blocks of a message. Raises ValueError where it has more than MOST_FRAMES."""
        if len(message) > MOST_FRAMES:
            raise ValueError(f"{len(message)} frames; a message may have {MOST_FRAMES}")
        size = byte_count(message)
        lone = len(message) == 1
        room = PACKED_BYTES - _LEAD.size - len(header)
        if (size if lone else joined_bytes(size, len(message))) <= room:
            self._header = header
            return [_packed(_LONE, header, message[0]) if lone else _packed(_JOINED, header, join(message))]
        if lone and header == self._header and PACKED_BYTES < size <= LONGEST_BYTES:
            return [_as_bytes(message[0])]
        lengths = array("Q", [memoryview(frame).nbytes for frame in message])
        blocks = [_packed(_ANNOUNCED, header, lengths)]
        for frame, length in zip(message, lengths, strict=True):
            if length <= LONGEST_BYTES:
                blocks.append(_as_bytes(frame))
                continue
            view = memoryview(frame).cast("B")
            blocks += [bytes(view[i : i + LONGEST_BYTES]) for i in range(0, length, LONGEST_BYTES)]
        return blocks


class Receiver:
    """Puts messages together again."""

    def __init__(self, header: bytes = b""):
        self._header: Frame = header
        self._announced: list[Frame] = []
        self._lengths: list[int] = []  # of the frames that are still to come
        self._parts: list[bytes] = []

    def add(self, block: bytes) -> list[Frame] | None:
        """Take the next block; the header and the frames of the message that it completes, if it does.

        Raises ValueError for what no `Sender` has made.
        """
        if self._lengths:
            return self._add_part(block)
        if len(block) > PACKED_BYTES:
            return [self._header, block]
        try:
            holds, length = _LEAD.unpack_from(block)
        except struct.error as error:
            raise ValueError(f"no block begins so: {error}") from None
        view = memoryview(block)
        start = _LEAD.size + length
        header, rest = view[_LEAD.size : start], view[start:]
        if len(header) < length or holds not in (_LONE, _JOINED, _ANNOUNCED):
            raise ValueError(f"no block begins with {bytes(view[:start]).hex()}")
        if holds == _ANNOUNCED:
            self._lengths, self._announced = array("Q", bytes(rest)).tolist(), [header]
            return None
        self._header = header
        return [header, rest] if holds == _LONE else [header, *split(rest)]

    def _add_part(self, block: bytes) -> list[Frame] | None:
        self._parts.append(block)
        missing = self._lengths[0] - sum(map(len, self._parts))
        if missing < 0:
            raise ValueError(f"{-missing} bytes more than announced")
        if missing:
            return None
        self._announced.append(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))
        self._parts = []
        del self._lengths[0]
        return None if self._lengths else self._announced


def _packed(holds: bytes, header: bytes, rest: Frame | array) -> bytes:
    return b"".join((_LEAD.pack(holds, len(header)), header, rest))


def _as_bytes(frame: Frame) -> bytes:
    return frame if type(frame) is bytes else bytes(frame)
