"""How the ZeroMQ transport waits: asleep while nothing is due, looking when it is."""

import threading
import time

import pytest
import zmq

from rollout_perf.transports.zeromq_lookout import Lookout

USUAL = 0.06


def wait(lookout, sockets, seconds):
    """Wait for a message that comes after `seconds`: how long it took, and how long it kept a core."""
    mine, other = sockets
    timer = threading.Timer(seconds, other.send, [b"it"])
    begin, busy = time.perf_counter(), time.thread_time()
    timer.start()
    assert lookout.receive(mine) == b"it"
    taken = time.perf_counter() - begin, time.thread_time() - busy
    timer.join()
    return taken


def test_it_sleeps_until_a_message_is_due_and_then_looks(sockets):
    lookout = Lookout(1.0)
    _seconds, busy = wait(lookout, sockets, USUAL)
    assert busy > USUAL / 2, "it does not look for what may come at any time"
    wait(lookout, sockets, USUAL)
    _seconds, busy = wait(lookout, sockets, USUAL)
    assert 0 < busy < USUAL / 2, "it looks long before the message is due"


def test_what_comes_early_is_received_at_once(sockets):
    lookout = Lookout(1.0)
    for _ in range(2):
        wait(lookout, sockets, USUAL)
    seconds, _busy = wait(lookout, sockets, USUAL / 10)
    assert seconds < USUAL / 2


def test_one_long_wait_does_not_make_a_long_one_usual(sockets):
    lookout = Lookout(1.0)
    for seconds in (USUAL / 10, USUAL / 10, USUAL):
        wait(lookout, sockets, seconds)
    _seconds, busy = wait(lookout, sockets, USUAL)
    assert busy > USUAL / 2


def test_it_looks_for_as_long_as_it_is_told_to_and_then_sleeps(sockets):
    _seconds, busy = wait(Lookout(0.01), sockets, 0.1)
    assert 0.005 < busy < 0.05
    _seconds, busy = wait(Lookout(0.0), sockets, 0.1)
    assert busy < 0.005


def test_nothing_in_the_time_of_the_socket_is_told_and_the_next_nap_is_no_longer_than_that(sockets):
    mine, _other = sockets
    mine.rcvtimeo = 100
    lookout = Lookout(0.001)
    for _ in range(6):
        begin = time.perf_counter()
        with pytest.raises(zmq.Again):
            lookout.receive(mine)
        assert time.perf_counter() - begin < 0.19
