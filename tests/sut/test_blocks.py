"""Messages as blocks: whole and in order, bounded, and long frames not copied."""

import numpy as np
import pytest

from rollout_perf.transports.blocks import LONGEST_BYTES, MOST_FRAMES, PACKED_BYTES, Receiver, Sender


def carry(sender, receiver, header, message):
    """The blocks of a message, and what came of them."""
    blocks = sender.cut(header, message)
    *early, last = [receiver.add(block) for block in blocks]
    assert early == [None] * len(early)
    return blocks, [bytes(frame) for frame in last]


MESSAGES = [
    [],
    [b""],
    [b"one", b"", b"three"],
    [b"x" * PACKED_BYTES],
    [b"x" * (PACKED_BYTES + 1)],
    [b"", b"x" * PACKED_BYTES, b""],
    [b"ab" * LONGEST_BYTES, b"c"],
    [bytes([n % 251]) * 300 for n in range(MOST_FRAMES)],
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: f"{len(message)}-{sum(map(len, message))}")
def test_a_message_comes_whole_whatever_came_before_it(message):
    sender, receiver = Sender(), Receiver()
    for header, other in [(b"h", message), (b"h", [b"small"]), (b"h", message), (b"i", message)]:
        blocks, came = carry(sender, receiver, header, other)
        assert came == [header, *other]
        assert max(map(len, blocks)) <= LONGEST_BYTES


def test_a_lone_long_frame_goes_as_it_is_under_the_header_before():
    sender, receiver = Sender(), Receiver()
    frame = b"x" * (PACKED_BYTES + 1)
    carry(sender, receiver, b"h", [b"small"])
    [block] = sender.cut(b"h", [frame])
    assert block is frame
    assert receiver.add(block) == [b"h", frame]
    assert receiver.add(block)[1] is frame


def test_both_ends_may_begin_with_a_header():
    frame = b"x" * PACKED_BYTES * 2
    assert carry(Sender(b"ok"), Receiver(b"ok"), b"ok", [frame]) == ([frame], [b"ok", frame])


def test_an_array_is_a_frame():
    array = np.arange(20000, dtype=np.float32)
    _blocks, came = carry(Sender(), Receiver(), b"", [b"head", memoryview(array)])
    assert came == [b"", b"head", array.tobytes()]


def test_too_many_frames_are_refused():
    with pytest.raises(ValueError, match="4097 frames"):
        Sender().cut(b"", [b""] * (MOST_FRAMES + 1))


def test_more_than_was_announced_is_refused():
    receiver = Receiver()
    receiver.add(Sender().cut(b"", [b"a", b"x" * PACKED_BYTES])[0])
    with pytest.raises(ValueError, match="1 bytes more than announced"):
        receiver.add(b"ab")


@pytest.mark.parametrize("block", [b"", b"1", b"x\0frame", b"1\5head", b"a\0length", b"n\1h\1\0\0\0frame"])
def test_a_block_that_no_sender_has_made_is_refused(block):
    with pytest.raises(ValueError, match=r"no block begins|joined message|multiple of item size"):
        Receiver().add(block)
