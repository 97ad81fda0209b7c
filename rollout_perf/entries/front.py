"""The front's end of an entry: an engine, the parts that it generates, and what it is asked.

Knows not what carries a part, or an answer: `give` and `end` are called in the event loop. Results that are
there at the same turn of the loop, such as those of an engine step, are given together.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any

from ..engine import Engine, Request, Result, Tokens
from ..errors import RolloutError
from .lag import LoopLag
from .remote import ABORT, CALL_WORKERS, DESCRIBE, LAG, PAUSE, RESUME, SERVED, SLEEP, WAKE_UP

_lag = LoopLag()

Give = Callable[[list[tuple[int, int, Result | Tokens]]], object]
"""Takes results, and tokens of what streams, each with the number of its part and its place there."""

End = Callable[[int, str, str], object]
"""Takes the end of a part that has failed or was cancelled: its number, kind and text of the error."""


class Front:
    """An engine for whoever is behind an entry."""

    def __init__(self, engine: Engine, give: Give, end: End):
        self.engine = engine
        self._give = give
        self._end = end
        self._parts: dict[int, asyncio.Task] = {}
        self._ready: list[tuple[int, int, Result | Tokens]] = []

    def generate(self, number: int, requests: list[Request]) -> None:
        """Generate a part, in a task."""
        self._parts[number] = asyncio.create_task(self._generate(number, requests))

    async def _generate(self, number: int, requests: list[Request]) -> None:
        def took(place: int, came: Result | Tokens) -> None:
            if not self._ready:
                asyncio.get_running_loop().call_soon(self._give_ready)
            self._ready.append((number, place, came))

        try:
            await self.engine.generate(requests, took)
        except asyncio.CancelledError:
            self._end_part(number, "RolloutError", "cancelled")
        except Exception as error:
            self._end_part(number, *described(error))
        finally:
            del self._parts[number]

    def _end_part(self, number: int, kind: str, text: str) -> None:
        self._give_ready()
        self._end(number, kind, text)

    def _give_ready(self) -> None:
        if self._ready:
            ready, self._ready = self._ready, []
            self._give(ready)

    def cancel(self, number: int) -> None:
        """Abort a part, unless it has ended."""
        if number in self._parts:
            # At the next turn: a task that has not begun would end without a word.
            asyncio.get_running_loop().call_soon(self._parts[number].cancel)

    async def close(self) -> None:
        """Abort all, and end the engine."""
        parts = list(self._parts.values())
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        await self.engine.close()


async def answer(engine: Engine, what: str, args: tuple) -> Any:
    """What is asked of an engine beside requests. Raises what the engine raises."""
    if what == CALL_WORKERS:
        return await engine.call_workers(args[0], tuple(args[1]))
    if what == DESCRIBE:
        return await engine.describe() | {"front_pid": os.getpid()}
    if what == LAG:
        lag = _lag.end()
        if args[0]:
            _lag.begin()
        return lag
    if what == SERVED:
        return engine.served(*args)
    if what in (ABORT, PAUSE, RESUME, SLEEP, WAKE_UP):
        return await getattr(engine, what)(*args)
    return None


def described(error: Exception) -> tuple[str, str]:
    """Kind and text of an error, of which `remote.error_of` makes one."""
    kind = type(error).__name__ if isinstance(error, RolloutError) else "EngineError"
    return kind, str(error) if isinstance(error, RolloutError) else f"{type(error).__name__}: {error}"
