"""The caller's end of every entry whose engine is in another process, the front.

Requests go out in parts: those of one call of `generate` for which there is room. The front takes
MOST_IN_FLIGHT requests at once; what is more waits with the caller, in order, so that nothing between the two
grows without bound, and nothing is dropped. Knows not what carries a part, or an answer.
"""

import asyncio
import itertools
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from .. import errors
from ..engine import Engine, EngineSpec, Limits, Request, Result, Tokens, Took, is_result
from ..engine.waiting import all_of
from ..errors import EngineError, RolloutError, Stalled
from ..transports.run import Run

MOST_IN_FLIGHT = 16384
"""Requests that a front has at once."""

LIVE, DESCRIBE, CALL_WORKERS, SERVED = "live", "describe", "call_workers", "served"
ABORT, PAUSE, RESUME, LAG = "abort", "pause", "resume", "lag"
SLEEP, WAKE_UP = "sleep", "wake_up"
"""What a front is asked beside requests."""


class _Call:
    """A call of `generate`: its requests, how many have been sent, and how many are unanswered."""

    def __init__(self, requests: list[Request], took: Took):
        self.requests = requests
        self.took = took
        self.sent = 0
        self.unanswered = len(requests)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Part:
    """Requests of a call that were sent together: the place of the first, and how many are unanswered."""

    def __init__(self, call: _Call, first: int, unanswered: int):
        self.call = call
        self.first = first
        self.unanswered = unanswered


class RemoteEngine(Engine):
    """An engine in a front. A subclass starts that, carries parts, and hands over what comes back."""

    direct = False
    """Whether requests pass by AsyncLLM in the front where they can. verl's and vLLM's server's do not."""

    def __init__(self, run: Run):
        self._run = run
        self._room = MOST_IN_FLIGHT
        self._queue: deque[_Call] = deque()
        self._parts: dict[int, _Part] = {}
        self._numbers = itertools.count(1)
        self._failure: RolloutError | None = None
        self._limits: Limits

    async def start(self, spec: EngineSpec) -> None:
        """Start the front and its engine, within a start's deadline; nothing is left of one that fails."""
        try:
            spec = replace(spec, direct=self.direct)
            await asyncio.wait_for(self._start(spec), self._run.start_deadline_seconds)
        except BaseException as error:
            late = self._run.started_late() if isinstance(error, TimeoutError) else None
            self._failure = self._failure or EngineError("the front did not start")
            await self.close()
            if late is not None:
                raise late from None
            raise

    @property
    def limits(self) -> Limits:
        return self._limits

    async def generate(self, requests: list[Request], took: Took) -> None:
        call = _Call(requests, took)
        self._queue.append(call)
        try:
            self._check()
            self._send_what_fits()
            await self._all_of(call.done, self._run.step_deadline_seconds)
        finally:
            if not call.done.done() or call.unanswered:
                self._withdraw(call)

    async def _all_of(self, future: asyncio.Future, deadline_seconds: float) -> None:
        try:
            await all_of([future], deadline_seconds, self._check, lambda: self._ask(LIVE), "the front")
        except Stalled as error:
            self._fail(error)
            raise

    def _check(self) -> None:
        """Raise what has ended the front, or the engine there, if anything has."""
        if self._failure is not None:
            raise self._run.failure() or self._failure

    def _send_what_fits(self) -> None:
        while self._queue and self._room:
            call = self._queue[0]
            part = call.requests[call.sent : call.sent + self._room]
            number = next(self._numbers)
            self._parts[number] = _Part(call, call.sent, len(part))
            call.sent += len(part)
            self._room -= len(part)
            if call.sent == len(call.requests):
                self._queue.popleft()
            if part:
                self._send(number, part)
            else:
                call.done.set_result(None)

    def _withdraw(self, call: _Call) -> None:
        """Have what of a call is at the front aborted; its room is free when the front says so."""
        call.done.cancel()
        if call in self._queue:
            self._queue.remove(call)
        for number in [number for number, part in self._parts.items() if part.call is call]:
            self._cancel(number)

    def _take(self, results: Iterable[tuple[int, int, Result | Tokens]]) -> None:
        """Take results, and tokens of what streams, each with the number of its part and its place there."""
        for number, place, came in results:
            part = self._parts[number]
            call = part.call
            if not is_result(came):
                if not call.done.done():
                    call.took(part.first + place, came)
                continue
            self._room += 1
            part.unanswered -= 1
            if not part.unanswered:
                del self._parts[number]
            if call.done.done():
                continue  # it was cancelled, or has failed
            call.took(part.first + place, came)
            call.unanswered -= 1
            if not call.unanswered:
                call.done.set_result(None)
        self._send_what_fits()

    def _end_part(self, number: int, error: RolloutError) -> None:
        """Take the end of a part that has failed or was cancelled: there will be no more results of it."""
        part = self._parts.pop(number, None)
        if part is None:
            return  # answered when the word to cancel it came
        self._room += part.unanswered
        if not part.call.done.done():
            part.call.done.set_exception(error)
        self._send_what_fits()

    def _fail(self, error: RolloutError) -> None:
        """Note that the front or its connection has ended, and tell whoever waits."""
        self._failure = self._failure or error
        for part in self._parts.values():
            if not part.call.done.done():
                part.call.done.set_exception(self._run.failure() or self._failure)

    async def call_workers(self, method: str, args: tuple) -> list[Any]:
        replies: list[Any] = await self._answer(CALL_WORKERS, method, args)
        return replies

    async def abort(self, share: float) -> int:
        count: int = await self._answer(ABORT, share)
        return count

    async def pause(self, mode: str) -> None:
        await self._answer(PAUSE, mode)

    async def resume(self) -> None:
        await self._answer(RESUME)

    async def sleep(self, level: int) -> None:
        await self._answer(SLEEP, level)

    async def wake_up(self, what: str | None) -> None:
        await self._answer(WAKE_UP, what)

    async def front_lag(self, watched: bool) -> list[float]:
        lag: float = await self._answer(LAG, watched)
        return [lag]

    async def describe(self) -> dict[str, Any]:
        facts: dict[str, Any] = await self._answer(DESCRIBE)
        return facts

    async def _answer(self, *question: Any) -> Any:
        """What the front answers to a question, within the deadline of a start."""
        self._check()
        asked = asyncio.ensure_future(self._ask(*question))
        try:
            await self._all_of(asked, self._run.start_deadline_seconds)
            return asked.result()
        finally:
            asked.cancel()

    @abstractmethod
    async def _start(self, spec: EngineSpec) -> None:
        """Start the front, and return when its engine has started and `_limits` are known."""

    @abstractmethod
    def _send(self, number: int, requests: list[Request]) -> None:
        """Send a part; `_take` or `_end_part` is called in the event loop with what comes of it."""

    @abstractmethod
    def _cancel(self, number: int) -> None:
        """Have a part aborted; `_end_part` follows, or its last result."""

    @abstractmethod
    async def _ask(self, what: str, *args: Any) -> Any:
        """What the front answers; raises what answering raised there."""


def error_of(kind: str, text: str) -> RolloutError:
    """The package's own exception that a front has named."""
    found = getattr(errors, kind, EngineError)
    return found(text) if isinstance(found, type) and issubclass(found, RolloutError) else EngineError(text)
