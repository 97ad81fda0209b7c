"""`rollout-perf report`: the site's answer as text and as Markdown, and bad requests in one line."""

import json
from dataclasses import replace

import pytest
from rollout_bench.cli import main as cli
from rollout_bench.history.results import read_results
from rollout_bench.report.commits import report
from simulated import MACHINE, write_asv, write_records, write_repository, write_session


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout of three commits, the last of which has a slower ray."""
    folder = tmp_path_factory.mktemp("checkout")
    commits = write_repository(folder, 3)
    (folder / "asv.conf.json").write_text("{}")
    (folder / "benchmarks").mkdir(parents=True)
    write_records(
        folder / "results",
        commits,
        batches=[8],
        slower=lambda path, batch, number: 2.0 if path == "ray" and number == 2 else 1.0,
    )
    write_asv(folder / "results", commits, 3)
    return folder, commits


@pytest.fixture
def here(checkout, monkeypatch):
    monkeypatch.chdir(checkout[0])
    return [commit.hash for commit in checkout[1]]


def test_as_json_it_has_the_same_cases_in_base_units(here, capsys):
    assert cli.main(["report", "HEAD~1", "HEAD", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    old, new = ([case["paths"] for case in one["cases"]] for one in found["commits"])
    assert [one["commit"] for one in found["commits"]] == here[1:]
    assert new[0]["ray"]["value"] / old[0]["ray"]["value"] == pytest.approx(2, rel=0.05)
    low, high = new[0]["zmq"]["interval"]
    assert low < new[0]["zmq"]["value"] < high


def test_it_names_every_path_in_a_terminals_width(here, capsys):
    assert cli.main(["report", "newest"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"commit {here[2][:8]} change 2")
    assert "batch 8: no clear winner" in out
    assert "ray       " in out
    assert max(map(len, out.splitlines())) <= 100


def test_two_commits_that_were_measured_apart_are_not_judged(here, capsys):
    """Ray takes twice as long in the second one's only start: that may be the start."""
    assert cli.main(["report", here[0], "HEAD"]) == 0
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if line.split()[:1] == ["8"]]
    assert len(rows) == 5
    assert all(line.endswith("  not judged") for line in rows)
    assert f"`rollout-perf gate {here[0][:8]} {here[2][:8]}`" in " ".join(out.split())


def test_where_a_control_was_measured_the_ratio_to_it_is_what_changed(here, checkout):
    """The host took twice as long at the last commit, for the control as well."""
    folder, commits = checkout
    results = read_results(folder / "results", commits)
    control = {"commit": "c" * 40, "lock": "l"}
    points = [
        replace(point, record=replace(
            point.record,
            metrics={"step_seconds": [seconds] * 4, "control_ratio": [ratio] * 4},
            observed={"control": control, "engine_starts": 4},
        ))
        for point in results.points
        for commit, seconds, ratio in ((commits[0], 1.0, 1.2), (commits[2], 2.0, 1.26))
        if (point.record.path, point.commit) == ("zmq", commit)
    ]  # fmt: skip
    text = report(replace(results, points=points), [commits[0], commits[2]])
    [row] = [line for line in text.splitlines() if line.split()[:2] == ["8", "zmq"]]
    assert "  over the control's   ratio to" in text  # its [99 %] is below
    assert "]  4           1.26 [1.26 .. 1.26]" in row  # of four replicates
    assert "  1.05 [1.05 .. 1.05]" in row


def test_counts_are_judged_by_equality(here, checkout):
    folder, commits = checkout
    results = read_results(folder / "results", commits)
    counts = {
        ("zmq", commits[0]): 2.0,
        ("zmq", commits[2]): 3.0,
        ("ray", commits[0]): 2.0,
        ("ray", commits[2]): 2.0,
    }
    points = [
        replace(point, record=replace(
            point.record,
            metrics={"wire_calls": [counts[point.record.path, point.commit]]},
            observed={"counted": {"wire_calls": 1}},
        ))
        for point in results.points if (point.record.path, point.commit) in counts
    ]  # fmt: skip
    text = report(replace(results, points=points), [commits[0], commits[2]], metric="wire_calls")
    rows = {line.split()[1]: line.split()[-1] for line in text.splitlines() if line.split()[:1] == ["8"]}
    assert rows == {"zmq": "worse", "ray": "same"}


