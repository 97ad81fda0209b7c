"""labels.py and equal_work.py: a run that is not what its label says, or did other work, is no row."""

import copy

import pytest
from rollout_bench.measure.equal_work import check_equal_work
from rollout_bench.measure.labels import ENTRIES, LABELS, check_label
from rollout_bench.schema.record import ABSENT, FAILED, LOCAL, MEASURED, REFERENCE, Record

import rollout_perf
from rollout_perf import TRANSPORTS


def measured(path: str = "zmq", batch: int = 8, entry: str | None = None, **observed) -> Record:
    """A measured record, as its path's label promises."""
    label = LABELS[path]
    worker = {
        "carriers": [label.carrier, "something.else"],
        "ray_actor": label.ray_actor,
        "async_scheduling": not label.baseline,
        "torch_threads": 1,
        "omp_num_threads": "1",
    }
    content = {
        "executor": label.executor.replace(":", "."),
        "workers": [worker, copy.deepcopy(worker)],
        "tokens_generated": 256,
        "vllm": "0.32.0",
        "engine": {"max_model_len": 48, "kv_cache_blocks": 100, "async_scheduling": not label.baseline},
    }
    if label.channel:
        content["channel"] = f"{label.channel} and more"
    return Record(
        path=path,
        entry=entry,
        preset="nano",
        tensor_parallel_size=2,
        workload={"batch": batch, "fingerprint": "f" * 12},
        status=MEASURED,
        metrics={"step_seconds": [1.0, 2.0]},
        observed=content | observed,
        provenance={"commit": "abc"},
    )


class TestLabel:
    """verl's script went on printing two backends months after both names ran the same code."""

    @pytest.mark.parametrize("path", LABELS)
    def test_what_matches_its_label_stays_as_it_is(self, path):
        assert check_label(measured(path)) == measured(path)
        for facts in (
            {"steps_ahead": 1},
            {"steps_ahead": 0, "tokens_generated": 8},
        ):  # of one step nothing is ahead
            assert check_label(measured(path, **facts)).status == MEASURED

    @pytest.mark.parametrize("entry", ENTRIES)
    def test_a_case_behind_an_entry_was_really_reached_by_that(self, entry):
        facts = {"entry_channel": f"{ENTRIES[entry]} and more"} if entry else {}
        assert check_label(measured(entry=entry, **facts)).status == MEASURED
        for other in ({"entry_channel": "pneumatic tube"}, {} if entry else {"entry_channel": "zmq"}):
            record = check_label(measured(entry=entry, **other))
            assert f"carried by {other.get('entry_channel')!r}, not {ENTRIES[entry]}" in record.reason

    def test_every_entry_has_a_label(self):
        assert {name if name != LOCAL else None for name in rollout_perf.ENTRIES} == set(ENTRIES)

    @pytest.mark.parametrize(
        ("path", "observed", "says"),
        [
            ("zmq", {"executor": "vllm.other.Executor"}, "executor is vllm.other.Executor, not rollout_perf"),
            (
                "vllm-mp",
                {"executor": "vllm.v1.executor.uniproc_executor.UniProcExecutor"},
                "executor is vllm.v1.executor.uniproc",
            ),
            ("zmq", {"channel": "ray actor call"}, "channel is 'ray actor call', not zmq"),
            ("zmq", {"channel": None}, "channel is None, not zmq"),
            ("ray", {"channel": "zmq ROUTER/DEALER ipc"}, "not ray actor"),
            ("zmq", {"steps_ahead": 0}, "no step was sent before the answer to the last was there"),
        ],
    )
    def test_another_executor_or_channel_fails(self, path, observed, says):
        record = check_label(measured(path, **observed))
        assert record.status == FAILED
        assert says in record.reason
        assert record.metrics == {}
        assert record.observed == measured(path, **observed).observed

    @pytest.mark.parametrize(
        ("executor", "carrier"),
        [
            ("rollout_perf.transports.executor.TransportExecutor", "rollout_perf.transports.zeromq"),
            ("rollout_perf.engine.adapter.TransportExecutor", "rollout_perf.transports.zeromq.worker"),
        ],
    )
    def test_a_file_may_move_inside_its_package(self, executor, carrier):
        """One harness measures commits of before and after a move."""
        record = measured("zmq", executor=executor)
        for worker in record.observed["workers"]:
            worker["carriers"] = [carrier]
        assert check_label(record).status == MEASURED

    @pytest.mark.parametrize(
        ("executor", "carrier"),
        [
            ("rollout_perf_fork.executor.TransportExecutor", "rollout_perf.transports.zeromq"),
            ("rollout_perf.transports.executor.OtherExecutor", "rollout_perf.transports.zeromq"),
            ("rollout_perf.transports.executor.TransportExecutor", "rollout_perf.transports.zeromq_old"),
        ],
    )
    def test_a_name_that_only_begins_alike_is_another(self, executor, carrier):
        record = measured("zmq", executor=executor)
        for worker in record.observed["workers"]:
            worker["carriers"] = [carrier]
        assert check_label(record).status == FAILED

    @pytest.mark.parametrize("rank", [0, 1])
    def test_a_worker_that_is_called_by_something_else_fails(self, rank):
        record = measured("zmq")
        record.observed["workers"][rank]["carriers"] = ["rollout_perf.transports.ray_actor"]
        checked = check_label(record)
        assert checked.status == FAILED
        assert f"worker {rank} is called by rollout_perf.transports.ray_actor, not" in checked.reason

    @pytest.mark.parametrize(
        ("path", "is_actor", "says"),
        [("zmq", True, "worker 1 is a Ray actor"), ("ray", False, "worker 1 is not a Ray actor")],
    )
    def test_a_worker_that_is_or_is_not_a_ray_actor_fails(self, path, is_actor, says):
        record = measured(path)
        record.observed["workers"][1]["ray_actor"] = is_actor
        checked = check_label(record)
        assert checked.status == FAILED
        assert says in checked.reason

    def test_every_mismatch_is_named(self):
        record = measured("ray", executor="other", channel="other")
        record.observed["workers"][0]["ray_actor"] = False
        assert check_label(record).reason.count(";") == 2

    def test_a_baseline_with_async_scheduling_is_none(self):
        record = measured("verl-zmq")
        assert check_label(record) == record
        record.observed["workers"][1]["async_scheduling"] = True
        assert check_label(record).reason == "not what its label says: worker 1 has async scheduling"

    def test_what_was_not_measured_is_not_judged(self):
        absent = Record("zmq", "nano", 1, {}, ABSENT, "no pyzmq")
        assert check_label(absent) == absent

    def test_the_harness_has_a_label_for_every_path_of_this_commit(self):
        assert set(TRANSPORTS) <= set(LABELS)
        assert REFERENCE in LABELS


