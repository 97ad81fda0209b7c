"""history/detect.py and `rollout-perf detect`: exactly the change points of results/, with causes."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rollout_bench.cli import main as cli
from rollout_bench.history.detect import changes, find_change_points, judging
from rollout_bench.history.results import Commit, Point, Results, read_results
from rollout_bench.history.values import measured
from rollout_bench.measure.rl import grpo
from rollout_bench.measure.tracked import GRPO, fixed
from rollout_bench.report.change_points import change_points_table
from rollout_bench.schema.metrics import METRICS, Metric
from rollout_bench.schema.record import ABSENT, FAILED, MEASURED, Record

ROOT = Path(__file__).resolve().parents[2]
COMMITS = [Commit(f"{number:08x}" + "0" * 32, f"commit {number}", number) for number in range(200)]


def provenance(torch="2.11.0", driver="580", cpu="Xeon"):
    gpus = [{"name": "H200", "driver": driver, "memory": "1 MiB"}]
    return {"versions": {"torch": torch}, "machine": {"cpu": cpu, "cores": 16, "gpus": gpus}}


def point(number, samples, metric="step_seconds", path="zmq", machine="box", **facts):
    status = MEASURED if len(samples) else FAILED
    metrics = {metric: list(samples)} if len(samples) else {}
    record = Record(
        path,
        "nano",
        1,
        fixed("nano", [8])[0].as_dict(),
        status,
        None,
        metrics,
        provenance=provenance(**facts),
    )
    return Point(machine, "py3.11", COMMITS[number], record, Path("x.jsonl"))


def points(levels, seed=0, **more):
    """A point a commit: seven samples about the level, the commit itself 0.5 % off it."""
    random = np.random.default_rng(seed)
    return [
        point(number, level * (1 + 0.005 * random.normal()) * (1 + 0.002 * random.normal(size=7)), **more)
        for number, level in enumerate(levels)
    ]


def short_in(results):
    with judging(results) as judged:
        return judged().short


def places(all_found):
    return [(int(found.first.hash[:8], 16), found.worse) for found in all_found]


@pytest.mark.parametrize(("metric", "value"), [("step_seconds", 1.0), ("control_ratio", 4 ** (1 / 3))])
def test_a_commits_value_is_the_median_of_rounds_and_the_geometric_mean_of_engine_starts(metric, value):
    found = measured([point(0, [1.0, 1.0, 4.0], metric)], metric)
    assert found.values == [pytest.approx(value)]
    assert measured([point(0, [0.0, 1.0, 4.0], "control_ratio")], "control_ratio").values == []


def test_a_change_point_names_its_range_its_levels_and_its_commands():
    [found] = find_change_points(Results(points=points([1.0] * 12 + [1.1] * 10)), ROOT)
    assert (found.last_before, found.first) == (COMMITS[11], COMMITS[12])
    assert found.before == COMMITS[:12]
    assert (found.metric, found.key.path, found.key.machine) == ("step_seconds", "zmq", "box")
    assert found.worse
    assert found.reverted_by is None
    assert found.environment == {}
    assert found.interval[0] < 1.1 < found.interval[1]
    assert found.confidence > 0.99
    series = "--tracked nano --workload fixed --batch 8 --paths zmq --metrics step_seconds"
    assert found.confirm == f"rollout-perf gate 0000000b 0000000c {series}"
    assert found.bisect.startswith("git bisect start --no-checkout 0000000c 0000000b && git bisect run sh -c")
    assert f"rollout-perf gate 0000000b BISECT_HEAD {series}" in found.bisect


@pytest.mark.parametrize(
    ("load", "ranks", "environment", "series"),
    [
        (grpo(**GRPO["nano"]), 1, "py3.11-rl", "--tracked nano-rl --workload grpo --batch 32"),
        (fixed("nano", [8])[0], 1, "py3.11-rl", "--tracked nano-rl --workload fixed --batch 8"),
        (fixed("nano", [8])[0], 1, "py3.11", "--tracked nano --workload fixed --batch 8"),
        (fixed("nano", [9])[0], 1, "py3.11", None),
        (fixed("nano", [8])[0], 2, "py3.11", None),
        (grpo(**GRPO["nano"] | {"seed": 1}), 1, "py3.11-rl", None),
    ],
)
def test_the_commands_measure_the_series_that_changed_or_are_none(load, ranks, environment, series):
    """Whatever alerted, `fixed` of the tracked preset was measured."""
    made = [
        replace(
            one,
            environment=environment,
            record=replace(one.record, workload=load.as_dict(), tensor_parallel_size=ranks),
        )
        for one in points([1.0] * 12 + [1.1] * 10)
    ]
    [found] = find_change_points(Results(points=made), ROOT)
    shown = change_points_table([found], [], Results(points=made)).splitlines()[-2:]
    if series is None:
        assert (found.confirm, found.bisect) == (None, None)
        assert shown[-1].startswith("confirm: no command can")
    else:
        assert f"{series} --paths zmq" in found.confirm
        assert f"{series} --paths zmq" in found.bisect
        assert shown == [f"confirm: {found.confirm}", f"bisect:  {found.bisect}"]


def test_bisecting_for_an_improvement_asks_whether_the_old_commit_is_worse():
    [found] = find_change_points(Results(points=points([1.1] * 12 + [1.0] * 10)), ROOT)
    assert not found.worse
    assert "rollout-perf gate BISECT_HEAD 0000000b" in found.bisect


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
@pytest.mark.parametrize(("code", "ends"), [(0, 0), (1, 1), (2, 125), (3, 125), (130, 125), (141, 125)])
def test_bisecting_passes_over_a_commit_that_cannot_be_measured(code, ends, tmp_path):
    [found] = find_change_points(Results(points=points([1.0] * 12 + [1.1] * 10)), ROOT)
    command = found.bisect.partition("git bisect run ")[2]
    gate = tmp_path / "rollout-perf"
    gate.write_text(f"#!/bin/sh\nexit {code}\n")
    gate.chmod(0o755)
    done = subprocess.run(command, shell=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert done.returncode == ends


@pytest.mark.parametrize("name", ["zmq; touch owned", "$(touch owned)", "'; touch owned; '", "`touch owned`"])
def test_a_name_in_the_commands_is_a_word_and_no_command(name, tmp_path):
    """They are copied into a shell, and names come from results/."""
    [found] = find_change_points(
        Results(points=points([1.0] * 12 + [1.1] * 10, path=name, metric=name)), ROOT
    )
    stub = tmp_path / "rollout-perf"
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > asked\n')
    stub.chmod(0o755)
    for line in (found.confirm, found.bisect.partition("git bisect run ")[2]):
        subprocess.run(["sh", "-c", f"PATH={tmp_path}:$PATH; {line}"], cwd=tmp_path, check=True)
        assert (tmp_path / "asked").read_text().splitlines()[-4:] == ["--paths", name, "--metrics", name]
    assert not (tmp_path / "owned").exists()


def test_an_outlier_before_the_change_widens_the_range():
    levels = [1.0] * 12 + [1.1] * 10
    levels[11] = 1.4
    [found] = find_change_points(Results(points=points(levels)))
    assert (found.last_before, found.first) == (COMMITS[10], COMMITS[12])
    assert COMMITS[11] not in found.before


def test_a_change_that_is_reverted_stays_listed_with_the_commit_that_reverted_it():
    worse, better = find_change_points(Results(points=points([1.0] * 12 + [1.1] * 10 + [1.0] * 10)))
    assert (worse.worse, worse.reverted_by) == (True, COMMITS[22])
    assert (better.worse, better.reverted_by) == (False, None)


@pytest.mark.parametrize(
    ("after", "state", "slower"),
    [([1.1], "unconfirmed", False), ([1.1, 1.1], "confirmed", True), ([1.1, 1.0], "withdrawn", False)],
)
def test_a_change_is_reported_at_its_commit_and_counts_once_another_confirms_it(after, state, slower):
    results = Results(points=points([1.0] * 20 + after))
    [found] = find_change_points(results, ROOT)
    assert (found.first, found.state, found.slower_still) == (COMMITS[20], state, slower)
    assert found.confirm.startswith("rollout-perf gate 00000013 00000014 ")
    assert f"worse, {state}" in change_points_table([found], [], results)


def test_what_replicates_of_a_commit_differ_by_is_noise_too():
    """Each of two records is steady within itself: the samples alone would make it a change."""
    steady = [points([1.0] * 20 + [1.2], seed=seed) for seed in (0, 1)]
    assert len(find_change_points(Results(points=steady[0]))) == 1
    other = points([1.0] * 20 + [1.0], seed=1)
    assert find_change_points(Results(points=[*steady[0], other[20]])) == []


def test_a_change_that_is_reverted_in_part_is_not_reverted():
    worse, better = find_change_points(Results(points=points([1.0] * 12 + [1.1] * 10 + [1.05] * 10)))
    assert (worse.reverted_by, better.worse) == (None, False)


def test_where_higher_is_better_down_is_worse(monkeypatch):
    results = Results(points=points([100.0] * 12 + [90.0] * 10, metric="tokens"))
    assert [found.worse for found in find_change_points(results)] == [False]
    monkeypatch.setitem(METRICS, "tokens", Metric("", "tokens/s", "", better="higher"))
    assert [found.worse for found in find_change_points(results)] == [True]


def test_what_changed_in_the_environment_is_named():
    before = point(0, [1.0])
    after = point(1, [1.0], torch="2.13.0", driver="590")
    assert changes(before, after) == {"torch": ("2.11.0", "2.13.0"), "driver": ("1 x 580", "1 x 590")}
    assert changes(before, point(2, [1.0], machine="box")) == {}
    after.record.provenance["versions"]["ray"] = "2.60.0"
    assert changes(before, after)["ray"] == (None, "2.60.0")


def test_what_changed_in_the_lock_comes_from_git(tmp_path):
    def git(*words):
        command = ["git", "-C", tmp_path, "-c", "user.name=t", "-c", "user.email=t@t", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    lock = tmp_path / "requirements" / "cuda.lock"
    lock.parent.mkdir()
    commits = []
    for text in ("ray==2.59.0 ; python_version > '3'\nzstd==1\n", "# bump\nray==2.60.0\n    # via x==1\n"):
        lock.write_text(text)
        git("add", ".")
        git("commit", "-q", "-m", "lock")
        commits.append(Commit(git("rev-parse", "HEAD")))
    old, new = (
        Point("box", "e", commit, point(0, [1.0]).record, Path("x")) for commit in (commits[0], commits[1])
    )
    assert changes(old, new, tmp_path) == {"lock: ray": ("2.59.0", "2.60.0"), "lock: zstd": ("1", None)}


def test_hardware_that_alternates_under_one_name_has_levels_of_its_own():
    cpus = ["Xeon", "EPYC"] * 20
    levels = [1.0, 1.2] * 12 + [1.03, 1.03 * 1.2] * 8
    made = points(levels)
    mixed = [
        point(number, one.samples("step_seconds"), cpu=cpu)
        for number, (one, cpu) in enumerate(zip(made, cpus, strict=True))
    ]
    assert places(find_change_points(Results(points=mixed))) == [(24, True)]


def test_hardware_that_changes_for_good_is_a_change_with_its_cause():
    made = points([1.0] * 15 + [1.08] * 15)
    for one in made[15:]:
        one.record.provenance["machine"]["cpu"] = "EPYC"
    [found] = find_change_points(Results(points=made))
    assert (found.first, found.environment) == (COMMITS[15], {"cpu": ("Xeon", "EPYC")})


def test_series_of_few_points_are_counted_and_not_judged():
    results = Results(
        points=[*points([1.0] * 7), *points([2.0], path="ray"), *points([1.0] * 8, path="sync")]
    )
    assert find_change_points(results) == []
    assert [(one.key.path, one.points) for one in short_in(results)] == [("zmq", 7), ("ray", 1)]


def test_values_to_which_nothing_is_a_ratio_are_left_out():
    made = points([1.0] * 12 + [1.1] * 10, metric="share")
    for number in (3, 17):
        made[number].record.metrics["share"][:] = [0.0] * 7
    made[5].record.metrics["share"][0] = float("nan")
    [found] = find_change_points(Results(points=made))
    assert found.first == COMMITS[12]


def test_a_series_without_a_value_to_judge_has_0_points():
    results = Results(points=points([0.0] * 3, metric="share"))
    said = change_points_table([], short_in(results), results)
    assert said.endswith("8 points, or 4 ratios to the control at each: 1 series with 0 points")


@pytest.mark.parametrize(("replicates", "found"), [(4, [(COMMITS[3], "unconfirmed")]), (3, [])])
def test_ratios_to_the_control_of_enough_engine_starts_are_judged_from_the_second_commit_on(
    replicates, found
):
    levels = [1.0, 1.001, 0.999, 1.05]
    near = np.linspace(0.999, 1.001, replicates)
    made = [point(number, level * near, metric="control_ratio") for number, level in enumerate(levels)]
    results = Results(points=made)
    assert [(one.first, one.state) for one in find_change_points(results)] == found
    assert [one.points for one in short_in(results)] == ([] if found else [4])
    again = [point(number, level * near) for number, level in enumerate(levels)]  # of rounds, not of starts
    assert find_change_points(Results(points=again)) == []


def test_a_commit_that_was_measured_again_is_one_point():
    made = points([1.0] * 7)
    results = Results(points=[one for one in made for _ in range(3)])
    assert [one.points for one in short_in(results)] == [7]


def test_a_history_of_slowdowns_recoveries_a_bump_and_breaks_is_named_exactly():
    """3, 10 and 30 % slower, faster, nothing, a new lock, broken commits: each where it is, and no other."""
    events = [(15, 1.03), (30, 1.10), (45, 1.30), (60, 1 / 1.30), (75, 1 / 1.10), (105, 1.05), (120, 0.9)]
    levels = np.ones(135)
    for at, ratio in events:
        levels[at:] *= ratio
    made = points(levels, seed=3)
    for number in range(105, 135):
        made[number].record.provenance["versions"]["torch"] = "2.13.0"
    for number in (7, 44, 90):
        made[number] = point(number, [])
    steady = points([2.0] * 135, seed=4, path="ray")
    all_found = find_change_points(Results(points=[*made, *steady]))
    assert places(all_found) == [(at, ratio > 1) for at, ratio in events]
    assert {found.key.path for found in all_found} == {"zmq"}
    assert all_found[2].last_before == COMMITS[43]
    assert [found.environment for found in all_found if found.environment] == [
        {"torch": ("2.11.0", "2.13.0")}
    ]
    assert [found.first for found in all_found if found.worse and found.reverted_by is None] == []
    for found, (_at, ratio) in zip(all_found, events, strict=True):
        assert found.interval[0] < ratio < found.interval[1]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout without git whose results/ are a machine's; asv's dates give the order."""
    (tmp_path / "benchmarks").mkdir()
    for name in ("asv.conf.json", "tracked.toml"):
        shutil.copy(ROOT / name, tmp_path)

    def fill(levels, machine="box"):
        folder = tmp_path / "results" / machine
        (folder / "records").mkdir(parents=True)
        for one in points(levels):
            commit = one.commit
            one.record.provenance["commit"] = commit.hash
            absent = Record("vllm-ray", "nano", 1, fixed("nano", [8])[0].as_dict(), ABSENT, "no Ray")
            lines = [one.record.to_json(), absent.to_json()]
            name = f"{commit.hash[:8]}-py3.11"
            (folder / "records" / f"{name}-nano.jsonl").write_text("\n".join(lines))
            content = {"commit_hash": commit.hash, "date": commit.time * 1000 + 1000}
            (folder / f"{name}.json").write_text(json.dumps(content))
        return read_results(tmp_path / "results")

    monkeypatch.chdir(tmp_path)
    return fill