@pytest.mark.parametrize("markdown", [False, True])
def test_paths_are_compared_by_sessions_where_there_are_some(markdown, checkout, tmp_path):
    _folder, commits = checkout
    write_records(tmp_path, commits, batches=[8])
    write_session(tmp_path, {"vllm-mp": [1.0] * 4, "zmq": [0.8, 0.82] * 2})
    text = report(read_results(tmp_path, commits), [commits[2]], markdown=markdown)
    said = "batch 8: side by side, fastest is zmq, 0.810 [0.792 .. 0.829] of vllm-mp"
    assert said in " ".join(text.split())
    [row] = [line for line in text.splitlines() if line.startswith("zmq ")]
    assert row.split()[-5:] == ["0.800", "0.820", "0.800", "0.820", "16"]


def test_markdown_has_a_table_and_escapes_what_would_break_it(checkout):
    folder, commits = checkout
    results = read_results(folder / "results", commits)
    text = report(results, [commits[0], commits[2]], markdown=True)
    [titles] = [line for line in text.splitlines() if line.startswith("| batch |")]
    assert [cell.strip() for cell in titles.split("|")][1:5] == [
        "batch", "path", "step time [99 %]", f"ratio to {commits[0].hash[:8]}",
    ]  # fmt: skip
    [point] = [one for one in results.points if one.commit == commits[2] and one.record.path == "zmq"]
    renamed = replace(point, record=replace(point.record, path="<b>|"))
    results = replace(results, points=[renamed if one is point else one for one in results.points])
    assert "| &lt;b>\\| " in report(results, [commits[2]], markdown=True)


@pytest.mark.parametrize("markdown", [False, True])
def test_one_engine_start_is_marked_at_values_and_said_once(checkout, markdown):
    folder, commits = checkout
    text = report(read_results(folder / "results", commits), [commits[0], commits[2]], markdown=markdown)
    assert text.count("one engine start only") == 1
    assert text.count("]¹") >= 6  # five paths in the table, the leader in the sentence


def test_a_case_that_failed_and_a_damaged_file_are_reported(checkout, tmp_path):
    _folder, commits = checkout
    write_records(tmp_path, commits, batches=[8])
    [file] = (tmp_path / MACHINE / "records").glob(f"{commits[2].hash[:8]}*")
    lines = file.read_text().splitlines()
    failed = lines[-1].replace('"status": "measured"', '"status": "failed"')
    failed = failed.replace('"reason": null', '"reason": "out of memory\\nand more"')
    file.write_text("\n".join([*lines[:-1], failed, "{"]))
    text = report(read_results(tmp_path, commits), [commits[2]])
    assert (
        "simulated-1x, virtualenv-py3.12, simulated, workload fixed, ray, batch 8: failed: out of memory"
        in text
    )
    assert "Damaged and passed over:" in text


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (["report"], "A"),
        (["report", "no-such-commit"], "the newest commits that have"),
        (["report", "newest", "--metric", "beauty"], "step_seconds"),
        (["report", "newest", "--machine", "moon"], MACHINE),
    ],
)
def test_a_bad_request_is_one_line_and_exit_code_2(arguments, reported, here, capsys):
    assert cli.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert reported in err


def test_without_results_it_says_how_to_get_some(checkout, tmp_path, monkeypatch, capsys):
    (tmp_path / "asv.conf.json").write_text("{}")
    (tmp_path / "benchmarks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", "newest"]) == 2
    assert "make track" in capsys.readouterr().err
