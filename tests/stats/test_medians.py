"""stats/medians.py: intervals of many rows at once, which are those of asv."""

import numpy as np
import pytest
from asv_runner.statistics import compute_stats
from rollout_bench.stats.medians import medians

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("count", [4, 5, 6, 7, 8, 9, 12, 31])
@pytest.mark.parametrize(
    "draw",
    [
        lambda shape: RANDOM.normal(3, 1, shape),
        lambda shape: RANDOM.integers(0, 3, shape).astype(float),  # the same again and again, or nothing else
        lambda shape: np.exp(RANDOM.normal(0, 3, shape)),
    ],
)
def test_intervals_are_those_of_asv(count, draw):
    rows = draw((60, count))
    rows[0] = rows[0, 0]
    expected = [
        (found, said["ci_99_a"], said["ci_99_b"])
        for found, said in (compute_stats([*row], 1) for row in rows)
    ]
    assert np.transpose(medians(rows)) == pytest.approx(np.array(expected), rel=1e-9, abs=1e-12)
