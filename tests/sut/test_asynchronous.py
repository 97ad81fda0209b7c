"""The asynchronous engine over a fake AsyncLLM: results are taken where vLLM puts them, without tasks."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from rollout_perf import EngineError, Sampling
from rollout_perf.engine.asynchronous import AsyncEngine
from rollout_perf.engine.server import _PREFIX, _Client

REQUESTS = [(f"r{index}", index, [index], Sampling(1), 0) for index in range(3)]


class Collector:
    """vLLM's: keeps an output until it is asked for."""

    output = None

    def put(self, output):
        self.output = output


class Llm:
    """Answers request `early` before it has been added, and the others when told to."""

    errored = False

    def __init__(self, early: str = "", fails: str = ""):
        self.early, self.fails = early, fails
        self.collectors: dict[str, Collector] = {}
        self.aborted: list[str] = []

    async def add_request(self, name, prompt, _sampling):
        assert prompt == {"type": "token", "prompt_token_ids": [int(name[1:])]}
        if name == self.fails:
            raise ValueError(f"{name} is refused")
        collector = self.collectors[name] = Collector()
        if name == self.early:
            collector.put(final(name))
        await asyncio.sleep(0)
        return collector

    async def abort(self, names):
        self.aborted += names
        for name in names:
            if name in self.collectors:
                self.collectors[name].put(final(name))

    async def is_sleeping(self):
        return False


def final(name):
    return SimpleNamespace(finished=True, name=name)


def engine(llm) -> AsyncEngine:
    made = AsyncEngine.__new__(AsyncEngine)
    made._llm, made._processes, made._under_way = llm, [], {}
    made._run = SimpleNamespace(step_deadline_seconds=60.0, failure=lambda: None)
    made._sampling = lambda *_: None
    made._results = lambda index, output, _arrived_at: [(index, output.name)]
    return made


async def submitted() -> None:
    """Return when all requests are: after turns of the loop; a loaded host may have none within a time."""
    for _ in range(50):
        await asyncio.sleep(0)


async def generate(llm, then) -> dict:
    took: dict = {}
    under = engine(llm)
    generating = asyncio.create_task(under.generate(REQUESTS, took.__setitem__))
    await submitted()
    then(generating)
    try:
        await generating
    finally:
        assert under._under_way == {}
    return took


def test_results_are_taken_where_they_are_put_also_one_that_was_there_before():
    llm = Llm(early="r1")

    def answer(_generating):
        for name in ("r2", "r0"):
            llm.collectors[name].put(final(name))

    took = asyncio.run(generate(llm, answer))
    assert list(took.items()) == [(1, [(1, "r1")]), (2, [(2, "r2")]), (0, [(0, "r0")])]
    assert llm.aborted == []


@pytest.mark.parametrize("fails", ["", "r1"])
def test_the_first_error_aborts_the_others(fails):
    llm = Llm(fails=fails)
    with pytest.raises((EngineError, ValueError), match="r1 is refused" if fails else "no luck"):
        asyncio.run(generate(llm, lambda _: llm.collectors["r0"].put(EngineError("no luck"))))
    assert {"r2"} <= set(llm.aborted) <= {"r0", "r1", "r2"}


def test_what_is_cancelled_is_aborted_and_what_was_answered_is_not():
    llm = Llm(early="r0")
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(generate(llm, lambda generating: generating.cancel()))
    assert sorted(llm.aborted) == ["r1", "r2"]


@pytest.mark.parametrize(
    ("share", "aborted"), [(1.0, ["r0", "r2", "r3", "r4"]), (0.5, ["r2", "r4"]), (0.25, ["r4"]), (0.2, [])]
)
def test_a_share_of_what_is_under_way_is_aborted_evenly_spread_and_comes_to_the_caller(share, aborted):
    llm, took = Llm(early="r1"), {}

    async def interrupt():
        under = engine(llm)
        asked = [(f"r{index}", index, [index], Sampling(1), 0) for index in range(5)]
        generating = asyncio.create_task(under.generate(asked, took.__setitem__))
        await submitted()
        assert await under.abort(share) == len(aborted)
        assert [result[0][1] for result in took.values()] == ["r1", *aborted]
        generating.cancel()
        await asyncio.gather(generating, return_exceptions=True)

    asyncio.run(interrupt())


class Delta(SimpleNamespace):
    """An output of vLLM's with what is new alone, and vLLM's way to put two together."""

    def __init__(self, *token_ids, finished=False):
        super().__init__(finished=finished, metrics=token_ids, outputs=[])
        if token_ids:
            self.outputs.append(SimpleNamespace(index=0, token_ids=list(token_ids)))

    def add(self, new, aggregate):
        assert aggregate
        self.finished = new.finished
        self.outputs[0].token_ids += new.outputs[0].token_ids


@pytest.mark.parametrize("kind", ["FINAL_ONLY", "DELTA"])
def test_what_the_server_generates_is_under_way_until_it_is_done_and_kept_whole(kind):
    under_way, finals = {}, {}
    outputs = {"FINAL_ONLY": [Delta(1, 2, finished=True)], "DELTA": [Delta(1), Delta(2, finished=True)]}[kind]
    sampling = SimpleNamespace(output_kind=SimpleNamespace(name=kind))

    class Serves:
        async def generate(self, _prompt, _sampling, name):
            assert list(under_way) == [name]
            for one in outputs:
                yield one

    async def serve():
        client = _Client(Serves(), finals.__setitem__, under_way)
        return [one async for one in client.generate(0, sampling, f"{_PREFIX}r7")]

    begin = time.monotonic()
    assert asyncio.run(serve()) == outputs
    assert (list(finals), under_way) == (["r7"], {})
    whole, arrived_at = finals["r7"]
    assert whole.outputs[0].token_ids == [1, 2]
    assert whole.metrics == outputs[-1].metrics
    assert begin <= arrived_at <= time.monotonic()


def test_what_streams_gives_its_tokens_as_they_come_and_then_all_of_it():
    llm, took = Llm(), []

    async def stream():
        under = engine(llm)
        under._results = lambda index, output, _arrived_at: [(index, output.outputs[0].token_ids)]
        asked = [("r0", 0, [0], Sampling(3, stream=True), 0)]
        generating = asyncio.create_task(under.generate(asked, lambda *one: took.append(one)))
        await submitted()
        for one in (Delta(5), Delta(6, 7), Delta(8, finished=True)):
            llm.collectors["r0"].put(one)
        await generating

    asyncio.run(stream())
    assert took == [(0, [[0, 5]]), (0, [[0, 6, 7]]), (0, [[0, 8]]), (0, [(0, [5, 6, 7, 8])])]


def test_what_is_aborted_before_its_first_token_is_done_when_it_is_taken():
    """vLLM has no times of it, and 0.0 in their place."""
    none = SimpleNamespace(
        scheduled_ts=0.0, queued_ts=0.0, first_token_latency=0.0, first_token_ts=0.0, last_token_ts=0.0
    )
    completion = SimpleNamespace(token_ids=[], finish_reason="abort", text="", logprobs=None)
    begin = time.monotonic()
    [result] = AsyncEngine._results(
        0, SimpleNamespace(metrics=none, outputs=[completion], prompt_logprobs=None), begin
    )
    assert begin <= result["queued_at"] <= result["done_at"] <= time.monotonic()
    assert (result["queue_seconds"], result["latency_seconds"]) == (0.0, 0.0)
