"""Results of commits that the history does not have: no part of a series, said, and shown by their hash."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rollout_bench.cli import main as cli
from rollout_bench.history.results import Commit, history, read_results
from rollout_bench.site.publish import publish
from simulated import ENVIRONMENT, MACHINE, write_records, write_repository

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def rebased(tmp_path, monkeypatch):
    """A checkout of 30 commits at one level, and ten slower ones that a rebase took away, older than most."""
    folder = tmp_path / "checkout"
    commits = write_repository(folder, 30)
    (folder / "benchmarks").mkdir()
    (folder / "asv.conf.json").write_text((ROOT / "asv.conf.json").read_text())
    gone = [Commit(f"{number:x}fade" * 8, "", commits[3].time + number) for number in range(1, 11)]
    few = {"batches": [8], "paths": {"zmq": 1.0}, "metrics": ["step_seconds"]}
    write_records(folder / "results", commits, **few)
    write_records(folder / "results", gone, slower=lambda *_of: 1.25, **few)
    for commit in gone:
        content = {"commit_hash": commit.hash, "date": commit.time * 1000}
        (folder / "results" / MACHINE / f"{commit.hash[:8]}-{ENVIRONMENT}.json").write_text(
            json.dumps(content)
        )
    monkeypatch.chdir(folder)
    return folder, commits, gone


def test_they_are_part_of_no_series_and_by_date_where_there_is_no_history(rebased):
    folder, commits, gone = rebased
    results = read_results(folder / "results", history(folder))
    [points] = results.series("step_seconds").values()
    assert [point.commit for point in points] == commits
    assert [commit.hash for commit in results.outside_commits] == [commit.hash for commit in gone]
    without = read_results(folder / "results")
    assert len(without.points) == 40
    assert without.outside == ()


def test_detect_says_them_and_finds_no_change_point_in_them(rebased, capsys):
    assert cli.main(["detect", "--json"]) == 0
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert content["change_points"] == []
    assert content["outside"] == [commit.hash for commit in rebased[2]]
    [line] = [line for line in err.splitlines() if "left out" in line]
    assert "results of 10 commits" in line
    assert "1fade1fa, 2fade2fa, 3fade3fa, 4fade4fa, 5fade5fa and 5 more" in line


def test_detect_of_one_machine_says_those_of_that_machine(rebased, capsys):
    folder, commits, _gone = rebased
    write_records(folder / "results", commits[:2], batches=[8], machine="other-box")
    assert cli.main(["detect", "--machine", "other-box"]) == 0
    assert "left out" not in capsys.readouterr().err


def test_report_shows_one_by_its_hash_and_never_as_the_newest(rebased, capsys):
    _folder, commits, gone = rebased
    assert cli.main(["report", "newest"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"commit {commits[-1]}")
    assert "fade" not in out
    assert "results of 10 commits" in err
    assert cli.main(["report", gone[4].hash[:8]]) == 0
    out, _err = capsys.readouterr()
    assert out.startswith(f"commit {gone[4].hash[:8]}\n")
    assert "zmq" in out
    assert cli.main(["report", gone[4].hash, commits[-1].hash]) == 0
    assert "against 5fade5fa" in capsys.readouterr().out


def test_the_site_says_them_and_draws_none(rebased):
    folder, commits, _gone = rebased
    said = []
    page = publish(folder / "results", folder, said.append)
    text = (page.parent / "data" / "front.js").read_text()
    content = json.loads(text.removeprefix("RP.front = ").rstrip(";\n"))
    assert content["commits"]["hash"] == [commit.hash for commit in commits]
    assert content["outside"] in said
    assert content["outside"].startswith("left out: results of 10 commits")


def test_a_pipe_run_of_one_is_left_out_and_shown_too(rebased):
    folder, _commits, gone = rebased
    pipe = folder / "results" / MACHINE / "pipe"
    pipe.mkdir()
    run = {"paths": {"zmq": {}}, "provenance": {"commit": gone[0].hash}}
    (pipe / f"{gone[0].hash[:8]}-{ENVIRONMENT}.jsonl").write_text(json.dumps(run))
    results = read_results(folder / "results", history(folder))
    assert results.pipes == []
    shown = results.with_outside(replace(gone[0]))
    assert [one.commit.hash for one in shown.pipes] == [gone[0].hash]
    assert shown.points[0].commit.hash == gone[0].hash
