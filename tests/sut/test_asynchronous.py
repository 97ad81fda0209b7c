"""The asynchronous engine over a fake AsyncLLM: results are taken where vLLM puts them, without tasks."""

import asyncio
from types import SimpleNamespace

import pytest

from rollout_perf import EngineError, Sampling
from rollout_perf.engine.asynchronous import AsyncEngine

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

    async def is_sleeping(self):
        return False


def final(name):
    return SimpleNamespace(finished=True, name=name)


def engine(llm) -> AsyncEngine:
    made = AsyncEngine.__new__(AsyncEngine)
    made._llm, made._processes = llm, []
    made._run = SimpleNamespace(step_deadline_seconds=60.0, failure=lambda: None)
    made._sampling = lambda *_: None
    made._results = lambda index, output: [(index, output.name)]
    return made


async def generate(llm, then) -> dict:
    took: dict = {}
    generating = asyncio.create_task(engine(llm).generate(REQUESTS, took.__setitem__))
    await asyncio.sleep(0.01)
    then(generating)
    await generating
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
