"""stats/paired.py: counts by equality, how many replicates a verdict takes, and when a gate looks."""

import pytest
from rollout_bench.stats.paired import (
    BETTER,
    CANNOT_TELL,
    SAME,
    WORSE,
    judge_exact,
    least_pairs,
    planned_looks,
)


def test_the_more_starts_are_judged_the_more_pairs_a_verdict_takes():
    assert [least_pairs(count) for count in (0, 1, 6, 7, 25, 26, 300)] == [4, 4, 4, 5, 5, 6, 7]


@pytest.mark.parametrize(
    ("base", "head", "verdict"),
    [
        ([[7, 7], [7, 7]], [[7, 7], [7, 7]], SAME),
        ([[7, 7], [7, 7]], [[8, 8], [8, 8]], WORSE),
        ([[7, 7], [7, 7]], [[6, 6], [6, 6]], BETTER),
        ([[7], [7]], [[7], [8]], CANNOT_TELL),  # of the same code one replicate has another count: not exact
        ([[7], [7]], [[8], [9]], WORSE),
        ([[7, 8, 7]], [[8, 7, 8]], CANNOT_TELL),  # several values a replicate, as records had them once
        ([[7, 7, 7]], [[7, 9, 9]], CANNOT_TELL),
        ([[7, 8]], [[5, 6]], BETTER),
        ([[0, 0]], [[0, 0]], SAME),
        ([[0, 0]], [[1, 1]], WORSE),
    ],
)
def test_counts_are_judged_by_equality(base, head, verdict):
    assert judge_exact(base, head).verdict == verdict


def test_a_count_may_have_a_threshold_too():
    assert judge_exact([[1000, 1000]], [[1005, 1005]], threshold=0.01).verdict == SAME
    assert judge_exact([[1000, 1000]], [[1020, 1020]], threshold=0.01).verdict == WORSE


def test_looks_double_and_the_last_is_at_the_end():
    assert planned_looks(2) == [2]
    assert planned_looks(4) == [4]
    assert planned_looks(20) == [4, 8, 16, 20]
    assert planned_looks(20, least=5) == [5, 10, 20]
