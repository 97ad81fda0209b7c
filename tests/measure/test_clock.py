"""clock.py and the probe's steps: a GPU's time, with a fake GPU that has a stream and a clock.

The fake keeps what matters of CUDA: an event takes its time when the stream reaches it, and the
stream is behind what has been launched.
"""

import gzip
import json
import time
from types import SimpleNamespace

import pytest
from rollout_bench.measure import probe, worker_facts
from rollout_bench.measure.clock import GpuClock, HostClock


class FakeGpu:
    """torch.cuda with one stream. `now` is the host's time, `free_at` the stream's, in milliseconds."""

    def __init__(self):
        self.now = self.free_at = 0.0
        self.synchronized = self.looked_up = 0
        self.events = 0
        gpu = self

        class Event:
            def __init__(self, enable_timing=False):
                assert enable_timing, "an event without timing has no time"
                gpu.events += 1

            def record(self, stream):
                assert stream is gpu, "an event on another stream says nothing of the step"
                self.time = max(gpu.now, gpu.free_at)

            def synchronize(self):
                gpu.synchronized += 1

            def elapsed_time(self, end):
                return end.time - self.time

        class CUDAGraph:
            def replay(self):
                gpu.launch(10.0)

        self.Event, self.CUDAGraph = Event, CUDAGraph

    def current_stream(self):
        self.looked_up += 1
        return self

    def launch(self, milliseconds):
        """A kernel, which begins when the stream is free."""
        self.free_at = max(self.now, self.free_at) + milliseconds


class FakeModel:
    """A module whose forward pass launches a kernel, and which runs hooks before it."""

    def __init__(self, gpu):
        self.gpu, self.hooks = gpu, []

    def register_forward_pre_hook(self, hook):
        self.hooks.append(hook)
        return SimpleNamespace(remove=lambda: self.hooks.remove(hook))

    def __call__(self):
        for hook in self.hooks:
            hook(self, ())
        self.gpu.launch(10.0)


@pytest.fixture
def gpu():
    return FakeGpu()


@pytest.fixture
def clock(gpu):
    clock = GpuClock(gpu, FakeModel(gpu))
    clock.attach()
    return clock


def step(gpu, clock, launch, prepare=3.0, sample=2.0):
    """An engine step: the host prepares, the forward pass is launched, then sampling."""
    clock.open()
    gpu.now += prepare
    launch()
    gpu.launch(sample)
    clock.close()


@pytest.mark.parametrize("how", ["model", "graph"])
def test_the_gpu_is_busy_from_the_forward_pass_to_the_end_of_sampling(gpu, clock, how):
    """Not while the host prepares, although the step is under way: 10 ms and 2 ms, without the 3."""
    launch = clock._model if how == "model" else gpu.CUDAGraph().replay
    step(gpu, clock, launch)
    assert clock.read() == (pytest.approx(0.012), None)


def test_steps_that_follow_closely_are_not_counted_twice(gpu, clock):
    """The host runs ahead: the second step is launched while the GPU has 12 ms to go with the first."""
    for _ in range(2):
        step(gpu, clock, clock._model, prepare=0.0)
    assert clock.read() == (pytest.approx(0.024), None)


def test_of_several_graphs_of_a_step_the_first_is_its_beginning(gpu, clock):
    def layers():
        for _ in range(3):
            gpu.CUDAGraph().replay()

    step(gpu, clock, layers)
    assert clock.read() == (pytest.approx(0.032), None)


def test_what_is_launched_between_steps_does_not_count(gpu, clock):
    clock._model()
    gpu.CUDAGraph().replay()
    clock.close()
    assert clock.read() == (0.0, None)


def test_a_step_that_was_not_seen_to_begin_leaves_no_time_but_a_reason(gpu, clock):
    """As with a vLLM that runs its forward pass in a way of its own."""
    step(gpu, clock, clock._model)
    step(gpu, clock, lambda: gpu.launch(10.0))
    assert clock.read() == (None, "the forward pass of 1 engine steps was not seen to begin")
    step(gpu, clock, clock._model)
    assert clock.read() == (pytest.approx(0.012), None)


def test_events_without_a_time_leave_a_reason(gpu, clock, monkeypatch):
    def no_time(self, end):
        raise RuntimeError("device not ready")

    monkeypatch.setattr(gpu.Event, "elapsed_time", no_time)
    step(gpu, clock, clock._model)
    assert clock.read() == (None, "the GPU's events have no time: device not ready")


def test_nothing_waits_for_the_gpu_before_the_rollout_is_over(gpu, clock):
    for _ in range(5):
        step(gpu, clock, clock._model)
    assert gpu.synchronized == 0
    clock.read()
    assert gpu.synchronized == 1


def test_events_are_used_again_and_the_stream_is_looked_up_once_a_step(gpu, clock):
    for _ in range(3):
        step(gpu, clock, clock._model)
        clock.read()
    assert gpu.events == 2
    assert gpu.looked_up == 3


