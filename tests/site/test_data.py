"""site/data.py: what the pages are given is what results/ holds, and nothing of it is lost on the way."""

import json
from datetime import UTC, datetime

import pytest
from rollout_bench.history.detect import ChangePoint
from rollout_bench.history.results import Commit, read_results
from rollout_bench.schema.metrics import METRICS
from rollout_bench.site.change_points import change_point_data, page_name
from rollout_bench.site.columns import columns
from rollout_bench.site.data import changes, commits_of, front
from simulated import MACHINE, write_records, write_session

COMMITS = [Commit(str(number) * 40, f"change {number}", 1000 + number) for number in range(1, 9)]
PLACE = {commit: number for number, commit in enumerate(COMMITS)}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    write_records(
        tmp_path,
        COMMITS,
        batches=[8],
        slower=lambda path, batch, number: 1.5 if path == "zmq" and number >= 4 else 1.0,
        versions=lambda number: {"vllm": "0.27.0" if number >= 4 else "0.26.0"},
    )
    return tmp_path


def shown(folder, commits=COMMITS):
    results = read_results(folder, commits)
    return front(results, commits_of(results), "", NOW)


def change_point(results, **more):
    key = next(key for key in results.series() if key.path == "zmq")
    facts = {
        "key": key,
        "metric": "step_seconds",
        "before": COMMITS[:4],
        "after": COMMITS[4:],
        "first": COMMITS[4],
        "last_before": COMMITS[3],
        "ratio": 1.5,
        "interval": (1.45, 1.55),
        "confidence": 0.99,
        "worse": True,
        "reverted_by": None,
        "environment": {"vllm": ("0.26.0", "0.27.0")},
        "confirm": "gate",
        "bisect": "bisect",
    }
    return ChangePoint(**(facts | more))


def test_a_column_gives_back_the_values_to_four_digits(folder):
    results = read_results(folder, COMMITS)
    points = [point for point in results.points if point.record.path == "ray"]
    column = columns(points, PLACE, "step_seconds")
    ray = column["paths"]["ray"]
    assert ray["at"] == list(range(8))
    middles = [sorted(point.samples("step_seconds"))[3] for point in points]
    assert [middle * column["scale"] for middle in ray["middle"]] == pytest.approx(middles, rel=1e-3)
    assert all(below > 0 for below in ray["below"])
    assert (ray["samples"], ray["starts"], ray["warnings"]) == (7, 1, "one-replicate")  # all the same: once
    assert ray["from"] == [0] * 4 + [1] * 4  # the versions differ
    assert column["surroundings"][1]["environment"]["vllm"] == "0.27.0"


def test_one_sample_has_no_interval(folder):
    results = read_results(folder, COMMITS)
    column = columns(results.points, PLACE, "engine_start_seconds")
    assert column["paths"]["zmq"]["below"] is None
    case = next(case for case in shown(folder)["groups"][0]["cases"] if case["path"] == "zmq")
    assert case["metrics"]["engine_start_seconds"] == [31.0, None, None, [31.0]]


def test_samples_that_are_no_numbers_do_not_reach_the_page(folder):
    [file] = (folder / MACHINE / "records").glob(f"{COMMITS[-1].hash[:8]}*")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["metrics"]["step_seconds"] = [float("nan"), float("inf"), 1.0, 1.0]
    file.write_text("\n".join(map(json.dumps, lines)))
    results = read_results(folder, COMMITS)
    column = columns(results.points, PLACE, "step_seconds")
    [damage] = results.damaged
    assert (damage.source, damage.line) == (file, 1)
    assert column["paths"][lines[0]["path"]]["at"] == [*range(7)]
    assert column["paths"][lines[1]["path"]]["at"] == [*range(8)]


def test_the_newest_commit_is_there_in_full_with_the_answer(folder):
    [group] = shown(folder)["groups"]
    assert group["paths"] == ["sync", "vllm-mp", "vllm-ray", "zmq", "ray"]
    assert group["metrics"][8][:2] == ["step_seconds", "engine_step_seconds"]
    assert {case["at"] for case in group["cases"]} == {7}
    assert group["side_by_side"] == {8: None}
    case = group["cases"][0]
    assert len(case["metrics"]["step_seconds"][3]) == 7
    assert case["warnings"]["step_seconds"] == "one-replicate"
    assert case["warnings"]["wire_bytes"] == "not-gated one-replicate"
    assert set(" ".join(case["warnings"].values()).split()) <= set(shown(folder)["warnings"])
    assert case["source"] == f"results/{MACHINE}/records/88888888-virtualenv-py3.12-simulated.jsonl"


def test_the_history_opens_on_the_ratio_to_the_control_where_there_is_one(folder):
    for file in (folder / MACHINE / "records").iterdir():
        file.write_text(file.read_text().replace('"metrics": {', '"metrics": {"control_ratio": [1.1, 1.2], '))
    [group] = shown(folder)["groups"]
    assert group["metrics"][8][:2] == ["control_ratio", "step_seconds"]  # the pages take the first
    assert group["cases"][0]["metrics"]["control_ratio"][0] == 1.15


