"""The entries `ray`, `ray-group` and `ray-batch`: a front in a Ray actor; a call a sample, as verl has it, a
group, or all of a batch, whose results come as they are done by a streaming generator.

RAY_ADDRESS names the cluster that is joined, see `transports.ray_cluster`. Ray pickles what it carries:
whoever can join the cluster can run code in it.
"""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from ..engine import Engine, EngineSpec, Limits, Request, Result, Tokens, Took
from ..errors import EngineError, RolloutError
from ..transports.base import CLOSE_SECONDS, python_path
from ..transports.ray_places import on_this_host
from ..transports.ray_workers import end_with_raylet, first_line, join_cluster
from ..transports.run import Run
from .front import answer, described
from .remote import MOST_IN_FLIGHT, RemoteEngine, error_of

_OTHER_CALLS = 64
"""Calls beside requests that a front may be in at once."""


class RayFront:
    """The front's end: an engine in an actor. What fails comes back as its kind and its text."""

    def __init__(self) -> None:
        end_with_raylet()
        self._calls: dict[int, set[asyncio.Task]] = {}  # by the number of the part
        self._engine: Engine | None = None

    async def start(self, spec: EngineSpec) -> Limits | tuple[str, str]:
        """Start the engine; what a request may ask of it."""
        try:
            self._engine = await spec.start(Run.from_environment())
            return self._engine.limits
        except Exception as error:
            return described(error)

    async def generate(self, number: int, requests: list[Request]) -> list[Result] | tuple[str, str]:
        """Generate requests of a part; all their results."""
        results: list[Any] = [[]] * len(requests)
        return await self._generate(number, requests, results.__setitem__) or results

    async def stream(
        self, number: int, requests: list[Request]
    ) -> AsyncIterator[list[tuple[int, Result | Tokens]] | tuple[str, str]]:
        """Generate requests of a part; what comes of each by its place, as it comes."""
        came: list[tuple[int, Result | Tokens]] = []
        more = asyncio.Event()

        def took(place: int, one: Result | Tokens) -> None:
            came.append((place, one))
            more.set()

        generating = asyncio.create_task(self._generate(number, requests, took))
        generating.add_done_callback(lambda _task: more.set())
        while came or not generating.done():
            await more.wait()
            more.clear()
            if came:
                some, came[:] = came[:], []
                yield some
        if failed := generating.result():
            yield failed

    async def _generate(self, number: int, requests: list[Request], took: Took) -> tuple[str, str] | None:
        """Generate, until cancelled; why not all was, if so."""
        assert self._engine is not None
        task = asyncio.current_task()
        assert task is not None
        calls = self._calls.setdefault(number, set())
        calls.add(task)
        try:
            await self._engine.generate(requests, took)
            return None
        except asyncio.CancelledError:
            return "RolloutError", "cancelled"
        except Exception as error:
            return described(error)
        finally:
            calls.discard(task)
            if not calls:
                self._calls.pop(number, None)

    async def cancel(self, number: int) -> None:
        """Abort what there is of a part."""
        for task in self._calls.get(number, ()):
            task.cancel()

    async def ask(self, what: str, args: tuple) -> tuple[str, str] | list[Any]:
        """The answer to a question, in a list."""
        assert self._engine is not None
        try:
            return [await answer(self._engine, what, args)]
        except Exception as error:
            return described(error)

    async def live(self) -> None:
        """Return never."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """End the engine."""
        for number in list(self._calls):
            await self.cancel(number)
        if self._engine is not None:
            await self._engine.close()


_Actor: Any = ray.remote(num_cpus=0, max_restarts=0, max_concurrency=MOST_IN_FLIGHT + _OTHER_CALLS)(RayFront)


class Ray(RemoteEngine):
    """An engine in a Ray actor, a call a sample."""

    channel = "ray actor call a sample"
    listens = False
    """Whether results of a call come one by one, also of what does not stream."""

    def __init__(self, run: Run, _endpoint: None = None):
        super().__init__(run)
        self._loop = asyncio.get_running_loop()
        self._joined = False
        self._actor: Any = None
        self._listening: set[asyncio.Task] = set()

    async def _start(self, spec: EngineSpec) -> None:
        self._joined = await asyncio.to_thread(join_cluster)
        variables = {**self._run.variables(), "PYTHONPATH": python_path()}
        variables["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"] = "1"  # the engine picks its GPUs
        variables |= {name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES",) if name in os.environ}
        here = on_this_host()  # where the run's folder is
        self._actor = _Actor.options(runtime_env={"env_vars": variables}, scheduling_strategy=here).remote()
        self._actor.live.remote().future().add_done_callback(self._note_end)
        self._limits = await self._result_of(self._actor.start.remote(spec))

    def _note_end(self, live: Future) -> None:
        """In a thread of Ray's."""
        error = None if live.cancelled() else live.exception()
        if isinstance(error, Exception):
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._fail, _translated(error))

    async def _result_of(self, reference: Any) -> Any:
        try:
            value = await asyncio.wrap_future(reference.future())
        except RayError as error:
            raise _translated(error) from error
        return _checked(value)

    def _send(self, number: int, requests: list[Request]) -> None:
        first = 0
        for unit in self._units(requests):
            if self.listens or any(sampling.stream for *_rest, sampling, _sample in unit):
                self._listening.add(task := asyncio.create_task(self._listen(number, first, unit)))
                task.add_done_callback(self._listening.discard)
            else:
                reference = self._actor.generate.remote(number, unit)
                answered = partial(self._answered, number, first)
                reference.future().add_done_callback(partial(self._loop.call_soon_threadsafe, answered))
            first += len(unit)

    async def _listen(self, number: int, first: int, unit: list[Request]) -> None:
        """Take what comes of one call, by a streaming generator of Ray's."""
        try:
            async for reference in self._actor.stream.remote(number, unit):
                came = _checked(await reference)
                if number not in self._parts:
                    return
                self._take((number, first + place, one) for place, one in came)
        except (RayError, RolloutError) as error:
            self._end_call(number, error)

    def _units(self, requests: list[Request]) -> Iterable[list[Request]]:
        """What is one call each, in order."""
        return ([request] for request in requests)

    def _answered(self, number: int, first: int, call: Future) -> None:
        if number not in self._parts or call.cancelled():
            return
        try:
            results = _checked(call.result())
        except (RayError, RolloutError) as error:
            self._end_call(number, error)
        else:
            self._take((number, first + place, result) for place, result in enumerate(results))

    def _end_call(self, number: int, error: RayError | RolloutError) -> None:
        """End a part of which a call has failed."""
        if isinstance(error, RolloutError):
            self._cancel(number)
        cause = error if isinstance(error, RolloutError) else _translated(error)
        self._end_part(number, self._run.failure() or cause)

    def _cancel(self, number: int) -> None:
        if self._failure is None:
            self._actor.cancel.remote(number)

    async def _ask(self, what: str, *args: Any) -> Any:
        [value] = await self._result_of(self._actor.ask.remote(what, args))
        return value

    async def describe(self) -> dict[str, Any]:
        return await super().describe() | {"entry_channel": self.channel, "ray": ray.__version__}

    async def close(self) -> None:
        if self._actor is not None:
            actor, self._actor = self._actor, None
            if self._failure is None:
                with contextlib.suppress(TimeoutError, EngineError):
                    await asyncio.wait_for(self._result_of(actor.close.remote()), 4 * CLOSE_SECONDS)
            self._fail(EngineError("the rollout was closed"))
            with contextlib.suppress(RayError):
                ray.kill(actor)
        if self._joined:
            await asyncio.to_thread(ray.shutdown)


class RayGroup(Ray):
    """An engine in a Ray actor, a call for the samples of a prompt."""

    channel = "ray actor call a group"

    def _units(self, requests: list[Request]) -> Iterable[list[Request]]:
        return (list(group) for _index, group in itertools.groupby(requests, key=lambda request: request[1]))


class RayBatch(Ray):
    """An engine in a Ray actor, a call for all that is sent together."""

    channel = "ray actor call a batch"
    direct = True
    listens = True

    def _units(self, requests: list[Request]) -> Iterable[list[Request]]:
        return [requests]


def _translated(error: Exception) -> EngineError:
    failed = "the front (a Ray actor) ended" if isinstance(error, RayActorError) else "Ray failed"
    return EngineError(f"{failed}: {first_line(error)}")


def _checked(value: Any) -> Any:
    """What a front has returned. Raises the error that it stands for."""
    if isinstance(value, tuple):
        raise error_of(*value)
    return value
