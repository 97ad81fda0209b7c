"""history/order.py: what was read, and in which order, is said; nothing read is no verdict."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from rollout_bench import git
from rollout_bench.cli import main as cli
from rollout_bench.errors import UsageError
from rollout_bench.history.asv_runs import find_range
from rollout_bench.history.environments import find_commit
from rollout_bench.history.order import read_in_order
from simulated import MACHINE, write_asv, write_records, write_repository

ROOT = Path(__file__).resolve().parents[2]
COMMITS = 24


def slower(_path, _batch, number):
    return 1.2 if number >= COMMITS // 2 else 1.0


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with a history that gets slower by 20 % in its middle, without dates of asv's."""
    folder = tmp_path / "repository"
    commits = write_repository(folder, COMMITS)
    (folder / "benchmarks").mkdir()
    shutil.copy(ROOT / "asv.conf.json", folder)
    write_records(
        folder / "results", commits, batches=(8,), paths={"zmq": 1.0}, metrics=["step_seconds"], slower=slower
    )
    monkeypatch.chdir(folder)
    return folder


def dated(checkout):
    write_asv(checkout / "results", read_commits(checkout), series=1)


def read_commits(checkout):
    return list({point.commit: None for point in read_in_order(checkout / "results", checkout).points})


def detect(capsys, *words):
    capsys.readouterr()
    code = cli.main(["detect", *words])
    out, err = capsys.readouterr()
    return code, out, err


def refuse(monkeypatch, how, checkout):
    """Have git refuse the checkout, as it does where another user owns it, it is not there, and so on."""
    if how == "dubious":
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    elif how == "none":
        monkeypatch.setenv("PATH", str(checkout / "nothing"))
    else:
        shutil.rmtree(checkout / ".git")
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(checkout.parent))


REFUSALS = [
    ("dubious", "detected dubious ownership in repository at"),
    ("none", "git is not installed"),
    ("gone", "not a git repository"),
]


@pytest.mark.parametrize("command", [["detect"], ["report", "newest"]])
@pytest.mark.parametrize("left", ["empty", "missing", "asv's own", "damaged"])
def test_nothing_read_is_a_bad_request(command, left, checkout, capsys):
    results = checkout / "results"
    if left == "missing":
        shutil.rmtree(results)
    elif left == "damaged":
        for file in results.glob("*/records/*"):
            file.write_text("{")
    else:
        shutil.rmtree(results / MACHINE / ("records" if left == "asv's own" else ""))
    assert cli.main(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    *_damaged, last = err.splitlines()
    assert last.startswith(f"rollout-perf: no record was read from {results} (")
    assert "`make track` measures" in last
    assert (f", {COMMITS} damaged" in last) == (left == "damaged")


def test_a_machine_without_records_is_a_bad_request(checkout, capsys):
    (checkout / "results" / "other").mkdir()
    code, out, err = detect(capsys, "--machine", "other")
    assert (code, out) == (2, "")
    assert "no record of other was read from" in err


def test_what_was_read_is_said(checkout, capsys):
    code, out, err = detect(capsys)
    assert code == 1
    assert err == ""
    folder = checkout / "results"
    assert f"\nread: {COMMITS} records of {COMMITS} commits, 1 series, from {folder}\n" in out
    assert json.loads(detect(capsys, "--json")[1])["read"] == {
        "records": COMMITS, "commits": COMMITS, "series": 1, "folder": str(folder), "warnings": [],
    }  # fmt: skip


@pytest.mark.parametrize(("how", "words"), REFUSALS)
def test_where_git_refuses_the_dates_give_the_order_and_this_is_said(
    how, words, checkout, monkeypatch, capsys
):
    dated(checkout)
    refuse(monkeypatch, how, checkout)
    code, _out, err = detect(capsys)
    assert code == 1
    assert err.startswith(f"warning: git gives no history of {checkout} (")
    assert words in err
    assert "commits are in the order of asv's dates" in err
    assert err.count("\n") == 1


def test_a_shallow_clone_is_in_the_order_of_dates_and_this_is_said(checkout, monkeypatch, capsys):
    """Commits that it does not have came after those that it has: a change in the middle was no change."""
    dated(checkout)
    shallow = checkout.parent / "shallow"
    subprocess.run(
        ["git", "clone", "-q", "--depth=3", checkout.as_uri(), str(shallow)],
        check=True,
        env=git.environment(),
    )
    for name in ("results", "benchmarks"):
        shutil.copytree(checkout / name, shallow / name)
    shutil.copy(checkout / "asv.conf.json", shallow)
    commits = read_commits(checkout)
    monkeypatch.chdir(shallow)
    assert [commit.hash for commit in read_commits(shallow)] == [commit.hash for commit in commits]
    code, out, err = detect(capsys, "--json")
    assert code == 1
    [found] = json.loads(out)["change_points"]
    assert found["first"]["hash"] == commits[COMMITS // 2].hash
    assert f"warning: {shallow} is a shallow clone, of 3 commits (git fetch --unshallow): " in err


def test_outside_a_checkout_the_order_is_said(checkout, tmp_path, monkeypatch, capsys):
    dated(checkout)
    monkeypatch.chdir(tmp_path)
    code, _out, err = detect(capsys, "--results", str(checkout / "results"))
    assert code == 1
    assert err == (
        f"warning: there is no checkout of rollout-perf from {tmp_path} upwards: "
        "commits are in the order of asv's dates\n"
    )


def test_what_has_no_place_is_not_judged_and_this_is_said(checkout, capsys):
    """Six commits that git does not have, without a date: they made a change after the newest commit."""
    folder = checkout / "results" / MACHINE / "records"
    for number, file in enumerate(sorted(folder.iterdir())[:6]):
        name = f"{number:x}" * 40
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            line["provenance"]["commit"] = name
            line["metrics"]["step_seconds"] = [9.0 + number] * 7
        (folder / f"{name[:8]}-virtualenv-py3.12-simulated.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in lines)
        )
    code, out, err = detect(capsys, "--json")
    assert code == 1
    [found] = json.loads(out)["change_points"]
    assert found["ratio"] == pytest.approx(1.2, abs=0.02)
    names = ", ".join(f"{number:x}" * 8 for number in range(5))
    assert err.startswith("left out: results of 6 commits that HEAD's history of first parents does not have")
    assert f"{names} and 1 more" in err


def test_where_nothing_has_a_place_there_is_no_verdict(checkout, monkeypatch, capsys):
    refuse(monkeypatch, "gone", checkout)
    code, out, err = detect(capsys)
    assert (code, out) == (2, "")
    assert f"{COMMITS} records of" in err
    assert err.splitlines()[-1].startswith("rollout-perf: nothing can be judged: no commit has a place")


@pytest.mark.parametrize(("how", "words"), REFUSALS)
def test_who_measures_commits_gives_gits_own_reason(how, words, checkout, monkeypatch):
    refuse(monkeypatch, how, checkout)
    for ask in (lambda: find_range(checkout, None), lambda: find_commit(checkout, "HEAD")):
        with pytest.raises(UsageError, match=words):
            ask()


def test_a_repository_without_commits_has_its_reason(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, env=git.environment())
    assert "does not have any commits yet" in git.refusal(tmp_path)
