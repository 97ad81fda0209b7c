"""What of an interruption is refused, and how vLLM is sent to sleep; test_asynchronous has what is aborted,
test_rollout the real thing, tests/gpu a real sleep."""

import asyncio
from types import SimpleNamespace

import pytest

from rollout_perf import ConfigurationError, Rollout
from rollout_perf.engine.asynchronous import AsyncEngine
from rollout_perf.engine.synchronous import SyncEngine


def test_an_unknown_mode_is_refused():
    rollout = Rollout(None, None, object.__new__(AsyncEngine))
    with pytest.raises(ConfigurationError, match="unknown mode 'nap'; known: abort, wait, keep"):
        asyncio.run(rollout.pause("nap"))


class Told:
    """vLLM's engines, of which each says what it is told: AsyncLLM in coroutines, and LLM."""

    def __init__(self):
        self.told = []

    def sleep(self, level):
        self.told.append(level)

    def wake_up(self, tags):
        self.told.append(tags)


def engine_with(kind, llm, enable_sleep_mode):
    engine = object.__new__(kind)
    engine._llm, engine._run = llm, SimpleNamespace(start_deadline_seconds=60.0)
    engine._config = SimpleNamespace(model_config=SimpleNamespace(enable_sleep_mode=enable_sleep_mode))

    async def done(call, _deadline_seconds=0.0):
        return call() if callable(call) else call

    engine._done = engine._in_thread = done
    return engine


@pytest.mark.parametrize("kind", [AsyncEngine, SyncEngine])
def test_an_engine_sleeps_and_wakes_as_told_where_it_was_started_for_that(kind):
    llm = Told()
    rollout = Rollout(None, None, engine_with(kind, llm, True))

    async def nap():
        await rollout.sleep(2)
        await rollout.wake_up("weights")
        await rollout.wake_up()

    asyncio.run(nap())
    assert llm.told == [2, ["weights"], None]
    for call, says in (
        (lambda: rollout.sleep(3), "unknown level 3; known: 1, 2"),
        (
            lambda: rollout.wake_up("cache"),
            "unknown memory 'cache'; known: weights, kv_cache, or None for both",
        ),
    ):
        with pytest.raises(ConfigurationError, match=says):
            asyncio.run(call())
    awake = Rollout(None, None, engine_with(kind, llm, False))
    for call in (awake.sleep, awake.wake_up):
        with pytest.raises(ConfigurationError, match="cannot sleep; start it with enable_sleep_mode=True"):
            asyncio.run(call())
    assert llm.told == [2, ["weights"], None]
