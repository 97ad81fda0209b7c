"""The contract of transports, its good side: calls, replies, counting. See transports/base.py.

Every transport holds it; test_transport_failures.py is the other side.
"""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from contract import BASELINES, DEADLINE, ask, leave_out_what_threads_cannot, started
from fake_host import say

from rollout_perf import WorkerError
from rollout_perf.transports import wire
from rollout_perf.transports.base import Transport


@pytest.fixture(autouse=True)
def what_threads_cannot_is_left_out(request, path):
    leave_out_what_threads_cannot(request, path)


@pytest.mark.parametrize("workers", [1, 2])
def test_frames_come_back_unchanged_from_every_worker(path, folder, workers):
    frames = [b"one", b"", b"\x00" * 300]
    with started(path, folder, workers, host="Echo") as transport:
        replies = transport.send(frames, range(workers), DEADLINE).result()
        assert [[bytes(frame) for frame in message] for message in replies] == [frames] * workers


def test_calls_in_flight_are_handled_and_answered_in_the_order_of_sending(pair):
    """vLLM has two steps in flight: mixed up, tokens would land in other requests."""
    before = len(ask(pair, "history")[0])
    replies = [pair.send(say("echo", number), [0, 1], DEADLINE) for number in range(20)]
    answers = {number: replies[number].result() for number in reversed(range(20))}
    assert all([wire.decode(m) for m in answers[number]] == [number, number] for number in range(20))
    assert [history[before:] for history in ask(pair, "history", ranks=[0, 1])] == [list(range(20))] * 2


def test_only_the_ranks_that_were_asked_reply_and_all_of_them_work(pair, path):
    begin = pair.counters.replies
    assert [rank for rank, _pid in ask(pair, "who", ranks=[1])] == [1]
    assert pair.counters.replies - begin == (2 if path in BASELINES else 1)
    assert ask(pair, "echo", "for all", ranks=[1]) == ["for all"]
    assert [history[-1] for history in ask(pair, "history", ranks=[0, 1])] == ["for all"] * 2


def test_workers_are_as_urgent_as_whoever_started_them(pair):
    """Ray's would get a fifteenth of a core that they share with a worker of vLLM's own."""
    assert {psutil.Process(pid).nice() for _rank, pid in ask(pair, "who", ranks=[0, 1])} == {os.nice(0)}


def test_replies_come_in_the_order_of_the_ranks_asked(pair):
    assert [rank for rank, _pid in ask(pair, "who", ranks=[1, 0])] == [1, 0]


def test_a_call_without_a_reply_resolves_at_once(pair):
    assert not pair.send(say("echo", "nobody answers"), [], DEADLINE).result()
    assert ask(pair, "history")[0][-1] == "nobody answers"


def test_what_then_makes_of_the_replies_is_the_result(pair):
    reply = pair.send(say("echo", 20), [0, 1], DEADLINE, lambda both: sum(map(wire.decode, both)))
    assert reply.result() == 40


def test_the_next_call_begins_while_a_deferred_reply_is_awaited(pair, path):
    """The whole point of async scheduling: the GPU's next step is not held up by the last reply."""
    if path in BASELINES:
        pytest.skip("a baseline finishes one call before the next")
    replies = [pair.send(say("later", (0.3, name)), [0], DEADLINE) for name in "ab"]
    replies.append(pair.send(say("echo", "c"), [0], DEADLINE))
    assert [wire.decode(reply.result()[0]) for reply in replies] == ["a", "b", "c"]
    events = ask(pair, "timeline")[0]
    assert events.index(("called", "c")) < events.index(("fetched", "a"))


def test_a_call_can_be_sent_while_another_thread_waits(pair, path):
    """A wait holds whatever guards the channel; a sender must not starve meanwhile."""
    if path in BASELINES:
        pytest.skip("a baseline finishes one call before the next")
    slow = pair.send(say("sleep", 2.0), [0], DEADLINE)
    waiter = threading.Thread(target=slow.result)
    waiter.start()
    time.sleep(0.3)
    begin = time.monotonic()
    reply = pair.send(say("echo", "meanwhile"), [1], DEADLINE)
    sent_seconds = time.monotonic() - begin
    assert wire.decode(reply.result()[0]) == "meanwhile"
    waiter.join()
    assert sent_seconds < 1.0


