"""Gates of 0.5B on four GPUs: what it brings to correct for slower cores, as docs/gpu-runs.md says it."""

from statistics import fmean, stdev

import pytest

from studies.gate_errors import RESULTS
from studies.kept_gates import LONGER, SMALL, log_ratios

_SAME, WORKER, DRIVER = SMALL
WORKER_20, DRIVER_20 = LONGER
BATCHES = (1, 64, 256)


@pytest.mark.parametrize(
    ("file", "batch", "corrected", "change", "spread"),
    [
        (WORKER, 1, True, 5.5, 3.6), (WORKER, 64, True, 3.4, 4.6), (WORKER, 256, True, 1.5, 4.4),
        (WORKER, 1, False, 5.2, 6.8), (WORKER, 64, False, 2.3, 6.7), (WORKER, 256, False, 4.1, 7.4),
        (DRIVER, 1, True, 3.2, 3.1), (DRIVER, 64, True, 0.9, 4.9), (DRIVER, 256, True, 6.3, 3.0),
        (DRIVER, 1, False, 3.4, 3.5), (DRIVER, 64, False, 1.6, 6.2), (DRIVER, 256, False, 7.5, 5.2),
        (WORKER_20, 1, True, 4.1, 1.7), (WORKER_20, 64, True, 1.9, 2.2), (WORKER_20, 256, True, 0.8, 1.6),
        (WORKER_20, 1, False, 4.4, 1.9), (WORKER_20, 64, False, 1.8, 2.4), (WORKER_20, 256, False, 0.3, 3.0),
        (DRIVER_20, 1, True, 4.1, 1.8), (DRIVER_20, 64, True, 1.5, 2.5), (DRIVER_20, 256, True, 2.8, 2.0),
        (DRIVER_20, 1, False, 3.6, 1.8), (DRIVER_20, 64, False, 0.7, 3.4), (DRIVER_20, 256, False, 3.3, 2.9),
    ],
)  # fmt: skip
def test_sessions_differ_by_less_once_corrected_for_slower_cores(file, batch, corrected, change, spread):
    found = 100 * log_ratios(RESULTS / file, corrected=corrected)[:, BATCHES.index(batch)]
    assert len(found) == 12
    assert fmean(found) == pytest.approx(change, abs=0.06)
    assert stdev(found) == pytest.approx(spread, abs=0.06)
