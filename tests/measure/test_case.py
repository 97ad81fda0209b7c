"""case.py with an engine that breaks at a batch: that case says so, and the others are measured.

The fake stands in for rollout_perf and vLLM; probe, drive, fork and records are the real ones.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import fake
import pytest
from leaks import nothing_left
from rollout_bench.measure import machine
from rollout_bench.measure.engine_case import EngineCases, refusal
from rollout_bench.measure.rl import grpo
from rollout_bench.measure.saturation import find_limit
from rollout_bench.measure.sequence import measure_cases
from rollout_bench.measure.tracked import fixed
from rollout_bench.report.idle import tail_table
from rollout_bench.schema.record import ABSENT, FAILED, MEASURED

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """The folder of what the fake notes; the harness's own probe counts and times in it."""
    return fake.put(monkeypatch, tmp_path, FAKE_PROBE="real")


def measure(batches, **options):
    with nothing_left():
        return measure_cases("nano", ["sync"], fixed("nano", batches), say=print, rollouts=2, **options)


def starts(folder):
    return len((folder / "starts").read_text().splitlines())


def test_memory_that_runs_out_fails_its_case_and_the_next_one_gets_a_new_engine(notes, monkeypatch):
    monkeypatch.setenv("FAKE_BEHAVIOUR", "sync:breaks-at-2")
    monkeypatch.chdir(notes)
    records = measure([1, 2, 4], keep=Path("keep"))  # of this folder, whichever the session's process is in
    assert [record.status for record in records] == [MEASURED, FAILED, MEASURED]
    assert records[1].reason.startswith(
        "out of memory at batch 2: RuntimeError: CUDA out of memory. Tried to"
    )
    assert records[1].metrics == {}
    assert starts(notes) == 2
    assert len((notes / "keep").read_text().splitlines()) == 3


def rollouts(folder):
    return [int(line.split()[1]) for line in (folder / "rollouts").read_text().splitlines()]


def test_the_first_rollout_of_each_workload_comes_before_all_others(notes):
    """A lone request, then those that are counted, and for each workload one to warm up and two timed."""
    measure([1, 2], repeat_share=0.0)
    assert rollouts(notes) == [1, 1, 2, 1, 1, 1, 2, 2, 2]


def test_where_the_limit_is_sought_no_batch_is_run_before_its_turn(notes):
    """Most of them may not be tried at all."""
    measure([2, 4], until_limit_seconds=60.0, repeat_share=0.0)
    assert rollouts(notes) == [1, 2, 2, 2, 2, 4, 4, 4, 4]


def test_the_search_for_the_limit_ends_where_memory_does(notes, monkeypatch):
    monkeypatch.setenv("FAKE_BEHAVIOUR", "sync:breaks-at-4")
    records = measure([1, 2, 4, 8], until_limit_seconds=60.0)
    assert [record.status for record in records] == [MEASURED, MEASURED, FAILED, ABSENT]
    assert "not tried: out of memory at batch 4" in records[3].reason
    limit = find_limit(records)
    assert limit.best.batch == 2
    assert limit.reason.startswith("out of memory at batch 4")
    assert starts(notes) == 1


@pytest.mark.parametrize(
    ("names", "left"), [(["grpo", "fixed"], ["fixed"]), (["fixed", "fixed"], []), (["fixed", "grpo"], [])]
)
def test_memory_that_runs_out_ends_the_search_and_nothing_before_it(names, left):
    """The batches after it are larger still; those of the search after GRPO's step may be smaller."""
    kept = []
    request = {
        "path": "zmq",
        "preset": "nano",
        "tensor_parallel_size": 1,
        "provenance": {},
        "options": {"until_limit_seconds": 60.0},
        "workloads": [{"prompts": 8, "name": name} for name in names],
    }
    cases = EngineCases(request, kept.append, 0, sys.stdout)
    cases._started = True
    cases._broke(RuntimeError("CUDA out of memory"))
    assert [load.name for load in cases.pending] == left
    assert kept[0].reason == "out of memory at batch 8: RuntimeError: CUDA out of memory"


def test_an_engine_that_ends_badly_takes_nothing_from_what_it_measured():
    request = {"path": "zmq", "preset": "nano", "workloads": [], "options": {}}
    cases = EngineCases(request, print, 0, sys.stdout)
    said = []
    cases.say = said.append
    cases._started = True
    cases._broke(RuntimeError("it would not die"))
    assert said == ["the engine did not end well: RuntimeError: it would not die"]


def test_lengths_of_their_own_are_forced_and_what_is_not_known_has_a_reason(notes):
    load = grpo(prompts=2, samples=2, prompt_cap=8, output_cap=16)
    (record,) = measure_cases("nano", ["sync"], [load], say=print, rollouts=2, compare_probe=True)
    assert record.status == MEASURED
    assert record.observed["tokens_generated"] == load.tokens
    assert record.observed["absent"]["roofline"] == "no such device"
    assert len(record.metrics["tail_share"]) == len(record.metrics["worker_idle_share"]) == 2
    assert 0.7 < record.metrics["worker_idle_share"][0] < 1  # 100 ms, and 16 ms of work at most
    assert "roofline_gap_share" not in record.metrics
    probe = record.observed["probe"]
    assert len(probe["on_step_seconds"]) == len(probe["off_step_seconds"]) == 2
    assert 0 < probe["seconds_for_each_step"] < 1e-3