def test_the_command_shows_the_change_points_and_says_whether_something_is_slower_still(checkout, capsys):
    checkout([1.0] * 12 + [1.1] * 10)
    assert cli.main(["detect"]) == 1
    text = capsys.readouterr().out.splitlines()
    assert text[0].endswith("only a gate measures the two commits side by side")
    text = text[2:]
    assert text[:2] == ["after 0000000b", "up to 0000000c"]
    assert text[2] == "box, py3.11, nano, workload fixed"
    assert text[4].split()[:3] == ["zmq", "8", "step_seconds"]
    assert text[4].endswith("worse")
    assert text[5] == "changed between them: nothing that the records or the locks say"
    assert text[6].startswith("confirm: rollout-perf gate 0000000b 0000000c")
    assert text[7].startswith("bisect:  git bisect start")
    assert cli.main(["detect", "--json"]) == 1
    [found] = json.loads(capsys.readouterr().out)["change_points"]
    assert found["key"]["path"] == "zmq"
    assert found["first"]["hash"] == COMMITS[12].hash
    assert cli.main(["triage", "0000000b..0000000c", "--expected"]) == 0
    assert cli.main(["detect"]) == 0


@pytest.mark.parametrize("levels", [[1.0] * 22, [1.1] * 12 + [1.0] * 10, [1.0] * 9 + [1.1] * 9 + [1.0] * 9])
def test_nothing_slower_a_gain_and_what_was_reverted_leave_exit_code_0(checkout, levels, capsys):
    checkout(levels)
    assert cli.main(["detect"]) == 0


