"""`rollout-perf upgrade`: a gate of all that is tracked here with one package moved; what cannot be asked."""

import json
from types import SimpleNamespace

import pytest
from ledgers import LOCK, enter, git, resolve_at_once
from rollout_bench.cli import main as cli
from rollout_bench.cli import upgrade
from rollout_bench.history.ledgers import known_ledgers


@pytest.fixture
def root(tmp_path, monkeypatch):
    return enter(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ray"], "'ray' is no release: give PACKAGE==VERSION"),
        (["ray>=2.58.0"], "'ray>=2.58.0' is no release"),
        (["ray==2.*"], "'ray==2.*' is no release"),
        (["bono==1"], "unknown package 'bono'"),
        (["ray==2.59.0"], "unknown release ray==2.59.0; the newest are 2.50.0, 2.58.0, 2.60.0"),
        (["ray==2.40.0"], "ray==2.40.0 is older than is supported: name 2.50 or a later release"),
        (["ray==2.60.0"], "the lock has ray==2.60.0 already"),
        (["ray==2.58.0", "--tracked", "bono"], "unknown --tracked 'bono'"),
        (["ray==2.58.0", "--tracked", ""], "unknown --tracked ''; known: nano, "),
        (["ray==2.58.0", "--workload", ""], "unknown workload ''; known: fixed, "),
        (["ray==2.58.0", "--tp", "0"], "--tp is 0; it must divide"),
        (["ray==2.58.0", "--paths", "pigeon"], "unknown path 'pigeon'"),
        (["ray==2.58.0", "--at-once", "9999"], "--at-once is 9999; give 1 to "),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(root, words, says, capsys):
    assert cli.main(["upgrade", *words]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not (root / "releases").exists()


@pytest.fixture
def judged(root, monkeypatch):
    """Gates that measure nothing: what each was asked, and what it says."""
    asked, verdicts, at_once = [], [], []

    def judge(folder, _verdicts, question, measured, commits, lanes):
        asked.append(
            (git(folder, "show", f"{commits['head']}:requirements/cuda.lock"), measured[0].name, question)
        )
        at_once.append(len(lanes))
        (folder / ".asv" / "env-head").mkdir(parents=True, exist_ok=True)
        return {"verdict": verdicts[len(asked) - 1]}

    monkeypatch.setattr(upgrade, "judge", judge)
    monkeypatch.setattr(upgrade, "verdicts_folder", lambda folder, machine: folder)
    monkeypatch.setattr(upgrade.gate_report, "text", lambda content: content["verdict"])
    resolve_at_once(monkeypatch)
    return SimpleNamespace(asked=asked, verdicts=verdicts, at_once=at_once)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["same", "better", "same", "same"], 0),
        (["worse", "failed", "same", "same"], 1),
        (["failed", "same", "same", "same"], 2),
        (["same", "same", "same", "worse"], 1),
    ],
)
def test_an_upgrade_is_a_gate_of_all_that_is_tracked_here(root, judged, capsys, verdicts, code):
    judged.verdicts.extend(verdicts)
    assert cli.main(["upgrade", "ray==2.58.0", "--budget", "15", "--json"]) == code
    assert [
        (name, question.paths[:2], question.budget_seconds) for _lock, name, question in judged.asked
    ] == [
        ("nano", ["sync", "vllm-mp"], 225.0),
        ("nano-rl", ["vllm-mp", "zmq"], 225.0),
        ("nano-turns", ["vllm-mp", "zmq"], 225.0),
        ("nano-entries", ["vllm-mp", "vllm-mp@zmq"], 225.0),
    ]
    assert judged.at_once == [1] * 4
    assert judged.asked[0][0] == LOCK.replace("2.60.0", "2.58.0").strip()
    said = json.loads(capsys.readouterr().out)
    assert said["requirement"] == "ray==2.58.0"
    assert [one["verdict"] for one in said["gates"].values()] == verdicts
    folder = root / ".asv" / "releases" / "upgrade-cuda"
    assert git(folder, "tag") == "ray-2.58.0\ntoday"
    assert (root / "releases" / "upgrade-cuda" / "ledger.bundle").exists()
    assert known_ledgers(root) == []  # it is no history of releases, and `publish` goes on without it
    assert not (folder / ".asv" / "env-head").exists()


def test_one_table_of_an_upgrade_and_environments_that_are_kept(root, judged):
    judged.verdicts.append("same")
    words = ["--tracked", "nano-rl", "--paths", "zmq", "--at-once", "2", "--keep"]
    assert cli.main(["upgrade", "ray==2.58.0", *words]) == 0
    assert judged.at_once == [2]
    assert [(name, question.paths) for _lock, name, question in judged.asked] == [("nano-rl", ["zmq"])]
    assert (root / ".asv" / "releases" / "upgrade-cuda" / ".asv" / "env-head").exists()


def test_an_upgrade_of_answers_as_they_are_made_is_of_those_alone(root, judged, capsys):
    judged.verdicts.append("same")
    assert cli.main(["upgrade", "ray==2.58.0", "--output-kind", "stream", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["gates"]) == ["nano"]


def test_an_upgrade_that_uv_cannot_resolve_is_said(root, judged, monkeypatch, capsys):
    resolve_at_once(monkeypatch, **{"2_58_0": "vllm needs another"})
    assert cli.main(["upgrade", "ray==2.58.0"]) == 2
    assert "ray==2.58.0 cannot be resolved: vllm needs another" in capsys.readouterr().err
    assert judged.asked == []
