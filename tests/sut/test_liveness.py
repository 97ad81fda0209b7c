"""Whoever waits for a generation makes sure that the engine lives; many that wait at once do so together."""

import asyncio
from types import SimpleNamespace

import pytest

from rollout_perf.engine.asynchronous import AsyncEngine


def engine(is_sleeping):
    made = object.__new__(AsyncEngine)
    made._llm, made._asked_at = SimpleNamespace(is_sleeping=is_sleeping), -10.0
    return made


def test_of_many_that_wait_at_once_one_asks_for_all():
    asked = []

    async def is_sleeping():
        asked.append(1)
        await asyncio.sleep(0.01)

    async def many():
        waiting = engine(is_sleeping)
        first = asyncio.create_task(waiting._answers())
        await asyncio.sleep(0)
        first.cancel()  # its rollout is over
        await asyncio.gather(*(waiting._answers() for _ in range(50)))

    asyncio.run(many())
    assert len(asked) == 1


def test_an_engine_that_is_dead_is_so_for_all():
    async def is_sleeping():
        raise RuntimeError("the engine is dead")

    async def many():
        waiting = engine(is_sleeping)
        return await asyncio.gather(*(waiting._answers() for _ in range(3)), return_exceptions=True)

    assert [str(error) for error in asyncio.run(many())] == ["the engine is dead"] * 3
    with pytest.raises(RuntimeError):
        asyncio.run(engine(is_sleeping)._answers())
