"""Gates of 0.5B on four H100s: what it brings to correct for slower cores, as docs/gpu-runs.md says it."""

from statistics import fmean, stdev

import pytest

from studies.kept_gates import EXAM, log_ratios

WORKER, DRIVER = "2026-11-27-0.5b-worker-150-us.jsonl", "2026-11-27-0.5b-driver-500-us.jsonl"
BATCHES = (1, 64, 256)


@pytest.mark.parametrize(
    ("file", "batch", "corrected", "change", "spread"),
    [
        (WORKER, 1, True, 5.5, 3.6), (WORKER, 64, True, 3.4, 4.6), (WORKER, 256, True, 1.5, 4.4),
        (WORKER, 1, False, 5.2, 6.8), (WORKER, 64, False, 2.3, 6.7), (WORKER, 256, False, 4.1, 7.4),
        (DRIVER, 1, True, 3.2, 3.1), (DRIVER, 64, True, 0.9, 4.9), (DRIVER, 256, True, 6.3, 3.0),
        (DRIVER, 1, False, 3.4, 3.5), (DRIVER, 64, False, 1.6, 6.2), (DRIVER, 256, False, 7.5, 5.2),
    ],
)  # fmt: skip
def test_sessions_differ_by_less_once_corrected_for_slower_cores(file, batch, corrected, change, spread):
    found = 100 * log_ratios(EXAM / file, corrected=corrected)[:, BATCHES.index(batch)]
    assert len(found) == 12
    assert fmean(found) == pytest.approx(change, abs=0.06)
    assert stdev(found) == pytest.approx(spread, abs=0.06)