class TestEqualWork:
    def test_equal_work_passes(self):
        records = [measured("vllm-mp"), measured("zmq"), measured("ray")]
        assert check_equal_work(records) == records

    def test_a_baseline_differs_in_async_scheduling_and_in_nothing_else(self):
        records = [measured("vllm-mp"), measured("verl-zmq"), measured("verl-ray")]
        assert check_equal_work(records) == records
        records[2].observed["workers"][0]["torch_threads"] = 2
        assert "torch threads [1, 2]" in check_equal_work(records)[2].reason

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"tokens_generated": 255}, "tokens generated 255 against 256"),
            ({"vllm": "0.31.0"}, "vllm '0.31.0' against '0.32.0'"),
            ({"nodes": {"workers": ["right", "left"]}}, "nodes ['left', 'right'] against []"),
            (
                {"engine": {"max_model_len": 64, "kv_cache_blocks": 100, "async_scheduling": True}},
                "max_model_len 64 against 48",
            ),
            ({"engine": {"max_model_len": 48, "kv_cache_blocks": 100}}, "async_scheduling None against True"),
        ],
    )
    def test_other_work_fails_and_names_what_differs(self, change, says):
        reference, other = check_equal_work([measured("vllm-mp"), measured("zmq", **change)])
        assert reference.status == MEASURED
        assert other.status == FAILED
        assert other.reason == f"other work than vllm-mp: {says}"
        assert other.metrics == {}

    @pytest.mark.parametrize(
        ("name", "value", "says"),
        [
            ("torch_threads", 2, "torch threads [1, 2] against [1]"),
            ("omp_num_threads", None, "OMP_NUM_THREADS ['1', 'None'] against ['1']"),
            ("async_scheduling", False, "async scheduling [False, True] against [True]"),
        ],
    )
    def test_one_worker_with_other_threads_or_scheduling_fails(self, name, value, says):
        """Ray sets OMP_NUM_THREADS=1 for an actor without CPUs: 178 ms a step against 21."""
        other = measured("ray")
        other.observed["workers"][1][name] = value
        _reference, checked = check_equal_work([measured("vllm-mp"), other])
        assert checked.reason == f"other work than vllm-mp: {says}"

    def test_another_fingerprint_at_the_same_batch_fails(self):
        other = measured("zmq")
        other.workload["fingerprint"] = "0" * 12
        assert check_equal_work([measured("vllm-mp"), other])[1].status == FAILED

    def test_a_setting_that_only_the_other_has_fails(self):
        """Nothing that one of two runs had and the other had not may pass as equal."""
        other = measured("zmq")
        other.observed["engine"]["quantization"] = "fp8"
        assert check_equal_work([measured("vllm-mp"), other])[1].status == FAILED

    def test_how_much_memory_was_left_may_differ(self):
        other = measured("zmq")
        other.observed["engine"]["kv_cache_blocks"] = 99
        assert check_equal_work([measured("vllm-mp"), other])[1] == other

    def test_the_reference_is_the_standard_wherever_it_stands(self):
        odd = measured("sync", tokens_generated=1)
        records = check_equal_work([odd, measured("zmq"), measured("vllm-mp")])
        assert [record.status for record in records] == [FAILED, MEASURED, MEASURED]
        assert [record.path for record in records] == ["sync", "zmq", "vllm-mp"]

    def test_without_the_reference_the_first_measured_path_stands_in(self):
        absent = Record("vllm-mp", "nano", 2, measured().workload, ABSENT, "not here")
        failed = measured("sync", tokens_generated=3).failed("broken")
        records = check_equal_work([absent, failed, measured("zmq"), measured("ray", tokens_generated=1)])
        assert [record.status for record in records] == [ABSENT, FAILED, MEASURED, FAILED]
        assert "other work than zmq" in records[3].reason

    def test_batches_are_not_compared_with_each_other(self):
        records = [measured("vllm-mp", 1, tokens_generated=32), measured("zmq", 8)]
        assert check_equal_work(records) == records
