"""How the ZeroMQ transport waits: asleep while nothing is due, spinning when it is."""

import threading
import time

import pytest
import zmq

from rollout_perf.transports.zeromq.small_frames import SmallFrames
from rollout_perf.transports.zeromq.spin import SpinReceiver

USUAL = 0.06


def wait(receiver, sockets, seconds):
    """Wait for a message that comes after `seconds`: how long it took, slept before it spun, and spun.

    None of the last two where it did not spin. By the clock, not by CPU time: a busy machine gives less.
    """
    mine, other = sockets
    looks = []
    receive = SmallFrames.receive

    def look(socket):
        looks.append(time.perf_counter())
        return receive(receiver._frames, socket)

    receiver._frames.receive = look
    timer = threading.Timer(seconds, other.send, [b"it"])
    begin = time.perf_counter()
    timer.start()
    assert receiver.receive(mine) == b"it"
    taken = time.perf_counter() - begin
    timer.join()
    return taken, *((looks[0] - begin, looks[-1] - looks[0]) if looks else (None, None))


def test_it_sleeps_until_a_message_is_due_and_then_spins(sockets):
    receiver = SpinReceiver(1.0)
    _taken, slept, _spun = wait(receiver, sockets, USUAL)
    assert slept < USUAL / 2, "it does not spin for what may come at any time"
    wait(receiver, sockets, USUAL)
    _taken, slept, _spun = wait(receiver, sockets, USUAL)
    assert slept > USUAL / 2, "it spins long before the message is due"


def test_what_comes_early_is_received_at_once(sockets):
    receiver = SpinReceiver(1.0)
    for _ in range(2):
        wait(receiver, sockets, USUAL)
    taken, *_others = wait(receiver, sockets, USUAL / 10)
    assert taken < USUAL / 2


def test_one_long_wait_does_not_make_a_long_one_usual(sockets):
    receiver = SpinReceiver(1.0)
    for seconds in (USUAL / 10, USUAL / 10, USUAL):
        wait(receiver, sockets, seconds)
    _taken, slept, _spun = wait(receiver, sockets, USUAL)
    assert slept < USUAL / 2


def test_it_spins_for_as_long_as_it_was_set_to_and_then_sleeps(sockets):
    _taken, _slept, spun = wait(SpinReceiver(0.01), sockets, 0.1)
    assert 0 < spun < 0.05
    assert wait(SpinReceiver(0.0), sockets, 0.1)[1:] == (None, None)


def test_nothing_in_the_time_of_the_socket_is_an_error_and_the_next_nap_is_no_longer_than_that(sockets):
    mine, _other = sockets
    mine.rcvtimeo = 100
    receiver = SpinReceiver(0.001)
    waits = []
    for _ in range(6):
        begin = time.perf_counter()
        with pytest.raises(zmq.Again):
            receiver.receive(mine)
        waits.append(time.perf_counter() - begin)
    assert min(waits[3:]) < 0.19  # a nap that grew with the wait before it would make each longer
