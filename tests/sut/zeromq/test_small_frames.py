"""Small frames by libzmq's own functions: they do what pyzmq does, and keep the GIL meanwhile."""

import statistics
import sys
import threading
import time

import pytest
import zmq

from rollout_perf.transports.zeromq import small_frames
from rollout_perf.transports.zeromq.frames import CALL, Garbage, pack, receive, send
from rollout_perf.transports.zeromq.small_frames import SEND_MORE, SMALL_BYTES, SmallFrames, send_small
from rollout_perf.transports.zeromq.spin import SpinReceiver


@pytest.fixture(params=["libzmq's", "pyzmq's"])
def pair(request, monkeypatch, sockets):
    """Two sockets, and either way to send and to receive."""
    if request.param == "pyzmq's":
        monkeypatch.setattr(small_frames, "_zmq_send", None)
        monkeypatch.setattr(small_frames, "_zmq_recv", None)
    return sockets


@pytest.fixture
def eager_thread():
    """A thread that wants the GIL all the time, and has it for 50 ms once it is released."""
    before, over = sys.getswitchinterval(), threading.Event()

    def work():
        while not over.is_set():
            sum(range(1000))

    sys.setswitchinterval(0.05)
    thread = threading.Thread(target=work)
    thread.start()
    yield
    over.set()
    thread.join()
    sys.setswitchinterval(before)


def test_the_gil_is_not_released_while_a_frame_is_sent(folder, eager_thread):
    times = []
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind(f"ipc://{folder}/pair")
        other.connect(f"ipc://{folder}/pair")
        for number in range(12):
            begin = time.perf_counter()
            send_small(one, b"%d" % number)
            times.append(time.perf_counter() - begin)
            assert other.recv() == b"%d" % number
    assert statistics.median(times) < 0.01


def test_frames_arrive_whole_and_in_order(pair):
    one, other = pair
    frames = SmallFrames()
    assert frames.receive(other) is None
    send_small(one, b"a\x00b", SEND_MORE)
    send_small(one, b"")
    send_small(one, bytes(range(256)) * 256)
    assert [frames.receive(other) for _ in range(4)] == [b"a\x00b", b"", bytes(range(256)) * 256, None]


def test_what_is_received_is_not_overwritten_by_the_next(pair):
    one, other = pair
    frames = SmallFrames()
    send_small(one, b"first")
    send_small(one, b"other")
    assert (frames.receive(other), frames.receive(other)) == (b"first", b"other")


def test_what_is_too_large_for_a_small_frame_never_writes_beyond_the_room_for_one(pair):
    one, other = pair
    one.send(bytes(10 << 20))
    assert set(SmallFrames().receive(other)) == {0}
    assert SmallFrames().receive(other) is None


@pytest.mark.parametrize("spin_seconds", [1.0, 0.0])
def test_what_was_cut_off_is_no_message(sockets, spin_seconds):
    """Its header is whole, and announces the one frame that has come."""
    one, other = sockets
    one.send(CALL.pack(1, 1, 1) + bytes(2 * SMALL_BYTES))
    with pytest.raises(Garbage, match=r"^\d+ bytes where a header has 20 and less"):
        receive(other, CALL, SpinReceiver(spin_seconds))
    send(one, pack(CALL, (2, 1), [bytes(SMALL_BYTES - 1)], SMALL_BYTES - 1), SMALL_BYTES - 1)
    values, [frame] = receive(other, CALL, SpinReceiver(spin_seconds))
    assert (values, frame.nbytes) == ((2, 1, 1), SMALL_BYTES - 1)


def test_what_cannot_be_sent_is_an_error():
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.router_mandatory = True
        router.bind("inproc://router")
        with pytest.raises(zmq.ZMQError, match=r"unreachable|No route"):
            send_small(router, b"nobody", SEND_MORE)
    with pytest.raises(zmq.ZMQError, match="non-socket"):
        send_small(router, b"closed")
    assert SmallFrames().receive(router) is None


def test_a_full_queue_is_waited_for():
    with zmq.Context() as context, context.socket(zmq.PUSH) as push, context.socket(zmq.PULL) as pull:
        push.sndhwm = pull.rcvhwm = 1
        push.bind("inproc://queue")
        pull.connect("inproc://queue")
        for number in range(2):
            send_small(push, b"%d" % number)
        timer = threading.Timer(0.1, pull.recv)
        timer.start()
        begin = time.perf_counter()
        send_small(push, b"2")
        timer.join()
        assert time.perf_counter() - begin > 0.05
        assert [pull.recv(), pull.recv()] == [b"1", b"2"]
