"""arrival.py: requests are sent when they should be, and what cannot be is refused in a line."""

import asyncio
from itertools import pairwise

import pytest
import virtual_time
from rollout_bench.measure.arrival import due_seconds, send_all, window
from rollout_bench.measure.workload import Workload


def test_times_of_a_rate_are_drawn_from_the_seed_as_of_a_poisson_process():
    due = due_seconds("rate:100", 2001, "0/1/arrival", None)
    assert (
        due == due_seconds("rate:100", 2001, "0/1/arrival", None) != due_seconds("rate:100", 2001, "1", None)
    )
    gaps = [after - before for before, after in pairwise(due)]
    assert due[0] == 0
    assert 0.0095 < sum(gaps) / 2000 < 0.0105
    assert 0.35 < sum(gap < 0.005 for gap in gaps) / 2000 < 0.44  # 1 - exp(-0.5) of them


def test_times_of_a_trace_are_its_own_and_those_of_a_group_its_first_one():
    load = Workload(prompts=2, samples=2, arrival_seconds=(0.0, 0.5, 1.0, 1.5)).asking(arrival="trace")
    assert (load.name, load.due_seconds(3)) == ("fixed-trace", [0.0, 0.5, 1.0, 1.5])
    assert load.asking(request="group").due_seconds() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("window:0", "arrival is window:0; a window is of 1 to all 8 requests"),
        ("window:9", "arrival is window:9; a window is of 1 to all 8 requests"),
        ("window:-1", "arrival is 'window:-1'; give batch, window:N, rate:R or trace"),
        ("rate:0", "arrival is rate:0; a rate must be a number of requests a second, above 0"),
        ("rate:fast", "arrival is rate:fast; a rate must be"),
        ("rate:0.001", "arrival is rate:0.001; the last request would come after "),
        ("trace", "arrival is trace; give a --workload whose rows all have arrival_seconds"),
        ("at once", "arrival is 'at once'; give batch, window:N, rate:R or trace"),
    ],
)
def test_an_arrival_that_cannot_be_is_refused_in_a_line(way, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        Workload(prompts=8).asking(arrival=way)


def test_a_window_is_full_until_the_last_request_is_sent():
    """And a group in it has all its samples under way."""
    under_way, seen = set(), []

    async def send(number, _at):
        under_way.add(number)
        seen.append(len(under_way))
        for _turn in range(3 + number % 4):
            await asyncio.sleep(0)
        under_way.remove(number)

    asyncio.run(send_all(send, [[(number, 0.0)] for number in range(20)], 4, None))
    assert seen == [1, 2, 3] + [4] * 17
    load = Workload(prompts=3, samples=(2, 5, 3))
    assert (window("window:2"), load.at_once) == (2, 10)
    assert load.asking(arrival="window:2").at_once == 2
    assert load.asking(request="group", arrival="window:2").at_once == 8


def test_a_request_is_sent_when_it_is_due_and_none_is_left_after_a_failure(monkeypatch):
    sent, left = {}, []

    async def send(number, at):
        sent[number] = at, asyncio.get_running_loop().time()
        try:
            if number == 2:
                raise RuntimeError("the engine is dead")
            await asyncio.sleep(60)
        finally:
            left.append(number)

    with pytest.raises(RuntimeError, match="the engine is dead"):
        virtual_time.run(
            send_all(send, [[(number, 0.0)] for number in range(4)], None, [0.0, 2.0, 5.0, 50.0]), monkeypatch
        )
    assert sent == {number: (due, due) for number, due in enumerate((0.0, 2.0, 5.0))}
    assert sorted(left) == [0, 1, 2]
