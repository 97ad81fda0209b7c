"""A gate of 0.5B on four H100s: what it brings to correct for slower cores, as docs/gpu-runs.md says it."""

import math
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev

import pytest
from rollout_bench.schema.record import read_records
from rollout_bench.stats.rounds import hodges_lehmann, slowed

RECORDS = Path(__file__).resolve().parents[2] / "results/h100-4x/exam/2026-11-27-0.5b-worker-150-us.jsonl"


def log_ratios(batch, *, corrected):
    """Of head to base in each session, in per cent."""
    sessions = defaultdict(dict)
    for one in read_records(RECORDS.read_text()):
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
    ("batch", "corrected", "change", "spread"),
    [
        (1, True, 5.5, 3.6), (64, True, 3.4, 4.6), (256, True, 1.5, 4.4),
        (1, False, 5.2, 6.8), (64, False, 2.3, 6.7), (256, False, 4.1, 7.4),
    ],
)  # fmt: skip
def test_sessions_differ_by_less_once_corrected_for_slower_cores(batch, corrected, change, spread):
    found = log_ratios(batch, corrected=corrected)
    assert len(found) == 12
    assert fmean(found) == pytest.approx(change, abs=0.06)
    assert stdev(found) == pytest.approx(spread, abs=0.06)
