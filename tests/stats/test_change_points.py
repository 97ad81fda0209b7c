"""stats/change_points.py: change points in plain numbers, up and down, and nothing where there is none."""

import warnings

import numpy as np
import pytest
from rollout_bench.stats import change_points
from rollout_bench.stats.change_points import LEAST_POINTS, find_shifts, without_outliers
from rollout_bench.stats.scan import NULL, PHIS, p_value, scan, whitened


def noisy(levels, cv=0.01, seed=0):
    """Values about the levels, Gaussian."""
    return np.asarray(levels, float) * (1 + cv * np.random.default_rng(seed).normal(size=len(levels)))


def places(values, **more):
    return [shift.index for shift in find_shifts(values, **more)]


def test_a_step_is_found_where_it_is_with_its_size_and_what_makes_the_levels():
    [shift] = find_shifts(noisy([100] * 20 + [105] * 15))
    assert shift.index == 20
    assert list(shift.before) == list(range(20))
    assert list(shift.after) == list(range(20, 35))
    assert shift.interval[0] < 1.05 < shift.interval[1]
    assert 1.03 < shift.interval[0] < shift.ratio < shift.interval[1] < 1.07
    assert shift.confidence > 0.999


def test_the_ratio_is_that_of_the_medians():
    values = noisy([100] * 12 + [110] * 9)
    [shift] = find_shifts(values)
    assert shift.ratio == pytest.approx(np.median(values[12:]) / np.median(values[:12]))


def test_a_metric_that_repeats_exactly_shows_the_smallest_step():
    assert places([2048.0] * 10 + [2049.0] * 3) == [10]
    assert places([2048.0] * 13) == []


def test_steps_up_and_down_are_found_and_so_is_a_change_that_was_taken_back():
    assert places(noisy([100] * 20 + [106] * 15 + [100] * 15 + [90] * 14)) == [20, 35, 50]
    assert places(noisy([100] * 25 + [104] * 10 + [100] * 25)) == [25, 35]


def test_a_long_history_is_read_whole():
    assert places(noisy([100] * 90 + [95] * 80 + [100] * 60)) == [90, 170]


def test_a_level_that_drifts_later_does_not_change_the_size_of_the_step():
    rise = np.linspace(95, 104, 100)
    [shift, *_later] = find_shifts(noisy([100] * 40 + [95] * 32 + list(rise)))
    assert shift.index == 40
    assert shift.ratio == pytest.approx(0.95, abs=0.01)


def test_one_and_two_outliers_are_no_level_and_leave_the_step_where_it_is():
    levels = [100.0] * 15 + [105.0] * 15
    for outliers in ([7], [7, 8], [14], [16], [29], [28, 29], [0], [0, 1]):
        values = noisy(levels)
        values[outliers] *= 1.3
        [shift] = find_shifts(values)
        assert shift.index == 15
        assert not {*shift.before, *shift.after} & {*outliers}
    values = noisy([100.0] * 30)
    values[[10, 11]] *= 1.3
    assert find_shifts(values) == []


def test_outliers_go_one_after_the_other():
    values = np.log(noisy([100.0] * 20))
    values[[5, 6, 19]] += 0.3
    assert set(range(20)) - set(without_outliers(values, 0.0)) == {5, 6, 19}


def test_scaling_changes_nothing():
    values = noisy([100] * 20 + [107] * 10 + [101] * 10)
    found, scaled = find_shifts(values), find_shifts(values * 1e-6)
    assert [shift.index for shift in scaled] == [shift.index for shift in found] == [20, 30]
    for one, other in zip(found, scaled, strict=True):
        assert other.ratio == pytest.approx(one.ratio)
        assert other.confidence == pytest.approx(one.confidence)


@pytest.mark.parametrize("seed", range(8))
def test_reversing_time_mirrors_the_steps(seed):
    values = noisy([100] * 20 + [104] * 20 + [98] * 15, seed=seed)
    found, mirrored = find_shifts(values), find_shifts(values[::-1])
    assert [len(values) - shift.index for shift in mirrored][::-1] == [shift.index for shift in found]
    assert [1 / shift.ratio for shift in mirrored][::-1] == pytest.approx([shift.ratio for shift in found])


