"""An engine without a model: answers of the forced lengths, at the forced times, on any machine.

It stands where `rollout_perf.engine:start_engine` does, behind whatever entry, and shows what that entry can
carry and what it costs:

    EngineSpec(model, row, 1, {"token_seconds": 0.01}, factory="rollout_bench.measure.model_free:start")
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

LONGEST = 1 << 20


class ModelFreeEngine:
    """Generates every request at once: its tokens come `token_seconds` apart, whatever else is running.

    It has what `rollout_perf.engine.Engine` asks for.
    """

    longest = LONGEST

    def __init__(self, token_seconds: float = 0.0):
        self._token_seconds = token_seconds

    async def generate(self, requests: list[Any], took: Callable[[int, dict[str, Any]], None]) -> None:
        """Give every result when its last token is due; those that are due together, at once."""
        arrived = time.monotonic()
        due: dict[int, list[int]] = {}
        for place, (_name, _index, _prompt, sampling, _sample) in enumerate(requests):
            due.setdefault(sampling.max_tokens, []).append(place)
        for tokens, places in sorted(due.items()):
            # Also where it is now: who has sent other requests is to be heard.
            await asyncio.sleep(max(0.0, arrived + tokens * self._token_seconds - time.monotonic()))
            for place in places:
                took(place, self._result(requests[place], arrived))

    def _result(self, request: Any, arrived: float) -> dict[str, Any]:
        _name, index, prompt, sampling, sample = request
        done_at = time.monotonic()
        first = (prompt[0] + sample) % 1000
        return {
            "prompt": index,
            "token_ids": list(range(first, first + sampling.max_tokens)),
            "finish_reason": "length",
            "queue_seconds": 0.0,
            "first_token_seconds": min(self._token_seconds, done_at - arrived),
            "latency_seconds": done_at - arrived,
            "done_at": done_at,
        }

    async def call_workers(self, method: str, args: tuple[Any, ...]) -> list[Any]:
        """There are no workers."""
        raise NotImplementedError(f"an engine without a model has no workers to call {method!r}")

    async def describe(self) -> dict[str, Any]:
        """Facts for the record."""
        return {"engine": {"token_seconds": self._token_seconds}}

    async def close(self) -> None:
        """Nothing is left."""


async def start(
    model: Any, row: Any, run: Any, tensor_parallel_size: int, arguments: dict[str, Any]
) -> ModelFreeEngine:
    """In `start_engine`'s place."""
    return ModelFreeEngine(**arguments)
