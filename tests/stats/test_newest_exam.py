"""studies/newest.py: noise as the committed results have it, and the short form of what it asks."""

import numpy as np
import pytest
from rollout_bench.history.results import read_results
from rollout_bench.measure.control import with_ratios
from rollout_bench.schema.record import read_records
from rollout_bench.stats.newest import find_departures

from studies.newest import RESULTS, differences, drawn, newest, pools

PLANTED = ("cf2aeaa8", "b872309e", "c0e7f62e", "a7aaf37c", "be256cef", "7ace198f")
"""The builds of the history, oldest first."""


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


@pytest.mark.parametrize("batch", [1, 64, 256])
def test_a_slower_commit_of_7b_on_four_cards_is_named_at_once_and_no_other(batch):
    """A history of studies/planted_history.py, measured on an H100: its fourth commit takes 4 % longer."""
    sessions = RESULTS / "h100-4x" / "exam" / "2026-11-27-7b-planted-history.jsonl"
    found: dict[str, list[float]] = {side: [] for side in PLANTED}
    for one in with_ratios(read_records(sessions.read_text())):
        if one.workload["batch"] == batch:
            found[one.provenance["side"]] += one.metrics["control_ratio"]
    values = [float(np.median(ratios)) for ratios in found.values()]
    spreads = [float(np.std(ratios, ddof=1) / np.sqrt(len(ratios))) for ratios in found.values()]
    counts = [*map(len, found.values())]
    assert counts == [4] * 6
    said = [
        [(one.index, one.state) for one in find_departures(values[:n], spreads[:n], replicates=counts[:n])]
        for n in range(1, 7)
    ]
    assert said == [[], [], [], [(3, "unconfirmed")], [(3, "withdrawn")], [(3, "withdrawn")]]
