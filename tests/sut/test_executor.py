"""The executor and the worker behind it, over threads: what vLLM asks for, and what it gets.

vLLM's scheduler and model are no part of it: a fake worker stands behind `VllmHost`. That engines really run
so, over every path, is in test_rollout.py.
"""

import threading
from dataclasses import dataclass
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
from contract import IN_PROCESS

from rollout_perf import ConfigurationError, Stalled, WorkerError
from rollout_perf.transports import TRANSPORTS, worker
from rollout_perf.transports.run import Run

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed"),
]

WORKERS = 2


@dataclass
class Schedule:
    """As much of vLLM's as the executor looks at."""

    number: int
    total_num_scheduled_tokens: int = 1
    fails_on: int | None = None
    """The rank whose worker raises when it runs the model."""


class Output:
    """What a worker computes, still on the GPU until it is waited for."""

    def __init__(self, value: Any, order: list):
        self._value = value
        self._order = order

    def get_output(self) -> Any:
        self._order.append(("fetched", self._value))
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


class FakeWorker:
    """vLLM's worker as far as the host calls it; it samples what was scheduled."""

    def __init__(self, rank: int):
        self.rank = rank
        self.order: list = []
        self.worker = SimpleNamespace(device=f"device {rank}")
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self._scheduled: Any = None

    def execute_model(self, schedule: Any) -> Any:
        assert self.may_go_on.wait(10)
        if schedule.fails_on == self.rank:
            raise ValueError(f"no step {schedule.number}")
        self.order.append(("ran", schedule.number))
        self._scheduled = schedule
        return None if schedule.total_num_scheduled_tokens else "nothing to sample"

    def sample_tokens(self, grammar: Any) -> Output:
        return Output((self._scheduled.number, grammar, self.rank), self.order)

    def rank_and(self, *arguments: Any, **options: Any) -> tuple:
        return self.rank, arguments, options

    def raises(self) -> None:
        raise ValueError("on request")


@pytest.fixture
def workers(monkeypatch):
    """The fake workers that hosts build, by rank, and the devices that threads of theirs were set to."""
    made = SimpleNamespace(by_rank={}, devices=set())

    def build(rank: int, _setup: dict) -> tuple:
        made.by_rank[rank] = FakeWorker(rank)
        return made.by_rank[rank], made.devices.add

    monkeypatch.setattr(worker, "_build_worker", build)
    monkeypatch.setattr(worker.VllmHost, "close", lambda _host: None)
    yield made
    for one in made.by_rank.values():
        one.may_go_on.set()


@pytest.fixture
def run(monkeypatch):
    """A run over threads, in which this process finds itself."""
    monkeypatch.setitem(TRANSPORTS, "in-process", IN_PROCESS)
    made = Run.create("in-process", start_deadline_seconds=10.0, step_deadline_seconds=0.5)
    monkeypatch.setenv("ROLLOUT_PERF_RUN", str(made.folder))
    yield made
    made.end(0.0)


@pytest.fixture
def build(workers, run):
    """Builds an executor of the kind that vLLM would, with two workers."""
    built = []

    def build(kind: str, tensor_parallel_size: int = WORKERS) -> Any:
        from rollout_perf.transports import blocking, executor

        names = ("cache", "lora", "load", "scheduler", "device", "speculative", "observability")
        config = SimpleNamespace(
            model_config=SimpleNamespace(runner_type="generate"),
            parallel_config=SimpleNamespace(
                world_size=WORKERS,
                tensor_parallel_size=tensor_parallel_size,
                pipeline_parallel_size=WORKERS // tensor_parallel_size,
            ),
            **{f"{name}_config": None for name in names},
        )
        kinds = {"overlapped": executor.TransportExecutor, "blocking": blocking.BlockingExecutor}
        built.append(kinds[kind](config))
        return built[-1]

    yield build
    for one in built:
        one.shutdown()


@pytest.fixture
def executor(build):
    return build("overlapped")


def step(executor: Any, number: int, **settings: Any) -> Any:
    """Ask for a step as vLLM does; the future of its output."""
    assert executor.execute_model(Schedule(number, **settings), non_block=True).result() is None
    return executor.sample_tokens(f"grammar {number}", non_block=True)


def test_a_step_is_one_call_to_every_worker_and_one_reply_of_the_output_rank(executor):
    before = executor.facts()["counters"]
    assert step(executor, 1).result() == (1, "grammar 1", 0)
    after = executor.facts()["counters"]
    assert after["calls"] - before["calls"] == WORKERS
    assert after["replies"] - before["replies"] == 1


def test_what_was_scheduled_reaches_every_worker_in_order_and_outputs_come_back_in_order(executor, workers):
    """Two steps are in flight under async scheduling; what travels are changes of the one before."""
    futures = [step(executor, number) for number in range(20)]
    assert [future.result() for future in futures] == [(n, f"grammar {n}", 0) for n in range(20)]
    executor.collective_rpc("rank_and")  # whoever is not asked to reply may still be at work
    for one in workers.by_rank.values():
        assert [number for event, number in one.order if event == "ran"] == list(range(20))


