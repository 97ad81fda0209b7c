"""sequence.py: every case that was asked for comes back, with the reason where it was not measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import fake
import psutil
import pytest
from leaks import eventually, lives, nothing_left
from rollout_bench.measure import sequence, session
from rollout_bench.measure.contestants import append_line
from rollout_bench.measure.process import Outcome
from rollout_bench.measure.saturation import Search
from rollout_bench.measure.sequence import ROLLOUTS, measure_cases
from rollout_bench.measure.sizing import engine_arguments
from rollout_bench.measure.tracked import fixed
from rollout_bench.schema.record import ABSENT, FAILED, MEASURED, Record, read_records

ROOT = Path(__file__).resolve().parents[2]


def run(preset: str, paths: list[str], deadline_seconds: float = 60.0) -> tuple[list, list[str]]:
    said: list[str] = []
    return measure_cases(
        preset, paths, fixed("nano", [1, 8]), say=said.append, deadline_seconds=deadline_seconds
    ), said


def test_a_commit_without_api_gives_absent_cases_with_the_reason(tmp_path, monkeypatch):
    """asv goes back through the history: commits before the first API must not stop it."""
    fake.put_module(monkeypatch, tmp_path, "")
    records, said = run("nano", ["zmq", "ray"])
    assert [(r.path, r.workload["batch"], r.status) for r in records] == [
        (path, batch, ABSENT) for path in ("zmq", "ray") for batch in (1, 8)
    ]
    assert all("this commit has no API to measure" in record.reason for record in records)
    assert len(said) == 4


BREAKS_WHEN_ASKED = """
import rollout_perf
row = type(rollout_perf.TRANSPORTS["ray"])
absent = row.absent
def breaks(self, gpu):
    if self.name == "ray":
        raise RuntimeError("out of luck")
    return absent(self, gpu)
row.absent = breaks
"""


def test_a_path_that_breaks_when_it_is_asked_for_fails_alone(tmp_path, monkeypatch):
    fake.put(monkeypatch, tmp_path)
    (tmp_path / "sitecustomize.py").write_text(BREAKS_WHEN_ASKED)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
    records, _said = run("nano", ["ray", "zmq"])
    assert [record.status for record in records] == [FAILED] * 2 + [MEASURED] * 2
    assert "out of luck" in records[0].reason


def test_what_this_commit_does_not_have_is_absent_with_the_reason(tmp_path, monkeypatch):
    """With the real rollout_perf: another commit's path or preset is no failure of this one, and vLLM, which
    takes as long to load as measuring, is not loaded for it."""
    loaded = tmp_path / "loaded"
    (tmp_path / "vllm.py").write_text(f"open({str(loaded)!r}, 'w').close()\n")
    fake.import_from(monkeypatch, tmp_path)
    records, _said = run("pico", ["telegraph", "zmq"])
    assert [record.status for record in records] == [ABSENT] * 4
    assert "no path 'telegraph'; it has sync, vllm-mp" in records[0].reason
    assert "no preset 'pico'" in records[2].reason
    assert records[2].provenance["versions"]
    assert records[2].provenance["machine"]["cores"] >= 1
    assert not loaded.exists()


@pytest.mark.engine
@pytest.mark.timeout(120)
def test_a_path_that_hangs_or_dies_fails_alone_and_leaves_no_process(tmp_path, monkeypatch):
    """It ignores SIGINT and has a child in a session of its own; the next cases are measured all the same."""
    behaviour = "zmq:deaf vllm-mp:nowhere ray:dies ray-graph:refuses"
    fake.put(monkeypatch, tmp_path, FAKE_BEHAVIOUR=behaviour)
    monkeypatch.setenv("ROLLOUT_PERF_LOG", str(tmp_path / "log"))
    with nothing_left():
        records, said = run("nano", ["zmq", "vllm-mp", "ray", "ray-graph"], deadline_seconds=3.0)
    by_path = {record.path: record for record in records}
    assert len(records) == 8
    assert [by_path[path].status for path in by_path] == [FAILED, ABSENT, FAILED, FAILED]
    assert "did not end within 12 s" in by_path["zmq"].reason  # nobody was up, who would have waited less
    assert "waiting for nothing" in by_path["zmq"].reason  # its last lines
    assert by_path["vllm-mp"].reason == "libnowhere not installed"
    assert "ray ended with status 9" in by_path["ray"].reason
    assert by_path["ray-graph"].reason == "refused, with a reason"
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert not any(map(lives, pids)), pids
    assert any("zmq nano fixed 1: failed" in text for text in said)
    assert "waiting for nothing" in (tmp_path / "log").read_text()


@pytest.mark.engine
@pytest.mark.timeout(120)
def test_cases_end_and_their_folder_goes_when_whoever_asked_is_killed(tmp_path, monkeypatch):
    """asv's own process may be killed by its time limit or by hand; a GPU would stay taken."""
    fake.put(monkeypatch, tmp_path, FAKE_BEHAVIOUR="zmq:hangs")
    code = (
        "from rollout_bench.measure.sequence import measure_cases\n"
        "from rollout_bench.measure.tracked import fixed\n"
        "measure_cases('nano', ['zmq'], fixed('nano', [1]))"
    )
    asker = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": f"{os.environ['PYTHONPATH']}{os.pathsep}{ROOT / 'bench'}"},
    )
    written = tmp_path / "pids"
    assert eventually(lambda: written.exists() and len(written.read_text().split()) == 2, 30.0)
    pids = [int(pid) for pid in written.read_text().split()]
    folder = Path(f"/proc/{pids[0]}/cwd").resolve()
    assert folder.name.startswith("rp-")
    asker.kill()
    asker.wait()
    try:
        assert eventually(lambda: not any(map(lives, pids)))
        assert eventually(lambda: not folder.exists())
    finally:
        for pid in filter(lives, pids):
            psutil.Process(pid).kill()


