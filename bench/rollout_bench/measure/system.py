"""Other people's rollout systems: an adapter starts one, has it generate, says what it is, and stops it.

    --system my_adapter:start

names an async function. It is called with Settings and returns a System. docs/your-system.md shows how to
write one; those in rollout_bench/systems are examples that run. What comes of a system is held against what
was asked, request by request, and each request is known by its id.
"""

import asyncio
import importlib
import itertools
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import BenchError
from .submit import UnequalWork

_CHECKED = 8
"""Requests of a check before the first rollout."""

_PARTS = ("generate", "describe", "stop")
_WANTED = (
    "give MODULE:FUNCTION, an async function that gives something with generate, describe and stop "
    "(docs/your-system.md)"
)


class NoSystem(BenchError):
    """There is no such adapter here; the message says in a line what is wanted."""


@dataclass(frozen=True)
class Request:
    """What one answer is asked for with: sampled at temperature 1, of exactly `max_tokens` tokens."""

    id: str
    prompt: list[int]
    max_tokens: int


@dataclass(frozen=True)
class Settings:
    """What a system is to be started with, so that it does the same work as the others of its session."""

    model: str
    """The model's folder; it may hold a config.json alone, see `engine_arguments`."""
    tensor_parallel_size: int
    engine_arguments: dict[str, Any]
    """Of vLLM, by their names in Python; `load_format` and `skip_tokenizer_init` among them where the model
    has no weights, or no tokenizer."""
    start_deadline_seconds: float


class System(Protocol):
    """A system that is up."""

    def generate(self, requests: list[Request], /) -> AsyncIterator[tuple[str, Sequence[int]]]:
        """Generate all requests at once; the id and the tokens of each as soon as it is done."""

    async def describe(self) -> dict[str, Any]:
        """What was really started: versions and settings, for the record, as JSON takes them."""

    async def stop(self) -> None:
        """End every process that was started."""


Start = Callable[[Settings], Awaitable[System]]


def load(name: str, folder: str | None = None) -> Start:
    """The function of an adapter, which is looked for in `folder` too. Raises NoSystem."""
    module_name, colon, function = name.partition(":")
    if not (module_name and colon and function):
        raise NoSystem(f"the system {name!r} is not found: {_WANTED}")
    if folder and folder not in sys.path:
        sys.path.append(folder)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # an adapter is anybody's
        why = f"{type(error).__name__}: {error}"
        raise NoSystem(f"the system {name!r} is not found: {why}; {_WANTED}") from None
    found = getattr(module, function, None)
    if not callable(found):
        raise NoSystem(
            f"the system {name!r} is not found: {module_name} has no function {function!r}; {_WANTED}"
        )
    start: Start = found
    return start


def file_of(name: str) -> str:
    """Where an adapter that has been loaded lies."""
    return str(Path(getattr(sys.modules[name.partition(":")[0]], "__file__", None) or ""))


async def started(name: str, settings: Settings, folder: str | None) -> System:
    """Start a system, within a start's deadline. Raises NoSystem, and what the adapter raises."""
    begin = load(name, folder)(settings)
    system = await asyncio.wait_for(begin, settings.start_deadline_seconds)
    missing = [part for part in _PARTS if not callable(getattr(system, part, None))]
    if missing:
        raise NoSystem(f"what {name!r} gave cannot {', '.join(missing)}: {_WANTED}")
    return system


class Stalled(Exception):
    """A system did not answer in time."""


@dataclass(frozen=True)
class Answer:
    """A sample of a system, with the times of whoever waits for it; that of its first token is not told."""

    token_ids: Sequence[int]
    latency_seconds: float
    done_seconds: float
    first_token_seconds: float | None = None


class SystemRollout:
    """A system as `submit` drives it."""

    def __init__(self, system: System, deadline_seconds: float):
        self._system = system
        self._deadline_seconds = deadline_seconds
        self._numbers = itertools.count()

    async def generate(self, prompts: Sequence[list[int]], lengths: Sequence[int]) -> list[Answer]:
        """An answer of that length to every prompt, in order. Raises UnequalWork, or Stalled."""
        begin = time.perf_counter()
        requests = [
            Request(f"r{next(self._numbers)}", prompt, tokens)
            for prompt, tokens in zip(prompts, lengths, strict=True)
        ]
        answers: dict[str, Answer] = {}
        try:
            async with asyncio.timeout(self._deadline_seconds):
                async for name, tokens in self._system.generate(requests):
                    if name in answers:
                        raise UnequalWork(f"the request {name!r} was answered twice")
                    seconds = time.perf_counter() - begin
                    answers[name] = Answer(tokens, seconds, seconds)
        except TimeoutError:
            raise Stalled(
                f"{len(requests) - len(answers)} of {len(requests)} requests had no answer after "
                f"{self._deadline_seconds:g} s"
            ) from None
        _check(requests, answers)
        return [answers[request.id] for request in requests]

    async def check(self, first_id: int, longest: int) -> None:
        """Ask for answers of unequal lengths, so that who gives one request's answer to another is found out.

        Raises UnequalWork.
        """
        lengths = [*range(min(_CHECKED, longest), 0, -1)]  # the last ones are done first
        await self.generate([[first_id + length] for length in lengths], lengths)


def _check(requests: Sequence[Request], answers: dict[str, Answer]) -> None:
    """Raise UnequalWork where a request has no answer of exactly its length, or an answer no request."""
    if unknown := [name for name in answers if name not in {request.id for request in requests}]:
        raise UnequalWork(f"{unknown[0]!r} was answered, which nobody has asked for now")
    for request in requests:
        if request.id not in answers:
            raise UnequalWork(f"{len(answers)} of {len(requests)} requests were answered")
        tokens = answers[request.id].token_ids
        if len(tokens) != request.max_tokens or not all(isinstance(token, int) for token in tokens):
            raise UnequalWork(
                f"the request {request.id!r} has an answer of {len(tokens)} tokens, and exactly "
                f"{request.max_tokens} token ids were asked for"
            )