def test_one_commit_is_said_to_be_too_few(checkout, capsys):
    checkout([1.0])
    assert cli.main(["detect"]) == 0
    out = capsys.readouterr().out
    assert "no change point was found" in out
    assert "a verdict takes 8 points, or 4 ratios to the control at each: 1 series with 1 point\n" in out
    assert cli.main(["detect", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["short"] == {"1": 1}


def test_damage_is_named_and_the_rest_is_judged(checkout, capsys, tmp_path):
    checkout([1.0] * 12 + [1.1] * 10)
    (tmp_path / "results" / "box" / "records" / "00000003-py3.11-nano.jsonl").write_text("{")
    assert cli.main(["detect", "--json"]) == 1
    out, err = capsys.readouterr()
    assert "00000003-py3.11-nano.jsonl:1: not JSON" in err
    assert len(json.loads(out)["damaged"]) == 1


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["--machine", "h100"], "no results of the machine 'h100'; known: box, other"),
        (["--metric", "speed"], "no results of the metric 'speed'; known: control_ratio, step_seconds, "),
    ],
)
def test_a_bad_request_is_one_line(checkout, arguments, reported, capsys):
    checkout([1.0] * 3)
    checkout([1.0] * 3, "other")
    assert cli.main(["detect", *arguments]) == 2
    assert reported in capsys.readouterr().err