@pytest.mark.timeout(120)
def test_a_path_behind_two_entries_is_two_cases_and_an_unknown_entry_is_absent(tmp_path, monkeypatch):
    """An older commit has no entry but the local one, and goes on without; its records are as they were."""
    fake.put(monkeypatch, tmp_path)
    load = fixed("nano", [1])
    ways = ["zmq", "zmq@zmq", "vllm-mp@telepathy"]
    records = measure_cases("nano", ways, load, say=print, rollouts=2, keep=tmp_path / "keep")
    assert [(one.way, one.status) for one in records] == [
        ("zmq", MEASURED), ("zmq@zmq", MEASURED), ("vllm-mp@telepathy", ABSENT),
    ]  # fmt: skip
    assert records[2].reason == "this commit has no entry 'telepathy'; it has local, zmq"
    assert [{"way_in_seconds", "front_cpu_seconds"} & one.metrics.keys() for one in records] == [
        {"way_in_seconds"}, {"way_in_seconds", "front_cpu_seconds"}, set(),
    ]  # fmt: skip
    assert records[1].metrics["entry_bytes"] == [1000.0] * 2  # of one request a rollout
    assert "entry_bytes" not in records[0].metrics
    assert all(seconds >= 0 for one in records[:2] for seconds in one.metrics["worker_cpu_seconds"])
    kept = {json.loads(line).get("entry") for line in (tmp_path / "keep").read_text().splitlines()}
    assert kept == {None, "zmq", "telepathy"}
    assert '"entry":' not in records[0].to_json()
    assert measure_cases("nano", ways[:2], load, say=print, keep=tmp_path / "keep") == records[:2]


def test_a_hang_before_the_first_path_costs_no_more_than_a_path_may(monkeypatch):
    """A gate that gives a minute to each path does not wait ten more for vLLM to load."""
    limits = []

    def hang(_module, asked, _say, limit, *_where):
        limits.append((asked["requests"][0]["start_deadline_seconds"], limit))
        return Outcome("", "it hung")

    monkeypatch.setattr(session, "run_module", hang)
    records, _said = run("nano", ["sync"], deadline_seconds=60.0)
    assert limits == [(60.0, 60.0)]
    assert {record.reason for record in records} == {"it hung"}


def test_what_a_file_has_of_other_paths_is_no_part_of_the_answer(tmp_path, monkeypatch):
    """One file may keep the records of one path after another."""
    fake.put_module(monkeypatch, tmp_path, "")
    loads = fixed("nano", [1])
    (tmp_path / "keep").write_text(Record("ray", "nano", 1, loads[0].as_dict(), MEASURED).to_json() + "\n")
    records = measure_cases("nano", ["zmq"], loads, say=print, keep=tmp_path / "keep")
    assert [(record.path, record.status) for record in records] == [("zmq", ABSENT)]


def test_engine_arguments_are_sized_for_the_largest_workload_and_left_to_no_default():
    arguments = engine_arguments(fixed("nano", [1, 8]))
    assert (arguments["max_model_len"], arguments["max_num_seqs"]) == (48, 8)
    assert arguments["enable_prefix_caching"] is False
    assert arguments["seed"] == 0