@pytest.mark.gpu
@pytest.mark.parametrize("how", ["model", "graph"])
def test_a_real_gpu_is_busy_while_it_runs_and_not_while_the_host_prepares(how):
    """Three steps: the host takes 50 ms to prepare each, the GPU 10 to 30 ms to run it."""
    import torch

    class Busy(torch.nn.Module):
        def forward(self):
            torch.cuda._sleep(30_000_000)  # cycles of 1 to 2 GHz

    model, graph = Busy(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        model()
    clock = GpuClock(torch.cuda, model)
    clock.attach()
    begin = time.perf_counter()
    for _ in range(3):
        clock.open()
        time.sleep(0.05)
        (model if how == "model" else graph.replay)()
        clock.close()
    busy_seconds, reason = clock.read()
    clock.detach()
    assert reason is None
    assert 0.03 < busy_seconds < time.perf_counter() - begin - 0.05


def test_a_clock_that_is_detached_leaves_nothing_behind(gpu):
    model, replay = FakeModel(gpu), gpu.CUDAGraph.replay
    clock = GpuClock(gpu, model)
    for _ in range(2):
        clock.attach()
        assert gpu.CUDAGraph.replay is not replay
        clock.detach()
        assert (model.hooks, gpu.CUDAGraph.replay) == ([], replay)


def test_without_a_gpu_the_time_of_the_calls_counts(monkeypatch):
    times = iter([1.0, 1.5, 10.0, 10.25])
    monkeypatch.setattr("rollout_bench.measure.clock.time.perf_counter", lambda: next(times))
    clock = HostClock()
    for _ in range(2):
        clock.open()
        clock.close()
        clock.close()  # a step without anything to sample is closed where it was executed
    assert clock.read() == (0.75, None)
    assert clock.read() == (0.0, None)


class Worker(probe.Probe):
    """What the probe needs of vLLM's worker: two calls for each step."""

    def __init__(self):
        self.calls = []

    def execute_model(self, scheduler_output):
        self.calls.append("execute")

    def sample_tokens(self, grammar_output):
        self.calls.append("sample")
        return "tokens"


def scheduled(tokens, new=(), preempted=frozenset()):
    requests = [
        SimpleNamespace(req_id=name, prompt_token_ids=[1] * length, num_computed_tokens=cached)
        for name, length, cached in new
    ]
    return SimpleNamespace(
        total_num_scheduled_tokens=tokens, scheduled_new_reqs=requests, preempted_req_ids=preempted
    )


def test_the_probe_counts_steps_prompts_hits_and_preemptions():
    worker = Worker()
    worker.probe_begin()
    for output in (
        scheduled(20, new=[("a", 10, 0), ("b", 10, 6)]),
        scheduled(2),
        scheduled(0),  # nothing to do: no engine step
        scheduled(1, preempted={"b"}),
        scheduled(9, new=[("b", 10, 8)]),  # comes back as a new one, and is none
    ):
        worker.execute_model(output)
        assert worker.sample_tokens(None) == "tokens"
    counted = json.loads(worker.probe_end())
    assert worker.calls == ["execute", "sample"] * 5
    assert counted["engine_steps"] == 4
    assert (counted["prompt_tokens"], counted["cached_tokens"], counted["preemptions"]) == (20, 6, 1)
    assert counted["worker_busy_seconds"] > 0
    assert counted["gpu_busy_seconds"] is counted["gpu_peak_bytes"] is counted["untimed"] is None


def test_a_scheduler_that_does_not_report_preemptions_has_no_count_of_them():
    worker = Worker()
    worker.probe_begin()
    worker.execute_model(scheduled(1, preempted=None))
    assert json.loads(worker.probe_end())["preemptions"] is None


def test_the_probe_can_be_taken_out_and_put_back():
    worker = Worker()
    worker.probe_begin()
    worker.probe_remove()
    worker.probe_remove()
    worker.execute_model(scheduled(1))
    assert worker.execute_model.__func__ is Worker.execute_model
    worker.probe_begin()
    worker.execute_model(scheduled(1))
    assert json.loads(worker.probe_end())["engine_steps"] == 1


def test_a_gpu_whose_model_cannot_be_had_is_not_timed_and_the_probe_says_why(gpu):
    """vLLM's insides differ by version; the rollout must not fail for it."""
    clock = Worker()._probe_new_clock(gpu)
    clock.attach()
    step(gpu, clock, lambda: None)
    assert clock.read() == (
        None,
        "the GPU cannot be timed: AttributeError: 'Worker' object has no attribute 'get_model'",
    )


def test_what_the_probe_itself_costs_is_measured_and_counts_for_nothing():
    worker = Worker()
    worker.probe_begin()
    assert 0 < json.loads(worker.probe_cost()) < 1e-3
    assert worker.calls == []
    worker.probe_begin()
    worker.execute_model(scheduled(1))
    assert worker.calls == ["execute"]


def test_a_trace_of_a_few_steps_is_written(tmp_path):
    worker = Worker()
    worker.rank = 3
    worker.probe_begin()
    worker.probe_profile_begin(2, 2)
    for _ in range(5):
        worker.execute_model(scheduled(1))
    found = json.loads(worker.probe_profile_end(str(tmp_path / "zmq-nano")))
    assert found == {"trace": f"{tmp_path}/zmq-nano-rank3.json.gz"}
    with gzip.open(found["trace"]) as file:
        assert "traceEvents" in json.load(file)
    worker.probe_profile_begin(10, 2)
    assert json.loads(worker.probe_profile_end("nowhere")) == {
        "untraced": "the rollout ended before engine step 15"
    }


def test_the_bandwidth_of_this_machine_is_possible():
    torch = pytest.importorskip("torch")
    assert 1e8 < worker_facts.bandwidth(torch.device("cpu")) < 1e13


def test_counting_begins_anew():
    worker = Worker()
    worker.probe_begin()
    worker.execute_model(scheduled(3, new=[("a", 3, 0)]))
    worker.probe_begin()
    counted = json.loads(worker.probe_end())
    assert (counted["engine_steps"], counted["prompt_tokens"]) == (0, 0)