def test_the_next_step_is_sent_while_the_last_one_computes(executor, workers):
    workers.by_rank[0].may_go_on.clear()
    first, second = step(executor, 1), step(executor, 2)
    assert not first.done()
    workers.by_rank[0].may_go_on.set()
    assert [second.result()[0], first.result()[0]] == [2, 1]
    step(executor, 3).result()
    assert executor.facts()["counters"]["steps_ahead"] == 1


@pytest.mark.parametrize(("on", "steps"), [(True, 2), (False, 1)])
def test_before_0_23_vllm_asks_the_executor_how_many_steps_may_be_under_way(executor, on, steps):
    """Its own executors say 2 with async scheduling; the class that they are of says 1: none is ahead."""
    executor.scheduler_config = SimpleNamespace(async_scheduling=on)
    assert executor.max_concurrent_batches == steps


def test_an_output_on_the_gpu_is_waited_for_on_its_worker_s_device_by_the_rank_that_replies(
    executor, workers
):
    step(executor, 1).result()
    assert workers.devices == {"device 0"}


def test_a_step_with_nothing_to_sample_is_sent_at_once(executor):
    reply = executor.execute_model(Schedule(1, total_num_scheduled_tokens=0), non_block=True)
    assert reply.result() == "nothing to sample"


def test_a_collective_call_is_answered_by_all_in_rank_order(executor):
    replies = executor.collective_rpc("rank_and", args=(7,), kwargs={"key": "value"})
    assert replies == [(0, (7,), {"key": "value"}), (1, (7,), {"key": "value"})]
    assert executor.collective_rpc(lambda worker: worker.rank) == [0, 1]


def test_what_a_method_raises_is_that_call_s_error_and_the_next_one_works(executor, run):
    with pytest.raises(WorkerError, match=r"worker [01]: ValueError: on request"):
        executor.collective_rpc("raises")
    assert executor.collective_rpc("rank_and")[1][0] == 1
    assert step(executor, 1).result()[0] == 1
    assert "on request" in str(run.failure())


def test_a_step_that_fails_leaves_its_cause_for_the_process_that_opened_the_run(executor, run):
    with pytest.raises(WorkerError, match="worker 0: ValueError: no step 1"):
        step(executor, 1, fails_on=0).result()
    assert isinstance(run.failure(), WorkerError)


def test_a_rank_that_fails_in_silence_fails_the_engine(executor, run):
    """It was not asked to reply; the ranks of a tensor-parallel group wait for each other."""
    failed = threading.Event()
    executor.register_failure_callback(failed.set)
    step(executor, 1, fails_on=1)
    assert failed.wait(5)
    with pytest.raises(WorkerError, match="worker 1: ValueError: no step 1"):
        executor.check_health()
    assert "no step 1" in str(run.failure())


def test_a_step_that_takes_too_long_has_stalled_within_the_run_s_deadline(executor, run, workers):
    workers.by_rank[0].may_go_on.clear()
    with pytest.raises(Stalled, match=r"worker 0 within 0\.5 s"):
        step(executor, 1).result()
    assert isinstance(run.failure(), Stalled)


def test_the_blocking_executor_asks_twice_and_has_a_reply_of_every_rank(build):
    """A baseline: two calls a step, each answered by all, an output on the GPU waited for in either."""
    executor = build("blocking")
    before = executor.facts()["counters"]
    assert executor.execute_model(Schedule(1)) is None
    assert executor.sample_tokens("grammar", non_block=True).result() == (1, "grammar", 0)
    after = executor.facts()["counters"]
    assert after["calls"] - before["calls"] == after["replies"] - before["replies"] == 2 * WORKERS


def test_only_ours_takes_async_scheduling():
    """One that says nothing of it loses async scheduling on a GPU in silence."""
    from rollout_perf.transports.blocking import BlockingExecutor
    from rollout_perf.transports.executor import TransportExecutor

    assert TransportExecutor.supports_async_scheduling()
    assert not BlockingExecutor.supports_async_scheduling()


@pytest.mark.parametrize("path", TRANSPORTS)
def test_vllm_is_told_which_paths_have_stages(path):
    """It asks the class; one that it has by name has none, it says."""
    row = TRANSPORTS[path]
    backend = row.executor()
    assert row.has_stages == (backend in ("mp", "ray") or getattr(backend, "supports_pp", False))


def test_of_pipeline_stages_the_last_answers_and_as_many_steps_may_be_under_way(build):
    executor = build("overlapped", tensor_parallel_size=1)
    assert step(executor, 1).result() == (1, "grammar 1", WORKERS - 1)
    assert executor.max_concurrent_batches == WORKERS


def test_other_parallelism_is_refused(build):
    from rollout_perf.transports.executor import TransportExecutor

    executor = build("overlapped")
    executor.vllm_config.parallel_config.world_size = 2 * WORKERS  # as with context parallelism
    with pytest.raises(ConfigurationError, match="tensor and pipeline parallelism alone"):
        TransportExecutor(executor.vllm_config)
