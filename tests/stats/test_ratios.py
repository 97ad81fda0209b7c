"""stats/ratios.py: the ratio of neighbours by hand, and what is no ratio."""

import random

import pytest
from rollout_bench.stats.ratios import Pairs, ratios_of


def test_what_drifts_falls_out_of_the_ratio_of_neighbours():
    """The host gets slower fourfold within a replicate: medians of each would say nothing."""
    drifting = [1.0, 2.0, 3.0, 4.0]
    first = [0.9 * one for one in drifting], drifting
    [found] = ratios_of([Pairs("zmq", [first, ([5.5, 5.5], [5.0, 5.0]), ([1.0], [1.0])])])
    assert found.by_replicate == pytest.approx([0.9, 1.1, 1.0])
    assert found.middle == pytest.approx((0.9 * 1.1) ** (1 / 3))
    assert found.rounds == 7


def test_an_interval_is_students_of_the_replicates_and_not_of_their_many_rounds():
    """By hand: logs of 0.9, 1 and 1.1 have a mean of -0.0034 and a deviation of 0.1004; t of 2 is 4.30."""
    [found] = ratios_of([Pairs("zmq", [([level] * 50, [1.0] * 50) for level in (0.9, 1.0, 1.1)])])
    assert found.interval == pytest.approx((0.777, 1.279), abs=0.001)


def test_cases_of_other_engine_starts_know_of_each_others_noise():
    """Two replicates alone have an interval of 12.7 deviations; beside three other paths it is narrow."""
    draw = random.Random(1)
    cases = [
        Pairs(path, [([draw.gauss(1, 0.01)] * 3, [1.0] * 3) for _ in range(2)])
        for path in ("zmq", "ray", "sync", "ray-graph")
    ]
    widths = [high - low for low, high in (one.interval for one in ratios_of(cases))]
    [alone] = ratios_of(cases[:1])
    assert max(widths) < 0.1
    assert max(widths) < 2 * min(widths)
    assert len(alone.by_replicate) == 2


def test_one_engine_start_has_no_interval_however_many_its_rounds_are():
    """Rounds of one start vary by less than starts do: such an interval was the narrowest of all."""
    one, two = [([1.05, 1.06] * 25, [1.0] * 50)], [([level] * 3, [1.0] * 3) for level in (0.9, 1.1)]
    alone, beside = ratios_of([Pairs("ray", one), Pairs("zmq", two)])
    assert alone.interval is None
    assert beside.interval is not None
    assert ratios_of([Pairs("ray", one)])[0].interval is None


@pytest.mark.parametrize(
    ("replicates", "says"),
    [
        ([], "takes a replicate with samples"),
        ([([], [])], "takes a replicate with samples"),
        ([([1.0], [1.0, 2.0])], "longer"),
    ],
)
def test_without_samples_in_pairs_there_is_no_ratio(replicates, says):
    with pytest.raises(ValueError, match=says):
        ratios_of([Pairs("zmq", replicates)])
