"""Histories of studies/planted_history.py, measured on four H100s: slower commits are named, and no others.

Of 7B the fourth is 4 % slower, by the GPU. Of 0.5B the fourth has a worker that computes 150 us longer, which
batch 1 shows most, and the sixth a driver that does so for 300 us, which async scheduling hides.
"""

import statistics
from functools import cache
from pathlib import Path

import pytest
from rollout_bench.history.detect import find_change_points
from rollout_bench.history.results import Commit, Point, Results
from rollout_bench.measure.control import with_ratios
from rollout_bench.measure.pool import pooled

from studies.history import read, show

EXAM = Path(__file__).resolve().parents[2] / "results/h100-4x/exam"
COMMITS = {
    "7b": ("cf2aeaa8", "b872309e", "c0e7f62e", "a7aaf37c", "be256cef", "7ace198f"),
    "0.5b": ("1cbce4db", "688b8412", "8096c09e", "4e3bedf4", "ff989f23", "eebc7a52", "0d68d440"),
}


@cache
def sessions(size):
    return with_ratios(read(EXAM / f"2026-11-27-{size}-planted-history.jsonl"))


def history(size, batch):
    """A point a commit, of four engine starts, oldest first."""
    of = {name: [one for one in sessions(size) if one.provenance["side"] == name] for name in COMMITS[size]}
    records = [pooled([one for one in its if one.workload["batch"] == batch]) for its in of.values()]
    assert [len(one.metrics["control_ratio"]) for one in records] == [4] * len(of)
    return [
        Point("h100-4x", "py3.12", Commit(record.provenance["commit"], name, time), record, Path("x.jsonl"))
        for time, (name, record) in enumerate(zip(of, records, strict=True))
    ]


def changes(points):
    return find_change_points(Results(points=points), metrics=["control_ratio"])


def said(points):
    """What is said once each of the commits is the newest."""
    known = range(1, len(points) + 1)
    return [
        [(one.first.subject, one.worse, one.state) for one in changes(points[:number])] for number in known
    ]


@pytest.mark.parametrize("batch", [1, 64, 256])
def test_the_slower_commit_is_named_at_once_and_no_other(batch):
    slower = [[("a7aaf37c", True, state)] for state in ("unconfirmed", "withdrawn", "withdrawn")]
    assert said(history("7b", batch)) == [[], [], [], *slower]


@pytest.mark.parametrize(("batch", "named"), [(1, ["4e3bedf4"]), (64, []), (256, [])])
def test_a_slower_worker_is_named_where_it_is_what_a_step_waits_for(batch, named):
    states = ("unconfirmed", "withdrawn", "withdrawn", "withdrawn")
    slower = [[(name, True, state) for name in named] for state in states]
    assert said(history("0.5b", batch)) == [[], [], [], *slower]


@pytest.mark.parametrize("batch", [1, 64])
def test_of_few_commits_engine_starts_make_a_part_firm(batch):
    [found] = changes(history("7b", batch)[:4])
    parts = {part.name: part for part in found.parts}
    assert parts["GPU"].verdict == "worse"
    assert 0.035 < parts["GPU"].change < 0.055
    assert parts["pipe"].verdict == "same"


def test_the_part_of_a_slower_worker_is_that_it_takes_longer_to_launch():
    [found] = changes(history("0.5b", 1)[:4])
    parts = {part.name: part for part in found.parts}
    assert parts["launch"].verdict == "worse"
    assert 0.03 < parts["launch"].change < 0.1
    assert parts["pipe"].verdict == parts["scheduler"].verdict == "same"


@pytest.mark.parametrize(("size", "most"), [("7b", 0.01), ("0.5b", 0.02)])
@pytest.mark.parametrize("batch", [1, 64, 256])
def test_from_commit_to_commit_the_ratio_of_one_code_varies_little(size, most, batch):
    points = history(size, batch)
    same = [one for one in points if one.commit.subject not in ("a7aaf37c", "4e3bedf4", "eebc7a52")]
    ratios = [statistics.median(one.record.metrics["control_ratio"]) for one in same]
    assert len(ratios) == 5
    assert statistics.stdev(ratios) / statistics.fmean(ratios) < most


def test_cores_of_a_path_that_sleeps_are_slower_than_those_of_the_control(capsys):
    show(read(EXAM / "2026-11-27-0.5b-planted-history.jsonl"))
    said = [line for line in capsys.readouterr().out.splitlines() if "slower than the control" in line]
    assert said == [
        f"batch {batch}: cores {much} slower than the control's, standard error {error}"
        for batch, much, error in ((1, "8.1%", "3.1%"), (64, "3.4%", "1.3%"), (256, "2.2%", "4.3%"))
    ]
