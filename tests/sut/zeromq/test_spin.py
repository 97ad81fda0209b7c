"""How the ZeroMQ transport waits: asleep while nothing is due, spinning when it is."""

import threading
import time

import pytest
import zmq

from rollout_perf.transports.zeromq.spin import SpinReceiver

USUAL = 0.06


def wait(receiver, sockets, seconds):
    """Wait for a message that comes after `seconds`: how long it took, and how long it kept a core."""
    mine, other = sockets
    timer = threading.Timer(seconds, other.send, [b"it"])
    begin, busy = time.perf_counter(), time.thread_time()
    timer.start()
    assert receiver.receive(mine) == b"it"
    taken = time.perf_counter() - begin, time.thread_time() - busy
    timer.join()
    return taken


def test_it_sleeps_until_a_message_is_due_and_then_spins(sockets):
    receiver = SpinReceiver(1.0)
    _seconds, busy = wait(receiver, sockets, USUAL)
    assert busy > USUAL / 2, "it does not spin for what may come at any time"
    wait(receiver, sockets, USUAL)
    _seconds, busy = wait(receiver, sockets, USUAL)
    assert 0 < busy < USUAL / 2, "it spins long before the message is due"


def test_what_comes_early_is_received_at_once(sockets):
    receiver = SpinReceiver(1.0)
    for _ in range(2):
        wait(receiver, sockets, USUAL)
    seconds, _busy = wait(receiver, sockets, USUAL / 10)
    assert seconds < USUAL / 2


def test_one_long_wait_does_not_make_a_long_one_usual(sockets):
    receiver = SpinReceiver(1.0)
    for seconds in (USUAL / 10, USUAL / 10, USUAL):
        wait(receiver, sockets, seconds)
    _seconds, busy = wait(receiver, sockets, USUAL)
    assert busy > USUAL / 2


def test_it_spins_for_as_long_as_it_was_set_to_and_then_sleeps(sockets):
    _seconds, busy = wait(SpinReceiver(0.01), sockets, 0.1)
    assert 0.005 < busy < 0.05
    _seconds, busy = wait(SpinReceiver(0.0), sockets, 0.1)
    assert busy < 0.005


def test_nothing_in_the_time_of_the_socket_is_an_error_and_the_next_nap_is_no_longer_than_that(sockets):
    mine, _other = sockets
    mine.rcvtimeo = 100
    receiver = SpinReceiver(0.001)
    for _ in range(6):
        begin = time.perf_counter()
        with pytest.raises(zmq.Again):
            receiver.receive(mine)
        assert time.perf_counter() - begin < 0.19