def test_with_too_few_points_nothing_is_said():
    levels = [1.0] * (LEAST_POINTS - 4) + [2.0] * 3
    assert find_shifts(levels) == []
    assert places([1.0, *levels]) == [LEAST_POINTS - 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # whoever publishes a new history would read numpy's
        assert find_shifts([], []) == find_shifts([3.0]) == []


def test_noise_is_never_taken_for_less_than_the_samples_show():
    values = [100.0, 100.1, 99.9, 100.0, 100.1, 99.9, 100.0, 101.0, 101.1, 100.9, 101.0, 101.1, 100.9]
    assert places(values) == [7]
    assert places(values, spreads=[0.1] * 13) == [7]
    assert places(values, spreads=[1.0] * 13) == []


def test_two_machines_that_alternate_are_no_steps_and_hide_none():
    levels = [100, 103] * 15 + [105, 105 * 1.03] * 10
    machines = ["a", "b"] * 25
    [shift] = find_shifts(noisy(levels), groups=machines)
    assert shift.index == 30
    assert shift.interval[0] < 1.05 < shift.interval[1]
    assert find_shifts(noisy([100, 103] * 25), groups=machines) == []


def in_two_modes(random, shape):
    return np.where(random.random(shape) < 0.3, 1.3, 1.0) * (1 + 0.004 * random.normal(size=shape))


def with_few_values(random, shape):
    return 1 + 0.01 * np.round(random.normal(size=shape))


@pytest.mark.parametrize(("noise", "n"), [(in_two_modes, 20), (in_two_modes, 60), (with_few_values, 60)])
def test_noise_that_is_not_gaussian_is_no_change(noise, n):
    """One of a hundred series is promised; of 100 more than five are once in two thousand times."""
    series = noise(np.random.default_rng(n), (100, n))
    assert sum(bool(find_shifts(values)) for values in series) <= 5


def test_a_change_is_found_in_two_modes_as_well():
    series = in_two_modes(np.random.default_rng(1), (20, 60))
    series[:, 40:] *= 1.6
    assert sum(any(abs(at - 40) <= 3 for at in places(values)) for values in series) >= 18


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_what_has_no_ratio_is_refused(wrong):
    with pytest.raises(ValueError, match="positive and finite"):
        find_shifts([1.0] * 10 + [wrong])


def wandering(phi, count, n, seed):
    """Stationary AR(1) noise of variance 1, shape (count, n)."""
    fresh = np.random.default_rng(seed).normal(size=(count, n))
    noise = fresh.copy()
    for at in range(1, n):
        noise[:, at] = phi * noise[:, at - 1] + np.sqrt(1 - phi**2) * fresh[:, at]
    return noise


@pytest.mark.parametrize("kind", ["step", "bump"])
@pytest.mark.parametrize("n", [10, 24, 64])
def test_the_null_distribution_is_what_simulation_gives(kind, n):
    """At the worst phi 5 % and 1 % of series exceed what `p_value` says they do; elsewhere fewer."""
    for phi in (0.0, 0.7, 0.9):
        gains = scan(wandering(phi, 1500, n, seed=n), kind).gain
        for share in (0.05, 0.01):
            exceeding = np.mean([p_value(gain, n, kind) < share for gain in gains])
            assert exceeding < share + 3 * np.sqrt(share / 1500)
    assert set(NULL) == {"step", "bump"}


def test_the_scan_is_the_likelihood_ratio_of_two_regressions():
    """Against plain least squares with a column for the step, at each phi and place."""
    series = np.log(noisy([100] * 9 + [102] * 8))
    n = len(series)

    def least_squares(columns, phi):
        design = whitened(np.array(columns), phi).T
        rest = whitened(series[None], phi)[0]
        rest = rest - design @ np.linalg.lstsq(design, rest, rcond=None)[0]
        return np.log(1 - phi**2) - n * np.log(rest @ rest)

    ones = np.ones(n)
    without = max(least_squares([ones], phi) for phi in PHIS)
    gains = {
        at: max(least_squares([ones, np.arange(n) >= at], phi) for phi in PHIS) - without
        for at in range(3, n - 2)
    }
    found = scan(series[None], "step")
    assert found.gain[0] == pytest.approx(max(gains.values()))
    assert gains[found.start[0]] == max(gains.values())


def test_a_long_series_is_scanned_many_windows_at_once_with_what_each_alone_finds(monkeypatch):
    levels = np.repeat([100, 103, 99, 99, 104, 100], [150, 37, 400, 64, 33, 90])
    levels[300:306] += 6
    series = [noisy(levels, seed=seed) for seed in range(3)]
    found = [find_shifts(values) for values in series]
    assert all(found)
    monkeypatch.setattr(change_points._Series, "_quiet", lambda *_: 0)
    assert [find_shifts(values) for values in series] == found
