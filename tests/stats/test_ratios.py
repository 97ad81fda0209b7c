"""stats/ratios.py: the ratio of neighbours by hand, and what is no ratio."""

import random

import pytest
from rollout_bench.stats.ratios import ratio_of


def test_what_drifts_falls_out_of_the_ratio_of_neighbours():
    """The host gets slower fourfold within a replicate: medians of each would say nothing."""
    drifting = [1.0, 2.0, 3.0, 4.0]
    found = ratio_of(
        [([0.9 * one for one in drifting], drifting), ([5.5, 5.5], [5.0, 5.0]), ([1.0, 1.0], [1.0, 1.0])]
    )
    assert found.by_replicate == pytest.approx([0.9, 1.1, 1.0])
    assert found.middle == pytest.approx(1.0)
    assert found.interval == pytest.approx((0.9, 1.1))
    assert found.rounds == 8


def test_an_interval_holds_what_differs_from_replicate_to_replicate():
    """Rounds agree within a replicate: their number must not make the interval narrow."""
    replicates = [([level] * 50, [1.0] * 50) for level in (0.9, 1.0, 1.1)]
    low, high = ratio_of(replicates).interval
    assert (low, high) == pytest.approx((0.9, 1.1))
    draw = random.Random(1)
    alike = [([1.05 * draw.gauss(1, 0.01) for _ in range(50)], [1.0] * 50) for _ in range(5)]
    low, high = ratio_of(alike).interval
    assert 1.04 < low < 1.05 < high < 1.06


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
        ratio_of(replicates)
