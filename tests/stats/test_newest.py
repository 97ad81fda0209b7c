"""stats/newest.py: what one commit shows is said at that commit, rarely without cause, and followed."""

import numpy as np
import pytest
from rollout_bench.stats.change_points import find_shifts
from rollout_bench.stats.newest import find_departures


def noisy(levels, cv=0.01, seed=0):
    return np.asarray(levels, float) * (1 + cv * np.random.default_rng(seed).normal(size=len(levels)))


def found(values, spreads=None, groups=None):
    departures = find_departures(values, spreads, groups, find_shifts(values, spreads, groups))
    return [(one.index, one.state) for one in departures]


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([110], [(20, "unconfirmed")]),
        ([90], [(20, "unconfirmed")]),
        ([110, 110], [(20, "confirmed")]),
        ([110, 100], [(20, "withdrawn")]),
        ([110, 90], [(20, "withdrawn")]),
        ([110, 100, 100, 100], [(20, "withdrawn")]),
        ([110, 110, 110], []),  # a change point
        ([110, *[100] * 8], []),  # long ago
        ([101], []),
    ],
)
def test_a_point_off_its_level_is_said_at_once_and_those_after_it_confirm_or_withdraw(after, said):
    assert found(noisy([100] * 20 + after)) == said


def test_the_interval_is_of_the_point_over_the_level_before_it():
    values = noisy([100] * 20 + [110])
    [one] = find_departures(values)
    assert one.ratio == pytest.approx(values[20] / np.median(values[:20]))
    assert 1 < one.interval[0] < 1.1 < one.interval[1]
    assert one.before == list(range(20))


@pytest.mark.parametrize(
    "noise",
    [
        lambda random, n: 1 + 0.01 * random.normal(size=n),
        lambda random, n: np.where(random.random(n) < 0.3, 1.25, 1) * (1 + 0.03 * random.normal(size=n)),
        lambda random, n: np.exp(0.01 * random.standard_t(3, size=n)),
    ],
    ids=["gaussian", "modes", "tails"],
)
def test_of_points_at_their_level_few_are_said_to_be_off_it(noise):
    """One of a hundred is promised, also where noise is no bell: more than 11 of 450 are rare."""
    random = np.random.default_rng(0)
    series = [noise(random, n) for n in (8, 12, 30) for _ in range(150)]
    assert sum(any(one.index == len(row) - 1 for one in find_departures(row)) for row in series) <= 11


def test_noise_is_never_taken_for_less_than_replicates_show_nor_the_commits_own_for_less_than_it_has():
    values = [100.0, 100.1, 99.9, 100.0] * 3 + [102.0]
    assert found(values) == [(12, "unconfirmed")]
    assert found(values, spreads=[1.0] * 12 + [0.1]) == found(values, spreads=[0.1] * 12 + [2.0]) == []


def test_a_departure_that_the_history_has_seen_the_like_of_is_noise():
    values = noisy([100.0] * 20 + [110])
    values[5] *= 1.12
    assert found(values) == []


def test_after_a_change_point_the_new_level_counts_with_the_noise_of_both():
    levels = [100.0] * 20 + [120.0] * 6
    assert found(noisy([*levels, 120.0])) == []
    assert found(noisy([*levels, 132.0])) == [(26, "unconfirmed")]


def test_a_point_is_judged_by_the_level_of_its_machine():
    levels, machines = [100.0, 130.0] * 10, ["a", "b"] * 10
    assert found(noisy([*levels, 100.0]), groups=[*machines, "a"]) == []
    assert found(noisy([*levels, 110.0]), groups=[*machines, "a"]) == [(20, "unconfirmed")]
    assert found(noisy([*levels, 110.0, 143.0]), groups=[*machines, "a", "b"]) == [(20, "confirmed")]
    assert found(noisy([*levels, 110.0]), groups=[*machines, "c"]) == []


