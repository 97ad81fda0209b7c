"""What the rounds of a session come to, and what the speed of a contestant's cores made of its rollouts."""

import math
import random
from statistics import fmean, median, stdev

import pytest
from rollout_bench.schema.record import Record
from rollout_bench.stats.rounds import HODGES_LEHMANN_ERROR, hodges_lehmann, slowed


def test_the_estimate_of_hand_made_rounds():
    """Of 1, 2 and 9 the pairs' means are 1, 1.5, 2, 5, 5.5 and 9: halfway between 2 and 5."""
    assert hodges_lehmann([9.0, 1.0, 2.0]) == 3.5
    assert hodges_lehmann([2.0]) == 2.0
    assert hodges_lehmann([math.inf, 0.0, -math.inf]) == 0.0


def test_the_estimate_is_nearly_as_sure_as_a_mean_and_bears_a_quarter_of_outliers():
    draw = random.Random(0)
    rounds = [[draw.gauss(0, 1) for _ in range(10)] for _ in range(4000)]
    errors = [stdev(map(of, rounds)) for of in (fmean, hodges_lehmann, median)]
    assert errors[1] == pytest.approx(HODGES_LEHMANN_ERROR * errors[0], rel=0.03)
    assert errors[2] > 1.1 * errors[1]
    assert abs(hodges_lehmann([0.0, 0.01, -0.01, 0.02, -0.02, 0.0, 50.0, 60.0])) < 0.02


def rollouts(draw, code, power, rounds, noise=0.02):
    """Seconds of rollouts and how slow their cores were: one of two speeds, now and then."""
    slowness = [draw.choice((1.0, 1.8)) * draw.gauss(1, 0.05) for _ in range(rounds)]
    seconds = [code * slow**power * math.exp(draw.gauss(0, noise)) for slow in slowness]
    return seconds, slowness


def ratio(one, other, *, corrected):
    """The log ratio that a session of two gives; the truth is that of their code."""
    seconds, slowness = ({"a": a, "b": b} for a, b in zip(one, other, strict=True))
    longer = slowed(seconds, slowness) if corrected else {}
    none = [1.0] * len(seconds["a"])
    rounds = zip(*seconds.values(), *(longer.get(name, none) for name in seconds), strict=True)
    return hodges_lehmann([math.log((a / of_a) / (b / of_b)) for a, b, of_a, of_b in rounds])


def test_who_had_slower_cores_is_not_taken_for_slower_code():
    draw = random.Random(1)
    pairs = [(rollouts(draw, 1.05, 0.4, 10), rollouts(draw, 1.0, 0.4, 10)) for _ in range(300)]
    plain, even = ([ratio(*pair, corrected=one) for pair in pairs] for one in (False, True))
    assert stdev(even) < stdev(plain) / 3
    assert fmean(even) == pytest.approx(math.log(1.05), abs=0.002)


def test_where_seconds_do_not_follow_the_cores_little_is_made_of_them():
    draw = random.Random(2)
    pairs = [(rollouts(draw, 1.0, 0.0, 10), rollouts(draw, 1.0, 0.0, 10)) for _ in range(300)]
    plain, even = ([ratio(*pair, corrected=one) for pair in pairs] for one in (False, True))
    assert stdev(even) < 1.1 * stdev(plain)


def test_what_chance_alone_would_show_corrects_nothing():
    seconds = {"a": [1.0, 2.0, 1.0, 2.2] + [1.0, 2.0] * 8}
    assert set(slowed(seconds, {"a": [1.0, 1.0, 2.0, 2.0] * 5})["a"]) == {1.0}


def test_cores_that_are_all_alike_make_nothing_of_a_rollout():
    assert slowed({"a": [1.0, 2.0] * 9}, {"a": [1.5] * 18}) == {"a": [1.0] * 18}


def test_a_rollout_that_something_else_made_long_says_nothing_of_the_cores():
    draw = random.Random(3)
    pairs = [(rollouts(draw, 1.0, 0.4, 10), rollouts(draw, 1.0, 0.4, 10)) for _ in range(300)]
    quiet = [ratio(*pair, corrected=True) for pair in pairs]
    for (seconds, _slowness), _other in pairs:
        seconds[draw.randrange(10)] *= 4
    assert stdev(ratio(*pair, corrected=True) for pair in pairs) < 1.7 * stdev(quiet)


def test_no_rollout_is_faster_on_slower_cores_nor_slower_by_more_than_they_are():
    slowness = {"a": [1.0, 2.0] * 10}
    assert set(slowed({"a": [2.0, 1.0] * 10}, slowness)["a"]) == {1.0}
    low, high = sorted(set(slowed({"a": [1.0, 8.0] * 10}, slowness)["a"]))
    assert high / low == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("seconds", "slowness"),
    [
        ({"a": [1.0, 2.0] * 4}, {"a": [1.0, 2.0] * 4}),  # of too few rollouts nothing is learnt
        ({"a": [1.0, 2.0] * 9}, {"a": [None] * 18}),
        ({"a": [1.0, 2.0] * 9, "b": [1.0, 2.0] * 9}, {"a": [1.0, 2.0] * 9, "b": [None] + [2.0] * 17}),
        ({}, {}),
    ],
)
def test_what_is_not_known_corrects_nothing(seconds, slowness):
    assert slowed(seconds, slowness) == {}


def test_step_times_compare_without_what_the_cores_made_of_them_and_nothing_else_does():
    metrics = {"step_seconds": [2.0, 4.0], "engine_step_seconds": [0.2, 0.4], "wire_bytes": [8.0]}
    host = {"rounds": {"slowed": [1.0, 2.0]}}
    record = Record("zmq", "nano", 1, {}, "measured", None, metrics, {"host": host})
    assert record.comparable("step_seconds") == [2.0, 2.0]
    assert record.comparable("engine_step_seconds") == [0.2, 0.2]
    assert record.comparable("wire_bytes") == [8.0]
    assert record.comparable("control_ratio") == []
    for unknown in ({"slowed": [None, None]}, {"slowed": [1.0]}, {}):
        host["rounds"] = unknown
        assert record.comparable("step_seconds") == [2.0, 4.0]