def test_two_threads_that_wait_at_once_get_each_its_own_reply(pair):
    """vLLM's engine waits in one thread; a caller with two must not get another call's tokens, or none."""
    for number in range(10):
        orders = [say("later", (0.02, (number, place))) for place in range(2)]
        replies = [pair.send(order, [0, 1], DEADLINE) for order in orders]
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(lambda reply: [wire.decode(m) for m in reply.result()], replies))
        assert answers == [[(number, place)] * 2 for place in range(2)]


def test_large_payloads_arrive_whole_in_both_directions(pair):
    payload = np.arange(131072, dtype=np.int64)  # 1 MiB
    for answer in ask(pair, "echo", payload, ranks=[0, 1]):
        np.testing.assert_array_equal(answer, payload)
    np.testing.assert_array_equal(ask(pair, "array", 131072)[0], payload)


def test_the_environment_of_the_spec_reaches_the_worker(path, folder):
    with started(path, folder, environment={"RPT_THREADS": "3"}) as transport:
        assert ask(transport, "environment", "RPT_THREADS") == ["3"]


def test_what_a_host_raises_is_a_worker_error_with_its_traceback_and_the_next_call_works(pair):
    with pytest.raises(WorkerError, match=r"worker [01]: ValueError: bad order") as caught:
        ask(pair, "fail", "bad order", ranks=[0, 1])
    assert "fake_host.py" in str(caught.value)
    assert "Traceback" in str(caught.value)
    assert ask(pair, "echo", "goes on", ranks=[0, 1]) == ["goes on"] * 2


def test_an_error_in_a_deferred_reply_is_a_worker_error_of_that_call_alone(pair):
    failing = pair.send(say("later", (0.05, KeyError("late"))), [0, 1], DEADLINE)
    following = pair.send(say("echo", "fine"), [0], DEADLINE)
    with pytest.raises(WorkerError, match="late"):
        failing.result()
    assert wire.decode(following.result()[0]) == "fine"


def test_an_exception_that_cannot_be_pickled_still_has_its_message(pair):
    with pytest.raises(WorkerError, match="Unpicklable: ab"):
        ask(pair, "unpicklable", ranks=[0, 1])


def carried(transport: Transport) -> list[int]:
    """Figures of one round of calls to two workers."""
    names = ("calls", "replies", "sent_bytes", "received_bytes")
    ask(transport, "echo", "what came before is over", ranks=[0, 1])
    before = [getattr(transport.counters, name) for name in names]
    for argument in ("short", b"x" * 5000):
        ask(transport, "echo", argument, ranks=[0])
    ask(transport, "echo", "both", ranks=[0, 1])
    return [getattr(transport.counters, name) - start for name, start in zip(names, before, strict=True)]


def test_the_same_calls_count_the_same(pair):
    """Bytes a step are tracked as exact: noise in them would be an error of counting."""
    assert carried(pair) == carried(pair)


def test_counters_are_those_of_the_messages(pair, path):
    """Hand-computed; a channel that packs frames into one block may add its packing, no more."""
    arguments = ("short", b"x" * 5000, "both")
    sent = 2 * sum(wire.byte_count(say("echo", argument)) for argument in arguments)
    answers = 2 * arguments if path in BASELINES else (*arguments, "both")
    received = sum(wire.byte_count(wire.encode(argument)) for argument in answers)
    calls, replies, sent_bytes, received_bytes = carried(pair)
    assert (calls, replies, received_bytes) == (6, len(answers), received)
    assert sent <= sent_bytes <= sent + 6 * len(wire.join([b""]))


def test_describe_names_the_transport_and_its_channel(pair):
    facts = pair.describe()
    assert facts["transport"] == type(pair).__name__
    assert facts["channel"] == type(pair).channel
