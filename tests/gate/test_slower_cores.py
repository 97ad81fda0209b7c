"""Gates of 0.5B on four H100s: what it brings to correct for slower cores, as docs/gpu-runs.md says it."""

import math
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev

import pytest
from rollout_bench.schema.record import read_records
from rollout_bench.stats.rounds import hodges_lehmann, slowed

EXAM = Path(__file__).resolve().parents[2] / "results/h100-4x/exam"
WORKER, DRIVER = "2026-11-27-0.5b-worker-150-us.jsonl", "2026-11-27-0.5b-driver-500-us.jsonl"


def log_ratios(file, batch, *, corrected):
    """Of head to base in each session, in per cent."""
    sessions = defaultdict(dict)
    for one in read_records((EXAM / file).read_text()):
        if one.workload["batch"] == batch:
            sessions[one.provenance["session"]][one.provenance["side"]] = one
    found = []
    for builds in sessions.values():
        seconds = {side: one.metrics["step_seconds"] for side, one in builds.items()}
        slowness = {side: one.observed["host"]["rounds"]["slowness"] for side, one in builds.items()}
        longer = slowed(seconds, slowness) if corrected else dict.fromkeys(seconds, [1.0] * 10)
        base, head = (
            [second / by for second, by in zip(seconds[side], longer[side], strict=True)]
            for side in ("base", "head")
        )
        found.append(100 * hodges_lehmann([math.log(h / b) for b, h in zip(base, head, strict=True)]))
    return found


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
    found = log_ratios(file, batch, corrected=corrected)
    assert len(found) == 12
    assert fmean(found) == pytest.approx(change, abs=0.06)
    assert stdev(found) == pytest.approx(spread, abs=0.06)