def test_a_dependency_that_changes_is_marked_at_its_commit(folder):
    results = read_results(folder, COMMITS)
    assert changes(results.points, PLACE) == [
        {"at": 4, "what": [{"name": "vllm", "before": "0.26.0", "after": "0.27.0"}]}
    ]


def test_records_of_other_work_under_the_same_name_are_left_out_and_counted(folder):
    [file] = (folder / MACHINE / "records").glob(f"{COMMITS[0].hash[:8]}*")
    file.write_text(file.read_text().replace('"fingerprint": "', '"fingerprint": "old-'))
    [group] = shown(folder)["groups"]
    assert group["left_out"] == {8: 5}
    column = columns(read_results(folder, COMMITS).points, PLACE, "step_seconds")
    assert column["paths"]["zmq"]["at"] == list(range(1, 8))


def test_the_pages_are_given_what_is_known_of_each_metric(folder):
    facts = shown(folder)["metrics"]
    assert facts["wire_bytes"]["exact"]
    assert facts["gpu_idle_share"] == {
        "title": "GPU idle, share of the step",
        "unit": "share",
        "better": "lower",
        "exact": False,
        "meaning": METRICS["gpu_idle_share"].meaning,
    }


@pytest.mark.parametrize(
    ("day", "commit", "opened"),
    [("2026-02-01", "a", "another"), ("2026-02-01", "a-dirty", MACHINE), ("2025-02-01", "a", MACHINE)],
)
def test_the_page_opens_on_the_newest_measurement_of_a_commit_as_it_stands(day, commit, opened, folder):
    machine = {"gpus": [{"name": "H100"}]}
    facts = {"commit": commit, "measured_at": f"{day}T00:00:00+00:00", "machine": machine}
    write_session(folder, {"vllm-mp": [1.0], "zmq": [0.5]}, machine="another", provenance=facts)
    content = shown(folder)
    assert content["groups"][content["start"]]["machine"] == opened
    assert content["machines"]["another"] == {"gpu": "H100"}
    assert content["machines_without_gpu"] == []


def test_nothing_measured_gives_an_empty_front_page(tmp_path):
    content = shown(tmp_path)
    assert (content["groups"], content["pipes"], content["records"]) == ([], [], 0)


def test_a_change_point_has_its_samples_levels_and_what_changed(folder):
    results = read_results(folder, COMMITS)
    one = change_point(results)
    groups = {(MACHINE, one.key.environment, "simulated", 1, "fixed"): "g0"}
    made = change_point_data(one, results.series("step_seconds")[one.key], PLACE, groups)
    assert (made["group"], made["first"], made["reverted"], made["up"]) == ("g0", 4, None, True)
    page = made["page"]
    assert [point["level"] for point in page["points"]] == ["before"] * 4 + ["after"] * 4
    assert all(len(point["samples"]) == 7 for point in page["points"])
    assert page["environment"] == [{"name": "vllm", "before": "0.26.0", "after": "0.27.0"}]
    assert page["gates"] == []


def test_commits_after_the_next_change_are_of_neither_level(folder):
    results = read_results(folder, COMMITS)
    one = change_point(results, before=COMMITS[1:4], after=COMMITS[4:6])
    page = change_point_data(one, results.series("step_seconds")[one.key], PLACE, {})["page"]
    assert [point["level"] for point in page["points"]] == [
        None, "before", "before", "before", "after", "after", None, None,
    ]  # fmt: skip


VERDICT = {"path": "zmq", "batch": 8, "preset": "simulated", "metric": "step_seconds", "verdict": "worse"}
GATE = {"machine": MACHINE, "base": COMMITS[2].hash, "head": COMMITS[5].hash, "verdicts": [VERDICT]}


@pytest.mark.parametrize(
    ("gate", "shown_verdicts"),
    [
        (GATE, [VERDICT]),
        (GATE | {"base": COMMITS[3].hash, "head": COMMITS[4].hash}, [VERDICT]),
        (GATE | {"verdicts": []}, [None]),
        (GATE | {"machine": "another"}, []),
        (GATE | {"base": COMMITS[4].hash}, []),
        (GATE | {"head": COMMITS[3].hash}, []),
        (GATE | {"head": "never measured"}, []),
        ({}, []),
    ],
)
def test_a_gate_run_is_shown_where_it_has_the_change_between_its_commits(gate, shown_verdicts, folder):
    results = read_results(folder, COMMITS)
    one = change_point(results)
    page = change_point_data(one, results.series("step_seconds")[one.key], PLACE, {}, [gate])["page"]
    assert [made["verdict"] for made in page["gates"]] == shown_verdicts


def test_a_change_points_page_has_a_plain_name_of_its_own(folder):
    results = read_results(folder, COMMITS)
    one = change_point(results)
    strange = change_point(results, key=one.key._replace(path="../<b>"))
    assert page_name(strange).startswith("55555555-.._b_-8-step_seconds-")
    assert "/" not in page_name(strange)
    assert page_name(one) != page_name(change_point(results, key=one.key._replace(machine="another")))
