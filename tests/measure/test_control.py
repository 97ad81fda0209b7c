"""control.py: every tracked case has a ratio to a pinned build, of the same rounds of the same session."""

import json
import math
import os
import shutil
import subprocess
import time
from pathlib import Path

import fake
import pytest
from leaks import nothing_left
from rollout_bench.measure import sequence
from rollout_bench.measure.control import NoControl, find_controls, is_control, with_ratios
from rollout_bench.measure.sequence import measure_cases
from rollout_bench.measure.tracked import fixed
from rollout_bench.schema.record import ABSENT, MEASURED, Record, read_records

LOADS = fixed("nano", [1, 8])


def record(path, load, samples, side=None, session="s", status=MEASURED):
    provenance = {"session": session, **({"side": side, "commit": side, "lock": "l"} if side else {})}
    metrics = {"step_seconds": samples}
    return Record(path, "nano", 1, load.as_dict(), status, metrics=metrics, provenance=provenance)


def test_a_ratio_is_that_of_neighbours_of_one_session_at_one_workload():
    """By hand: the middle of 2 / 1, 6 / 2 and 4.5 / 1 is 3; other sessions and batches are no part of it."""
    small, large = LOADS
    records = [
        record("zmq", small, [2.0, 6.0, 4.5]),
        record("zmq", large, [5.0, 5.0]),
        record("vllm-mp", small, [1.0, 2.0, 1.0], "control0"),
        record("vllm-mp", small, [4.0, 4.0, 2.0], "control1"),
        record("vllm-mp", small, [9.0, 9.0], "control0", "another"),
        record("ray", small, [], status=ABSENT),
    ]
    zmq, alone, ray = with_ratios(records)
    assert zmq.metrics["control_ratio"] == [pytest.approx(3.0)]
    assert zmq.observed["control"] == {
        "commit": "control0", "lock": "l", "metrics": {"step_seconds": [1.0, 2.0, 1.0]},
        "link": {"commit": "control1", "lock": "l", "ratio": [0.25, 0.5, 0.5]},
    }  # fmt: skip
    assert "control_ratio" not in alone.metrics
    assert ray.metrics == {"step_seconds": []}


def test_a_ratio_is_without_what_the_speed_of_either_ones_cores_made_of_a_rollout():
    """By hand: 2 / 1, (4 / 2) / 1 and (9 / 2.25) / 2 are 2 each."""
    zmq, control = (
        record("zmq", LOADS[0], [2.0, 4.0, 9.0]),
        record("vllm-mp", LOADS[0], [1.0, 1.0, 2.0], "control0"),
    )
    zmq.observed["host"] = {"rounds": {"slowed": [1.0, 2.0, 2.25]}}
    control.observed["host"] = {"rounds": {"slowed": [1.0, 1.0, 1.0]}}
    assert with_ratios([zmq, control])[0].metrics["control_ratio"] == [pytest.approx(2.0)]


def test_a_ratio_between_paths_does_not_depend_on_who_else_was_in_the_session():
    """The control is corrected where the commit's own vllm-mp was there: that is for these two's ratio."""
    zmq, mine, control = (
        record("zmq", LOADS[0], [2.0, 4.0]),
        record("vllm-mp", LOADS[0], [3.0, 3.0]),
        record("vllm-mp", LOADS[0], [1.0, 2.0], "control0"),
    )
    control.observed["host"] = {"rounds": {"slowed": [0.5, 1.0]}}
    mine.observed["host"] = {"rounds": {"slowed": [1.0, 2.0]}}
    ratios = [one.metrics["control_ratio"][0] for one in with_ratios([zmq, mine, control])]
    assert ratios == [pytest.approx(2.0), pytest.approx(math.sqrt(1.5 * 0.75))]


def test_what_the_control_has_measured_makes_no_absent_case_of_its_path_one_that_is_kept(tmp_path):
    """Beyond a limit that was found nothing was tried, and that is kept; where nothing was measured not."""
    records = [record("vllm-mp", load, [], status=ABSENT) for load in LOADS]
    records += [record("vllm-mp", load, [1.0], "control0") for load in LOADS]
    (tmp_path / "keep").write_text("".join(f"{one.to_json()}\n" for one in records))
    kept = sequence.kept_records(tmp_path / "keep", "nano", 1, LOADS)
    assert [is_control(one) for one in kept] == [True, True]