def test_what_the_commit_cannot_be_asked_for_is_absent_and_the_rest_measured(notes):
    """The fake's Sampling has `logprobs`, and no `prompt_logprobs`."""
    load = fixed("nano", [2])[0]
    loads = [load.asking(prompt_logprobs=0), load.asking(arrival="window:1"), load.asking(logprobs=1), load]
    records = measure_cases("nano", ["sync"], loads, say=print, rollouts=1)
    assert [record.status for record in records] == [ABSENT, ABSENT, MEASURED, MEASURED]
    assert records[0].reason == "this commit cannot be asked for prompt_logprobs"
    assert records[1].reason == "it takes a batch at a time: no request can arrive while others run"
    assert [record.workload["name"] for record in records] == [load.name for load in loads]
    (record,) = measure_cases("nano", ["sync"], loads[:1], say=print, rollouts=1)
    assert record.status == ABSENT
    assert starts(notes) == 1


@pytest.mark.parametrize(
    ("way", "path", "has", "gpus", "reason"),
    [
        (
            "sleep:1",
            "sync",
            ["pause", "sleep"],
            [1],
            "it takes a batch at a time: no request can arrive while",
        ),
        ("sleep:1", "zmq", [], [1], "this commit's rollouts cannot be interrupted"),
        ("sleep:1", "zmq", ["pause"], [1], "this commit's rollouts cannot sleep"),
        (
            "sleep:1",
            "zmq",
            ["pause", "sleep"],
            [],
            "vLLM's sleep mode gives a GPU's memory back, and there is",
        ),
        ("sleep:1", "zmq", ["pause", "sleep"], [1], ""),
        (
            "ipc:keep",
            "zmq",
            ["pause"],
            [],
            "a trainer hands its weights over in a GPU's memory, and there is",
        ),
        ("ipc:keep", "zmq", ["pause"], [1], ""),
    ],
)
def test_an_engine_is_renewed_where_path_commit_and_machine_can(way, path, has, gpus, reason, monkeypatch):
    monkeypatch.setattr(machine, "gpus", lambda: gpus)
    rows = {name: SimpleNamespace(in_process=name == "sync") for name in ("sync", "zmq")}
    door = SimpleNamespace(
        TRANSPORTS=rows, Rollout=SimpleNamespace(**dict.fromkeys(has)), Sampling=lambda: None
    )
    found = refusal(door, path, fixed("nano", [2])[0].asking(interrupt=way)) or ""
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_the_machine_of_a_record_is_as_it_was_before_the_process_was_pinned(monkeypatch):
    cores = iter([16, 1])
    monkeypatch.setattr(machine, "facts", lambda: {"cores": next(cores)})
    asked = {"path": "zmq", "preset": "nano", "tensor_parallel_size": 1, "options": {}, "provenance": {}}
    asked["workloads"] = [vars(load) for load in fixed("nano", [2])]
    record = EngineCases(asked, [].append, None, None).done(ABSENT, "not to be measured")
    assert record.provenance["machine"] == {"cores": 16}


def test_requests_that_arrive_one_by_one_are_timed_and_not_counted_and_too_few_are_not_steady(notes):
    load = fixed("nano", [2])[0].asking(arrival="window:1")
    plain = fixed("nano", [2])[0]
    loads = [plain.asking(interrupt="pause:keep"), load, plain]
    records = measure_cases("nano", ["zmq"], loads, say=print, rollouts=1, repeat_share=0.0)
    older, record, batch = records
    assert (older.status, older.reason) == (ABSENT, "this commit's rollouts cannot be interrupted")
    assert (record.status, batch.status) == (MEASURED, MEASURED), record.reason
    assert "steady state" not in batch.observed["absent"]
    assert tail_table(records).count("zmq") == 1
    assert record.observed["absent"]["wire"].startswith("requests arrive while others run")
    assert record.observed["absent"]["steady state"].startswith("1 requests were sent at steady state")
    assert record.metrics["latency_p99_seconds"][0] < record.metrics["step_seconds"][0]
    assert not {name for name in record.metrics if name.startswith(("steady", "done", "wire_bytes"))}


def test_a_batch_that_cannot_be_at_once_is_refused_unless_the_limit_is_sought(notes):
    """The KV cache of the fake has 1600 tokens, a sequence 48."""
    small, large = measure_cases("nano", ["sync"], fixed("nano", [8, 64]), rollouts=1, say=print)
    assert small.status == MEASURED
    assert large.status == FAILED
    assert large.reason.startswith("a batch of 64 x 48 tokens does not fit the KV cache of 1600 tokens")
    searched = measure_cases(
        "nano", ["sync"], fixed("nano", [64]), rollouts=1, say=print, until_limit_seconds=60.0
    )
    assert searched[0].status == MEASURED
