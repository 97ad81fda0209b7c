"""A history of studies/planted_history.py, 7B on four H100s: its fourth commit is 4 % slower, by the GPU."""

from pathlib import Path

import pytest
from rollout_bench.history.detect import find_change_points
from rollout_bench.history.results import Commit, Point, Results
from rollout_bench.measure.control import with_ratios
from rollout_bench.measure.pool import pooled
from rollout_bench.schema.record import read_records

SESSIONS = Path(__file__).resolve().parents[2] / "results/h100-4x/exam/2026-11-27-7b-planted-history.jsonl"
COMMITS = ("cf2aeaa8", "b872309e", "c0e7f62e", "a7aaf37c", "be256cef", "7ace198f")


def history(batch):
    """A point a commit, of four engine starts, oldest first."""
    found = with_ratios(read_records(SESSIONS.read_text()))
    of = {name: [one for one in found if one.provenance["side"] == name] for name in COMMITS}
    records = [pooled([one for one in of[name] if one.workload["batch"] == batch]) for name in COMMITS]
    assert [len(one.metrics["control_ratio"]) for one in records] == [4] * len(COMMITS)
    return [
        Point("h100-4x", "py3.12", Commit(record.provenance["commit"], name, time), record, Path("x.jsonl"))
        for time, (name, record) in enumerate(zip(COMMITS, records, strict=True))
    ]


def changes(points):
    return find_change_points(Results(points=points), metrics=["control_ratio"])


@pytest.mark.parametrize("batch", [1, 64, 256])
def test_the_slower_commit_is_named_at_once_and_no_other(batch):
    points = history(batch)
    said = [
        [(one.first.subject, one.worse, one.state) for one in changes(points[:known])]
        for known in range(1, 7)
    ]
    slower = [[("a7aaf37c", True, state)] for state in ("unconfirmed", "withdrawn", "withdrawn")]
    assert said == [[], [], [], *slower]


@pytest.mark.parametrize("batch", [1, 64])
def test_of_few_commits_engine_starts_make_a_part_firm(batch):
    [found] = changes(history(batch)[:4])
    parts = {part.name: part for part in found.parts}
    assert parts["GPU"].verdict == "worse"
    assert 0.035 < parts["GPU"].change < 0.055
    assert parts["pipe"].verdict == "same"
