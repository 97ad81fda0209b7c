"""studies/newest.py: noise as the committed results have it, and the short form of what it asks."""

import numpy as np
import pytest
from rollout_bench.history.results import read_results
from rollout_bench.stats.newest import find_departures

from studies.newest import RESULTS, differences, drawn, newest, pools


def test_differences_have_the_variance_of_what_they_come_from():
    draw = np.random.default_rng(0)
    found = np.concatenate([differences(draw.normal(5, 0.1, size=3)) for _ in range(2000)])
    assert np.sqrt((found**2).mean()) == pytest.approx(0.1, rel=0.05)


def test_noise_of_the_committed_results_is_seldom_said_to_be_a_change_and_a_large_one_is():
    cases = pools(read_results(RESULTS))["ratios of sessions, qwen2.5-7b"]
    series = drawn(cases, mixed=True, series=100)
    assert np.std(np.log(series)) == pytest.approx(0.019, abs=0.002)  # 3.3 % of one replicate
    reported = [any(one.index == 29 for one in find_departures(row[:30].tolist())) for row in series]
    assert sum(reported) <= 5  # 1 % is promised
    values = series[0][:41].copy()
    assert not newest(values, None)
    values[-1] *= 1.3
    assert newest(values, None)
