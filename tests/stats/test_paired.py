"""stats/paired.py: what each verdict needs, and how often a gate is wrong, over simulated gates."""

import math

import numpy as np
import pytest
from rollout_bench.stats.paired import (
    BETTER,
    CANNOT_TELL,
    ERROR,
    SAME,
    THRESHOLD,
    WORSE,
    half_width,
    judge,
    judge_exact,
    least_pairs,
    planned_looks,
)

from studies.false_alarms import simulate_gates, wrong

QUIET = [1.00, 1.001, 0.999, 1.0]


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.1, WORSE), (0.9, BETTER), (1.0, SAME), (1.0145, CANNOT_TELL)]
)
def test_a_verdict_is_read_off_the_interval(factor, verdict):
    head = [value * factor for value in [1.001, 1.0, 1.0, 0.999]]
    found = judge(QUIET, head, threshold=0.015, error=0.05)
    assert found.verdict == verdict
    assert found.interval[0] < found.ratio < found.interval[1]
    assert found.ratio == pytest.approx(factor, rel=0.001)


def test_worse_needs_the_whole_interval_beyond_the_threshold():
    """A change that is there, but too small to matter to whoever set the threshold."""
    head = [value * 1.05 for value in QUIET]
    noisy = [head[0] * 1.001, *head[1:]]
    assert judge(QUIET, noisy, threshold=0.03, error=0.05).verdict == WORSE
    assert judge(QUIET, noisy, threshold=0.10, error=0.05).verdict == SAME


@pytest.mark.parametrize("pairs", [1, 2, 3])
def test_few_pairs_decide_nothing_and_have_no_interval(pairs):
    found = judge([1.0] * pairs, [2.0] * pairs, threshold=0.015, error=0.05)
    assert (found.verdict, found.ratio, found.interval) == (CANNOT_TELL, pytest.approx(2.0), None)


def test_the_more_timings_are_judged_the_more_pairs_a_verdict_takes():
    assert [least_pairs(count) for count in (0, 1, 6, 7, 25, 26, 300)] == [4, 4, 4, 5, 5, 6, 7]
    head = [value * 1.1 for value in QUIET]
    found = judge(QUIET, head, threshold=0.015, error=0.05, least=5)
    assert (found.verdict, found.detectable) == (CANNOT_TELL, None)
    assert found.interval[0] > 1.05
    assert judge([*QUIET, 1.0], [*head, 1.1], threshold=0.015, error=0.05, least=5).verdict == WORSE


def test_zero_has_no_ratio():
    assert judge([0.0, 0.0], [0.0, 0.0], 0.015, 0.05).verdict == SAME
    assert judge([0.0, 0.0], [0.1, 0.2], 0.015, 0.05).verdict == CANNOT_TELL


def test_starts_come_in_pairs():
    with pytest.raises(ValueError, match="not pairs"):
        judge([1.0, 1.0], [1.0], 0.015, 0.05)


def test_even_an_interval_without_bounds_can_be_written_as_json():
    found = judge([1.0, 50.0] * 2, [1.0, 1e-9] * 2, 0.015, 1e-12)
    assert all(math.isfinite(bound) for bound in found.interval)


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


# --- how often it is wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["even", "outliers", "drift"])
@pytest.mark.parametrize("cv", [0.01, 0.05, 0.3])
def test_a_commit_against_itself_is_hardly_ever_called_worse(kind, cv):
    """At most 1 of 20 gates may: by design any of 8 cases does in at most 2.5 % of gates."""
    any_worse = (simulate_gates(kind, cv, effect=0.0, gates=4000) == WORSE).any(axis=1).mean()
    assert any_worse <= 0.025


@pytest.mark.parametrize("cases", [3, 15])
@pytest.mark.parametrize("cv", [0.004, 0.03, 0.08, 0.15])
def test_a_commit_against_itself_in_two_modes_gets_no_firm_verdict(cv, cases):
    """Whatever the number of pairs, at most 5 % of gates have one case called worse or better."""
    for most_pairs in (2, 4, 6, 8, 12):
        found = simulate_gates("modes", cv, effect=0.0, most_pairs=most_pairs, gates=2000, cases=cases)
        assert wrong(found) <= (ERROR if most_pairs >= 4 else 0), most_pairs


def test_noise_far_below_the_threshold_never_alarms():
    assert not (simulate_gates("even", cv=0.005, effect=0.0) == WORSE).any()


@pytest.mark.parametrize(("effect", "hits"), [(0.03, 0.95), (0.05, 0.99), (0.10, 0.99)])
def test_slowdowns_are_found_where_replicates_vary_by_one_per_cent(effect, hits):
    assert (simulate_gates("even", 0.01, effect) == WORSE).mean() >= hits


def test_a_commit_against_itself_is_called_the_same_where_replicates_vary_by_one_per_cent():
    assert (simulate_gates("even", 0.01, 0.0) == SAME).mean() >= 0.9


def test_the_intervals_of_a_gate_hold_together():
    """Every look at every case: at least 95 % of gates have no interval that misses."""
    gates, cases, looks = 1500, 8, planned_looks(16)
    logs = np.random.default_rng(0).standard_normal((gates, cases, 16))
    error = ERROR / (cases * len(looks))
    missed = [
        np.abs(logs[..., :pairs].mean(axis=-1)) > half_width(logs[..., :pairs], error) for pairs in looks
    ]
    assert np.any(missed, axis=(0, 2)).mean() <= ERROR


def test_what_would_have_been_seen_is_seen_in_nine_of_ten_gates():
    draw, cv, pairs = np.random.default_rng(0), 0.02, 8
    logs = cv * draw.standard_normal((400, pairs))
    promised = [judge([1.0] * pairs, list(np.exp(row)), THRESHOLD, 0.01).detectable for row in logs]
    effect = math.log1p(float(np.median(promised)))
    seen = [judge([1.0] * pairs, list(np.exp(row + effect)), THRESHOLD, 0.01).verdict for row in logs]
    assert 0.8 <= seen.count(WORSE) / len(seen) <= 0.97
