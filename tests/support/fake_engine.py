"""An engine without a model for the contract of entries: it says what it was asked, and fails on request.

A prompt that begins with RAISE has it raise; so does an argument `no_start` at the start.
"""

import asyncio
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

from rollout_bench.measure.model_free import ModelFreeEngine

from rollout_perf.errors import ConfigurationError, WorkerError

RAISE = 666


class FakeEngine(ModelFreeEngine):
    """Notes how many requests it had at once, and which were aborted."""

    def __init__(self, token_seconds: float = 0.0):
        super().__init__(token_seconds)
        self.seen = SimpleNamespace(now=0, most=0, aborted=[])

    async def generate(self, requests, took):
        answered = set()

        def note(place: int, result: dict[str, Any]) -> None:
            answered.add(place)
            self.seen.now -= 1
            took(place, result)

        self.seen.now += len(requests)
        self.seen.most = max(self.seen.most, self.seen.now)
        try:
            if any(prompt[0] == RAISE for _name, _index, prompt, *_ in requests):
                raise WorkerError("sabotage on request")
            await super().generate(requests, note)
        except asyncio.CancelledError:
            self.seen.aborted += [one[0] for place, one in enumerate(requests) if place not in answered]
            raise
        finally:
            self.seen.now -= len(requests) - len(answered)

    def _result(self, request, arrived):
        """What came is told, and fields of every kind travel, whatever a Sequence will have."""
        name, _index, prompt, sampling, _sample = request
        return super()._result(request, arrived) | {
            "text": f"{name} ü {sampling}",
            "log_probabilities": [-0.5, None, float("-inf")],
            "asked": asdict(sampling) | {"prompt": list(prompt)},
        }

    async def call_workers(self, method, args):
        return [method, *args]

    async def describe(self):
        return vars(self.seen)


async def start(model, row, run, tensor_parallel_size, arguments):
    """In `start_engine`'s place."""
    if "no_start" in arguments:
        raise ConfigurationError(arguments["no_start"])
    return FakeEngine(**arguments)