def young(levels, count=4, noise=lambda random, shape: 0.01 * random.normal(size=shape), seed=0):
    """Values of so many replicates each, with their standard errors, as what `find_departures` takes."""
    logs = np.log(levels)[:, None] + noise(np.random.default_rng(seed), (len(levels), count))
    values = np.exp(logs.mean(axis=1))
    return values, values * logs.std(axis=1, ddof=1) / np.sqrt(count), None, (), [count] * len(levels)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([1.1], [(3, "unconfirmed")]),
        ([0.9], [(3, "unconfirmed")]),
        ([1.1, 1.1], [(3, "confirmed")]),
        ([1.1, 1.0], [(3, "withdrawn")]),
        ([1.005], []),
        ([1.1, 1.0, 1.0, 1.1], [(3, "withdrawn"), (6, "unconfirmed")]),  # what came back is no noise
    ],
)
def test_a_young_series_is_judged_by_its_replicates(after, said):
    levels = [1.0, 1.0, 1.0, *after]
    assert [(one.index, one.state) for one in find_departures(*young(levels))] == said
    assert find_departures(*young(levels, count=3)) == []


def test_a_second_commit_is_held_against_the_first_and_one_replicate_says_nothing_of_others():
    values, spreads, _groups, _shifts, replicates = young([1.0, 1.1])
    [one] = find_departures(values, spreads, replicates=replicates)
    assert (one.index, one.before) == (1, [0])
    assert one.interval[0] < values[1] / values[0] < one.interval[1]
    assert find_departures(values, spreads) == []
    assert find_departures(values, spreads, ["a", "b"], replicates=replicates) == []


@pytest.mark.parametrize(
    ("levels", "step", "named"),
    [
        # as far apart as their replicates make them
        ((0.0, 0.010, -0.008), 0.034, True),
        ((0.0, 0.010, -0.008), 0.020, False),
        # farther: 3.6 times their greatest departure counts, too
        ((0.0, 0.030, -0.024), 0.100, False),
        ((0.0, 0.030, -0.024), 0.120, True),
    ],
)
def test_few_commits_bound_what_is_noise_where_they_differ_by_more_than_their_replicates(levels, step, named):
    logs = np.array([*levels, step])[:, None] + 0.01 * np.array([-1.5, -0.5, 0.5, 1.5])
    values = np.exp(logs.mean(axis=1))
    spreads = values * logs.std(axis=1, ddof=1) / 2
    found = find_departures(values, spreads, replicates=[4] * 4)
    assert [(one.index, one.state) for one in found] == [(3, "unconfirmed")] * named


def test_after_an_early_change_point_a_young_level_is_its_own():
    values, spreads, _groups, _shifts, replicates = young([1.0] * 3 + [1.2] * 3 + [1.4, 1.2, 1.2], seed=1)
    shifts = find_shifts(values, spreads)
    assert [one.index for one in shifts] == [3]
    [one] = find_departures(values, spreads, None, shifts, replicates)
    assert (one.index, one.before) == (6, [3, 4, 5])


@pytest.mark.parametrize(
    "noise",
    [
        lambda random, shape: 0.01 * random.normal(size=shape),
        lambda random, shape: (
            np.where(random.random(shape) < 0.3, 0.223, 0) + 0.03 * random.normal(size=shape)
        ),
        lambda random, shape: 0.01 * random.standard_t(3, size=shape),
    ],
    ids=["gaussian", "modes", "tails"],
)
def test_of_young_series_without_a_step_few_are_said_to_have_one(noise):
    """One of a hundred is promised; with more than 9 of 500 it is not kept."""
    series = [young([1.0] * n, noise=noise, seed=100 * n + at) for n in (2, 3, 4, 5, 7) for at in range(100)]
    assert sum(any(one.index == len(row[0]) - 1 for one in find_departures(*row)) for row in series) <= 9


def test_a_count_that_was_always_the_same_departs_by_one():
    assert found([2048.0] * 10 + [2049.0]) == [(10, "unconfirmed")]
    assert found([2048.0] * 6 + [2049.0]) == []