def test_whatever_differs_in_an_exact_metric_is_a_change_at_its_commit_however_new():
    """As h100-1x has it: deltas came, shrank, and went again two commits before the newest."""

    def counted(counts, totals):
        made = [point(number, [count], "wire_bytes") for number, count in enumerate(counts)]
        return [replace(one, record=replace(one.record, observed={"counted": totals})) for one in made]

    exact = {"wire_bytes": 1}
    series = counted([1140, 1140, 1140, 327, 171, 172, 1140, 1140], exact)
    found = find_change_points(Results(points=series))
    assert places(found) == [(3, False), (4, False), (5, True), (6, True)]
    assert [one.reverted_by == COMMITS[6] for one in found] == [True, True, False, False]
    assert {one.interval for one in found} == {None}
    assert found[-1].ratio == 1140 / 172
    assert [found[-2].before, found[-2].after] == [[COMMITS[4]], [COMMITS[5]]]
    assert {one.state for one in found} == {"lasting"}
    assert not find_change_points(Results(points=counted([7] * 3, exact)))
    assert not find_change_points(Results(points=counted([7, 7, 8], {})))  # of before starts were gated
    assert not short_in(Results(points=series[:2]))


def test_only_the_machines_and_metrics_that_were_asked_for_are_judged(checkout, capsys):
    checkout([1.0] * 12 + [1.1] * 10)
    checkout([1.0] * 22, "steady")
    assert cli.main(["detect", "--machine", "steady"]) == 0
    assert cli.main(["detect", "--machine", "box", "--metric", "wire_bytes"]) == 0
    assert cli.main(["detect", "--machine", "box", "--metric", "step_seconds"]) == 1


@pytest.mark.parametrize("command", ["detect", "scorecard", "compare"])
def test_what_is_not_installed_is_named(command):
    """A GPU host may lack it, and `measure` does not need it; before `compare` measures for hours."""
    hidden = (
        "import sys; sys.modules['scipy'] = None; from rollout_bench.cli.main import main; sys.exit(main())"
    )
    for words, code, says in (([command], 2, "scipy is not installed here"), (["measure", "--help"], 0, "")):
        done = subprocess.run([sys.executable, "-c", hidden, *words], capture_output=True, text=True)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr
