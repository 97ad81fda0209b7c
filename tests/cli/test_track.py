"""`rollout-perf track`: a set is measured at every commit of the range, also where another one was before."""

import json
import shutil
from pathlib import Path

import pytest
from ledgers import LOCK, enter
from rollout_bench.cli import main as cli
from rollout_bench.history import asv_runs
from rollout_bench.history.ledger import Entry, Ledger
from rollout_bench.measure import machine
from rollout_bench.measure.tracked import fixed
from rollout_bench.schema.record import MEASURED, Record
from simulated import write_repository

ROOT = Path(__file__).resolve().parents[2]

ALL = "Nano|NanoGrpo|NanoGrpoLogprobs|NanoAbort|NanoPause|NanoWindow|NanoLimit|NanoTurns|NanoEntries"


def of(classes):
    """What asv is asked for: no class of the other flavour, which would take it a minute to look up."""
    return [rf"--bench=^rollout\.({classes})\.", r"--bench=^transport_rpc\."]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of three commits: asv has values of the first two, and the first could not be built."""
    folder = tmp_path / "repository"
    _newest, quick, broken = write_repository(folder, 3)[::-1]
    (folder / "benchmarks").mkdir()
    for name in ("asv.conf.json", "tracked.toml"):
        shutil.copy(ROOT / name, folder)
    results = folder / "results" / "box"
    (results / "records").mkdir(parents=True)
    for commit, value in ((quick, [0.1, None]), (broken, None)):
        content = {"version": 2, "results": {"rollout.Nano.track_step_seconds": [value, [], "1"]}}
        (results / f"{commit.hash[:8]}-env.json").write_text(json.dumps(content))
    loads = fixed("nano", [1, 8])
    lines = [
        Record(path, "nano", 1, load.as_dict(), MEASURED).to_json()
        for path in ("vllm-mp", "zmq")
        for load in loads
    ]
    (results / "records" / f"{quick.hash[:8]}-env-nano.jsonl").write_text("\n".join(lines))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(machine, "gpus", list)
    monkeypatch.setattr(asv_runs, "set_damaged_aside", lambda *_arguments: None)
    return quick


@pytest.mark.parametrize(
    ("words", "chosen", "first", "classes"),
    [
        (["--set", "quick"], "quick", [*of("Nano"), "--skip-existing"], None),
        ([], "default", [*of(ALL), "--skip-existing"], "|".join(sorted(ALL.split("|")))),
        (["--set", "extended"], "extended", [*of("Nano|NanoEntries"), "--skip-existing"], "Nano|NanoEntries"),
        (["--bench", "Nano"], "default", ["--bench=Nano", "--skip-existing"], None),
        (["--again"], "default", of(ALL), None),
    ],
)
def test_what_asv_passes_over_is_measured_too(words, chosen, first, classes, checkout, monkeypatch):
    """asv has a value for each path, whatever set was measured, and --skip-existing takes it for one."""
    asked, is_again = [], "--again" in words

    def run_asv(_root, asked_now, _commits, _machine, variables, *_rest):
        asked.append(list(asked_now))
        assert variables["ROLLOUT_PERF_SET"] == chosen
        assert ("ROLLOUT_PERF_AGAIN" in variables) == is_again
        return 0

    monkeypatch.setattr(asv_runs, "run_asv", run_asv)
    assert cli.main(["track", "--max-count=3 HEAD", "--no-publish", "--machine", "box", *words]) == 1
    assert asked[0][1:] == first
    assert len(asked) == (2 if classes else 1)
    if classes:
        hashes, bench = asked[1]
        assert Path(hashes.removeprefix("HASHFILE:")).read_text() == f"{checkout.hash}\n"
        assert bench == of(classes)[0]


def test_results_of_another_machine_are_warned_of(checkout, monkeypatch, capsys):
    """A gate refuses them; the counts of a series are the same on both."""
    file = Path("results", "box", "machine.json")
    monkeypatch.setattr(asv_runs, "run_asv", lambda *_arguments: 0)
    words = ["track", "HEAD^!", "--no-publish", "--machine", "box", "--bench", "Nano"]
    cli.main(words)
    assert "warning" not in capsys.readouterr().err
    file.write_text(json.dumps({"cpu": "Abacus", "machine": "box"}))
    cli.main(words)
    assert "results/box is of another machine (cpu Abacus, here " in capsys.readouterr().err


@pytest.mark.parametrize("keep", [False, True])
def test_in_a_ledger_each_release_is_measured_and_no_environment_is_left(keep, tmp_path, monkeypatch):
    root = enter(monkeypatch, tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    made = Ledger(root, "ray-cuda", "ray", "cuda")
    made.write([Entry(version, 1_700_000_000, f"ray {version}", LOCK) for version in ("2.50.0", "2.58.0")])
    environment, asked = made.folder / ".asv" / "env" / "1", []

    def run_asv(at, asked_now, commits, *_rest):
        asked.append((at, asked_now[0], [one.subject for one in commits]))
        environment.mkdir(parents=True)
        return 0

    monkeypatch.setattr(asv_runs, "run_asv", run_asv)
    monkeypatch.chdir(made.folder)
    words = ["--no-publish", "--machine", "box", "--bench", "Nano", *["--keep"] * keep]
    assert cli.main(["track", "2.50.0..2.58.0", *words]) == 1  # nothing was measured
    assert asked == [(made.folder, "2.50.0..2.58.0", ["ray 2.58.0"])]
    assert environment.exists() == keep
    assert (root / "releases" / "ray-cuda" / "box").is_dir()
