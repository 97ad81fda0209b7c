"""transports/wire.py: what goes in comes out, large arrays are not copied, broken blocks are refused."""

import pickle
import struct

import numpy as np
import pytest

from rollout_perf.transports import wire


@pytest.mark.parametrize(
    "value", [None, 0, "text", b"", {"a": [1, (2, 3)]}, ("execute", (), {"non_block": True}), {1, 2}, 3.5]
)
def test_a_value_survives(value):
    assert wire.decode(wire.encode(value)) == value


def test_arrays_travel_out_of_band():
    """In the pickle they would be copied once more at each end."""
    array = np.arange(1000, dtype=np.int64)
    head, buffer = wire.encode({"tokens": array})
    assert memoryview(head).nbytes < 500
    assert memoryview(buffer).nbytes == array.nbytes
    assert np.shares_memory(np.frombuffer(buffer, dtype=np.int64), array)
    np.testing.assert_array_equal(wire.decode([head, buffer])["tokens"], array)


def test_several_arrays_keep_their_places():
    value = [np.zeros(3), np.ones((2, 2), dtype=np.float32), np.array([], dtype=np.int32)]
    decoded = wire.decode([bytes(frame) for frame in wire.encode(value)])
    assert [array.dtype for array in decoded] == [array.dtype for array in value]
    assert all(np.array_equal(one, other) for one, other in zip(decoded, value, strict=True))


def test_what_pickle_cannot_name_is_encoded_all_the_same():
    """vLLM calls workers with functions of its own, lambdas among them; no buffer may come twice."""
    array = np.arange(4)
    message = wire.encode((array, lambda: 42))
    decoded, function = wire.decode(message)
    assert len(message) == 2
    np.testing.assert_array_equal(decoded, array)
    assert function() == 42


def test_byte_count_is_that_of_all_frames():
    assert wire.byte_count([b"12345", bytearray(3), memoryview(np.zeros(2))]) == 5 + 3 + 16
    assert wire.byte_count([]) == 0


def test_the_layout_of_a_joined_message():
    """A count, a length for each frame, the frames: little-endian, nothing else."""
    joined = wire.join([b"ab", b"", b"c"])
    assert joined == struct.pack("<IQQQ", 3, 2, 0, 1) + b"abc"


@pytest.mark.parametrize("message", [[], [b""], [b"one"], [b"one", b"", b"three"], [bytes(1 << 20)]])
def test_split_undoes_join(message):
    assert [bytes(frame) for frame in wire.split(wire.join(message))] == message


def test_join_takes_every_kind_of_frame_by_its_bytes():
    array = np.arange(3, dtype=np.int64)
    frames = wire.split(wire.join([bytearray(b"x"), memoryview(array)]))
    assert [bytes(frame) for frame in frames] == [b"x", array.tobytes()]


def test_split_gives_views_and_no_copies():
    block = bytearray(wire.join([b"abc"]))
    (frame,) = wire.split(block)
    block[-3:] = b"xyz"
    assert bytes(frame) == b"xyz"


WHOLE = wire.join([b"abc", b"de"])


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_a_truncated_block_is_refused(length):
    with pytest.raises(ValueError, match="joined message"):
        wire.split(WHOLE[:length])


@pytest.mark.parametrize("block", [WHOLE + b"x", b"\xff" * 12, b"\xff" * 64, struct.pack("<IQ", 1, 1 << 63)])
def test_an_overlong_or_senseless_block_is_refused(block):
    with pytest.raises(ValueError, match="joined message"):
        wire.split(block)


def test_a_message_without_its_buffers_is_refused():
    head, _buffer = wire.encode(np.arange(10))
    with pytest.raises(pickle.UnpicklingError):
        wire.decode([head])
