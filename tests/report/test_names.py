"""report/names.py: a series is named by all that tells it apart, in detect, on its page and in the feed."""

from pathlib import Path

import pytest
from rollout_bench.history.detect import ChangePoint
from rollout_bench.history.findings import findings
from rollout_bench.history.results import Commit, Key, Point, Results
from rollout_bench.report.change_points import change_points_table
from rollout_bench.report.names import series_name
from rollout_bench.schema.record import Record
from rollout_bench.site.asv_regressions import write_regressions
from rollout_bench.site.change_points import change_point_data

KEY = Key("box", "env", "nano", 1, "zmq", "fixed", "0123", 8)
OTHERS = [
    {"machine": "another"}, {"environment": "env-rl"}, {"preset": "qwen2.5-7b"}, {"tensor_parallel_size": 2},
    {"workload": "grpo"}, {"path": "ray"}, {"batch": 64},
]  # fmt: skip
OLD, NEW = Commit("a" * 40), Commit("b" * 40)
LOAD = {"name": "fixed", "fingerprint": "0123", "batch": 8}
RECORD = Record("zmq", "nano", 1, LOAD, "measured", metrics={"step_seconds": [1.0]})
POINTS = [Point("box", "env", commit, RECORD, Path("x")) for commit in (OLD, NEW)]


def change_point(key):
    return ChangePoint(
        key,
        "step_seconds",
        [OLD],
        [NEW],
        NEW,
        OLD,
        1.5,
        (1.4, 1.6),
        0.999,
        True,
        None,
        {},
        "confirm",
        "bisect",
    )


@pytest.mark.parametrize("other", OTHERS)
def test_series_that_differ_in_one_thing_have_different_names(other, tmp_path):
    keys = [KEY, KEY._replace(**other)]
    assert len(set(map(series_name, keys))) == 2
    found = [change_point(key) for key in keys]
    titles = {change_point_data(one, POINTS, {OLD: 0, NEW: 1}, {})["title"] for one in found}
    assert len(titles) == 2
    index = {"project": "x", "benchmarks": {}, "revision_to_hash": {}}
    for point in found:
        [left_out] = write_regressions(tmp_path, index, findings([point], {}), Results(), "")
        assert series_name(point.key) in left_out
        assert series_name(point.key) in (tmp_path / "regressions.xml").read_text()


def test_detect_shows_all_of_every_name():
    keys = [KEY, *(KEY._replace(**other) for other in OTHERS)]
    text = change_points_table([change_point(key) for key in keys], [], Results(points=POINTS))
    for key in keys:
        heading, _, _row = series_name(key).rpartition(f", {key.path}, ")
        block = text[text.index(f"\n{heading}\n") :]
        assert any(line.split()[:2] == [key.path, str(key.batch)] for line in block.splitlines())
