"""How whoever waits for an engine makes sure meanwhile that it lives and answers."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from ..errors import Stalled

LOOK_SECONDS = 2.0
"""How often it is looked."""


async def all_of(
    awaited: Iterable[asyncio.Future[Any]],
    deadline_seconds: float,
    check: Callable[[], None],
    ask: Callable[[], Coroutine[Any, Any, Any]],
    whom: str,
) -> None:
    """Wait for all or the first failure, and look meanwhile whether the engine lives, and answers in time.

    `check` raises what has ended it; `ask` is a question that it answers at once where it can. Raises Stalled
    where that takes longer than the deadline, with the words for `whom` did not answer.
    """
    waiting = set(awaited)
    asked: asyncio.Task | None = None
    asked_at = 0.0
    try:
        while waiting:
            done, waiting = await asyncio.wait(
                waiting, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_EXCEPTION
            )
            for one in done:
                one.result()
            if not waiting:
                return
            check()
            if asked is not None and asked.done():
                asked.result()
                asked = None
            if asked is None:
                asked, asked_at = asyncio.create_task(ask()), time.monotonic()
            elif time.monotonic() - asked_at > deadline_seconds:
                raise Stalled(f"{whom} has not answered within {deadline_seconds:g} s")
    finally:
        if asked is not None:
            asked.cancel()