@pytest.fixture
def checkout(tmp_path):
    """A checkout with two commits of a fake system under test, the first of which is the control."""
    root = tmp_path / "checkout"
    shutil.copytree(fake.FAKE_SUT / "rollout_perf", root / "rollout_perf")
    (root / "requirements").mkdir()
    (root / "requirements" / "cpu.lock").write_text("torch==1\n")

    def git(*words):
        done = subprocess.run(
            ["git", "-C", str(root), "-c", "user.name=n", "-c", "user.email=e@x", *words],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    git("init", "-q")
    hashes = []
    for text in ("SLOWDOWN = {}\nBYTES = 1000\n", "SLOWDOWN = {}\nBYTES = 1001\n"):
        (root / "rollout_perf" / "speed.py").write_text(text)
        git("add", "-A")
        git("commit", "-q", "-m", "one")
        hashes.append(git("rev-parse", "HEAD"))
    (root / "control.toml").write_text(f"commits = {json.dumps(hashes[:1])}\n")
    return root, hashes


@pytest.mark.timeout(120)
def test_the_control_is_measured_beside_the_cases_and_its_own_code_runs(checkout, tmp_path, monkeypatch):
    root, hashes = checkout
    fake.put(monkeypatch, tmp_path)
    controls = find_controls(root, hashes[1], dict(os.environ), print)
    keep = tmp_path / "keep"
    with nothing_left():
        records = measure_cases("nano", ["zmq"], LOADS, rollouts=2, keep=keep, say=print, controls=controls)
    assert [one.path for one in records] == ["zmq", "zmq"]
    for one in records:
        assert len(one.metrics["control_ratio"]) == 1
        assert one.observed["control"]["commit"] == hashes[0]
    kept = [one for one in read_records(keep.read_text()) if is_control(one)]
    assert [one.path for one in kept] == ["vllm-mp", "vllm-mp"]
    assert {Path(one.observed["sut"]).parent for one in kept} == {
        root / ".asv/control" / hashes[0] / "source"
    }
    monkeypatch.setattr(
        "rollout_bench.measure.sequence.attempt", lambda *_some, **_more: pytest.fail("again")
    )
    again = measure_cases("nano", ["zmq"], LOADS, rollouts=2, keep=keep, say=print, controls=controls)
    assert [one.metrics for one in again] == [one.metrics for one in records]


def test_where_no_path_can_be_measured_nobody_waits_for_the_control(checkout, tmp_path, monkeypatch):
    """A commit without any of the paths: the control, whose engine takes long to start, ends at once."""
    root, hashes = checkout
    fake.put(monkeypatch, tmp_path, FAKE_BEHAVIOUR="zmq:nowhere vllm-mp:hangs")
    controls = find_controls(root, hashes[1], dict(os.environ), print)
    begin = time.monotonic()
    with nothing_left():
        [one, _other] = measure_cases(
            "nano", ["zmq"], LOADS, say=print, controls=controls, deadline_seconds=60.0
        )
    assert (one.status, one.reason) == (ABSENT, "libnowhere not installed")
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("digits", [40, 8])
def test_the_previous_control_is_measured_where_there_are_ratios_to_it(digits, checkout, tmp_path):
    """A machine that is new has nothing to link, and an engine fewer to start. However the file has them,
    records have whole hashes, or they would not be known again."""
    root, hashes = checkout
    (root / "control.toml").write_text(f"commits = {json.dumps([one[:digits] for one in hashes[::-1]])}\n")
    newer, older = hashes[::-1]
    for number, (has, expected) in enumerate(((None, [newer]), (newer, [newer]), (older, [newer, older]))):
        records = tmp_path / str(number)
        records.mkdir()
        if has is not None:
            control = record("vllm-mp", LOADS[0], [1.0], "control0")
            control.provenance["commit"] = has
            [zmq] = with_ratios([record("zmq", LOADS[0], [2.0]), control])
            (records / "c0ffee-env-nano.jsonl").write_text(f"{zmq.to_json()}\n")
        found = find_controls(root, hashes[1], {"ASV_PYTHONPATH": "/host"}, print, records)
        assert [one.provenance["commit"] for one in found] == expected


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("commits = [", "control.toml cannot be read"),
        ("commit = 'abcdef0'", "control.toml: commits is None; give one or two hashes"),
        ("commits = ['--all']", "control.toml: commits is ['--all']; give one or two hashes"),
        ("commits = ['abcdef0']", "git gives no control: "),
    ],
)
def test_why_there_is_no_control_is_said_in_a_line(content, why, checkout):
    root, hashes = checkout
    (root / "control.toml").write_text(content)
    with pytest.raises(NoControl) as raised:
        find_controls(root, hashes[1], {}, print)
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_control_of_a_ledger_is_the_checkouts_and_its_packages_stay_where_a_host_lends_a_releases(
    checkout, tmp_path, monkeypatch
):
    root, hashes = checkout
    made = tmp_path / "ledger"
    made.mkdir()
    (made / "control.toml").symlink_to(root / "control.toml")
    monkeypatch.setattr("rollout_bench.measure.control._call", lambda command: None)
    [control] = find_controls(made, "0.27.0", {}, print)
    assert Path(control.interpreter.python).is_relative_to(root / ".asv/control" / hashes[0])
    lent = {"ASV_PYTHONPATH": "/release", "PYTHONPATH": "/release"}
    with pytest.raises(NoControl, match="name a folder of them in ROLLOUT_PERF_CONTROL_PACKAGES"):
        find_controls(made, "0.27.0", lent, print)
    [control] = find_controls(made, "0.27.0", lent | {"ROLLOUT_PERF_CONTROL_PACKAGES": "/fixed"}, print)
    source = root / ".asv/control" / hashes[0] / "source"
    assert control.interpreter.variables["PYTHONPATH"] == f"{source}:/fixed"


def test_a_control_with_another_lock_has_an_environment_of_its_own(checkout, monkeypatch):
    """And where the host provides vLLM, no lock counts."""
    root, hashes = checkout
    (root / "control.toml").write_text(f"commits = {json.dumps(hashes[1:])}\n")
    calls = []
    monkeypatch.setattr("rollout_bench.measure.control._call", calls.append)
    (root / "requirements" / "cpu.lock").write_text("torch==2\n")
    author = ["-c", "user.name=n", "-c", "user.email=e@x"]
    subprocess.run(["git", "-C", str(root), *author, "commit", "-qam", "lock"], check=True)
    [control] = find_controls(root, "HEAD", {}, print)
    environment = root / ".asv/control" / hashes[1] / "environment"
    assert control.interpreter.python == str(environment / "bin/python")
    assert calls[0][1:] == ["-m", "venv", str(environment)]
    assert calls[1][1:4] == [str(root / "requirements/install.py"), "--python", control.interpreter.python]
    calls.clear()
    find_controls(root, "HEAD", {"ASV_PYTHONPATH": "/host"}, print)
    assert calls == []
