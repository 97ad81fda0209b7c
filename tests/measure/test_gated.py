"""gated.py: counts that are the same each time, with an engine in miniature. Real ones: test_probe_engine.py.

The miniature does what vLLM's engine does with its queue: calls and requests in their order, each call
to its end, and a step with whatever has come until then.
"""

import asyncio
import json
import time
from types import SimpleNamespace

import pytest
from rollout_bench.measure import gated as exact
from rollout_bench.measure.drive import Watch
from rollout_bench.measure.gated import Exact
from rollout_bench.measure.probe import Probe
from rollout_bench.measure.submit import UnequalWork
from rollout_bench.measure.workload import Workload

CALL_BYTES, STEP_BYTES, NEW_BYTES = 7, 10, 100


class Worker(Probe):
    def execute_model(self, scheduler_output):
        pass

    def sample_tokens(self, grammar_output):
        return "tokens"


class Miniature:
    """An engine and its front, with the door's methods. Requests come 10 ms apart; a step takes 5."""

    def __init__(self, seats=8, late_seconds=0.0, counts=True):
        self.worker, self.queue = Worker(), asyncio.Queue()
        self.carried, self.calls = 0, 0
        self.methods: list[str] = []
        self.seats, self.late_seconds, self.counts = seats, late_seconds, counts
        self.waiting: list = []
        self.running: list = []
        self.error: Exception | None = None

    async def describe(self):
        counters = {"sent_bytes": self.carried, "received_bytes": 0, "calls": self.calls}
        return {"counters": counters} if self.counts else {}

    async def call_workers(self, method, *arguments):
        return [await self._put((method, arguments))]

    async def generate(self, prompts, samplings):
        if self.error is not None:
            raise self.error
        tokens = []
        for number, sampling in enumerate(samplings):
            await asyncio.sleep(self.late_seconds if number else 0.01)
            tokens.append(asyncio.ensure_future(self._put(sampling)))
        await asyncio.gather(*tokens)
        return [
            SimpleNamespace(token_ids=[1] * one.result(), first_token_seconds=0.0, latency_seconds=0.0)
            for one in tokens
        ]

    async def _put(self, item):
        answer = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((item, answer))
        return await answer

    async def serve(self):
        while True:
            if not (self.waiting or self.running):
                await self._take(await self.queue.get())
            while not self.queue.empty():
                await self._take(self.queue.get_nowait())
            if self.waiting or self.running:
                await self._step()

    async def _take(self, item):
        what, answer = item
        if isinstance(what, int):
            self.waiting.append([what, 0, answer])
            return
        method, arguments = what
        self.methods.append(method)
        self.calls, self.carried = self.calls + 1, self.carried + CALL_BYTES
        answer.set_result(await asyncio.to_thread(getattr(self.worker, method), *arguments))

    async def _step(self):
        free = self.seats - len(self.running)
        new, self.waiting = self.waiting[:free], self.waiting[free:]
        self.running += new
        requests = [
            SimpleNamespace(req_id=id(one), prompt_token_ids=[1], num_computed_tokens=0) for one in new
        ]
        self.worker.execute_model(
            SimpleNamespace(
                total_num_scheduled_tokens=len(self.running),
                scheduled_new_reqs=requests,
                preempted_req_ids=(),
            )
        )
        self.worker.sample_tokens(None)
        self.calls, self.carried = self.calls + 1, self.carried + STEP_BYTES + NEW_BYTES * len(new)
        await asyncio.sleep(0.005)
        for one in self.running:
            one[1] += 1
            if one[1] == one[0]:
                one[2].set_result(one[1])
        self.running = [one for one in self.running if one[1] < one[0]]


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


THREE = Workload(prompts=3, prompt_tokens=1, output_tokens=4)


def count(miniature, workload=THREE, elsewhere=0):
    """What is counted; and how long that took."""

    async def run():
        facts = await miniature.describe()
        facts["engine"] = {
            "prefix_caching": False,
            "block_size": 16,
            "max_num_seqs": miniature.seats,
            "max_num_batched_tokens": 64,
        }
        engine = asyncio.create_task(miniature.serve())
        try:
            return await exact.count(
                miniature, lambda tokens: tokens, workload, Watch(miniature, facts, [], elsewhere), -2
            )
        finally:
            engine.cancel()

    begin = time.monotonic()
    return asyncio.run(run()), time.monotonic() - begin


def test_requests_that_come_one_by_one_are_in_the_first_engine_step_together():
    """Four steps of 10 bytes, three requests of 100 in the first; the calls that hold it do not count."""
    counted, seconds = count(Miniature(late_seconds=0.01))
    assert counted == Exact({"engine_steps": 4, "wire_bytes": 4 * 10 + 3 * 100, "wire_calls": 4})
    assert counted.metrics == {"wire_bytes": [85.0], "wire_calls": [1.0]}
    assert seconds < 10


def test_workers_of_another_host_cannot_be_held_and_their_memory_is_unknown():
    """Nor would the folder by which they are held be there."""
    miniature = Miniature(late_seconds=0.0)
    miniature.worker.probe_hold = None
    counted, _seconds = count(miniature, elsewhere=1)
    assert counted.metrics == {}
    assert counted.absent.startswith("a worker is on another host")
    assert "host memory" in Watch(miniature, {"engine": {}}, [], elsewhere=1).absent


def test_a_rollout_without_a_gated_start_has_no_exact_metrics_and_a_reason():
    """The others come when the engine has long gone on: what the front waits for is not to be seen."""
    counted, _seconds = count(Miniature(late_seconds=0.7), Workload(3, prompt_tokens=1, output_tokens=500))
    assert counted.metrics == {}
    assert counted.absent.startswith("1 of 3 requests were there at the first engine step")


def test_who_finds_no_seat_in_the_first_engine_step_may_wait():
    """Two go on for four steps, then the third."""
    counted, _seconds = count(Miniature(seats=2, late_seconds=0.01))
    assert counted.totals == {"engine_steps": 8, "wire_bytes": 8 * 10 + 3 * 100, "wire_calls": 8}


def test_a_path_that_counts_nothing_is_not_held():
    miniature = Miniature(counts=False)
    assert count(miniature)[0] == Exact()
    assert miniature.methods == ["probe_begin"]


@pytest.mark.parametrize("error", [UnequalWork("too few"), RuntimeError("the engine is dead")])
def test_an_error_is_passed_on_and_the_engine_let_go(error):
    miniature = Miniature()
    miniature.error = error
    begin = time.monotonic()
    with pytest.raises(type(error), match=str(error)):
        count(miniature)
    assert time.monotonic() - begin < 5


def test_a_hold_ends_by_itself(tmp_path):
    begin = time.monotonic()
    assert json.loads(Worker().probe_hold(str(tmp_path), 0.1)) == {}
    assert 0.1 <= time.monotonic() - begin < 2