def test_the_number_of_rollouts_lets_asv_tell_a_difference():
    """Two sets of 6 samples can never differ significantly in asv."""
    assert ROLLOUTS >= 7


def left(keep, loads, paths, limit=None):
    """By path the batches still to be measured after a run that left `keep`, and the records kept."""
    kept = sequence.kept_records(keep, "nano", 1, loads)
    missing = sequence._left(paths, loads, kept, Search(limit))
    return {path: [load.batch for load in some] for path, some in missing.items()}, kept


def test_what_a_run_that_was_broken_off_has_kept_is_not_measured_again(tmp_path):
    """Sessions keep a workload of all paths, and then the next one; measured anew, the last record counts."""
    loads = fixed("nano", [1, 8])

    def line(path, load, seconds, status=MEASURED):
        metrics = {"step_seconds": [seconds]}
        return Record(path, "nano", 1, load.as_dict(), status, metrics=metrics).to_json()

    keep = tmp_path / "keep"
    lines = [line("zmq", loads[0], 1.0), line("ray", loads[0], 1.0), line("sync", loads[0], 1.0, ABSENT)]
    lines += [line("ray-graph", load, 1.0, FAILED) for load in loads]
    keep.write_text("\n".join([*lines, *(line("zmq", load, 2.0) for load in loads)]))
    again, kept = left(keep, loads, ["zmq", "ray", "ray-graph", "sync"])
    assert again == {"ray": [8], "ray-graph": [1, 8], "sync": [1, 8]}
    assert [(record.path, record.metrics["step_seconds"]) for record in kept] == [
        ("zmq", [2.0]), ("ray", [1.0]), ("zmq", [2.0])
    ]  # fmt: skip
    assert (
        sequence.kept_records(keep, "nano", 2, loads)
        == sequence.kept_records(tmp_path / "none", "nano", 1, loads)
        == []
    )


def test_a_run_goes_on_after_the_paths_that_were_done_when_it_was_broken_off(tmp_path, monkeypatch):
    """Ctrl-C ends asv, which has saved nothing of the commit: minutes of an engine's were measured twice."""
    loads = fixed("nano", [1, 8])
    done = [Record("zmq", "nano", 1, load.as_dict(), MEASURED, "kept") for load in loads]
    (tmp_path / "keep").write_text("".join(f"{record.to_json()}\n" for record in done))
    asked = []

    def run_module(_module, request, _say, _limit, *_where):
        asked.append(([one["path"] for one in request["requests"]], request["keep"]))
        left = [Record("ray", "nano", 1, load.as_dict(), ABSENT, "no Ray") for load in loads]
        return Outcome("".join(f"{record.to_json()}\n" for record in left))

    monkeypatch.setattr(session, "run_module", run_module)
    monkeypatch.setattr(sequence, "check_equal_work", list)
    records = measure_cases("nano", ["zmq", "ray"], loads, say=print, keep=tmp_path / "keep")
    assert asked == [(["ray"], str(tmp_path / "keep"))]
    assert [record.reason for record in records] == ["kept", "kept", "no Ray", "no Ray"]


def test_a_record_behind_half_a_line_has_a_line_of_its_own(tmp_path):
    """A full disk or a kill leaves the half: it took the next record, of the run that went on, with it."""
    line = Record("zmq", "nano", 1, fixed("nano", [1])[0].as_dict(), MEASURED).to_json()
    for begin in ("", line[:50], f"{line}\n"):
        (tmp_path / "keep").write_text(begin)
        append_line(str(tmp_path / "keep"), line)
        assert (tmp_path / "keep").read_text().endswith(f"{line}\n")
        assert len(read_records((tmp_path / "keep").read_text())) == 1 + begin.endswith("\n")


def test_a_path_whose_limit_was_found_is_not_measured_again(tmp_path):
    """Beyond the limit nothing was tried; a path that was absent throughout may be there by now."""
    loads = fixed("nano", [1, 8])
    found = {"zmq": (MEASURED, ABSENT), "ray": (ABSENT, ABSENT), "sync": (MEASURED, FAILED)}
    lines = [
        Record(path, "nano", 1, load.as_dict(), status).to_json()
        for path, both in found.items()
        for load, status in zip(loads, both, strict=True)
    ]
    (tmp_path / "keep").write_text("\n".join(lines))
    again, kept = left(tmp_path / "keep", loads, [*found], limit=60.0)
    assert again == {"ray": [1, 8], "sync": [1, 8]}
    assert [(record.path, record.status) for record in kept] == [("zmq", MEASURED), ("zmq", ABSENT)]
