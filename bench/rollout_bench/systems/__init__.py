"""Adapters of other people's rollout systems, see `measure.system`: a file each, and what they share."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def as_they_end(calls: Iterable[Coroutine[Any, Any, T]]) -> AsyncIterator[T]:
    """Make all calls at once, and give what each returns as soon as it does; those left are cancelled."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    finally:
        for task in tasks:
            task.cancel()
