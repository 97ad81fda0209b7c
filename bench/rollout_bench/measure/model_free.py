"""An engine without a model: answers of the forced lengths, at the forced times, on any machine.

It stands where `rollout_perf.engine:start_engine` does, behind whatever entry, and shows what that entry can
carry and what it costs:

    EngineSpec(model, row, 1, {"token_seconds": 0.01}, factory="rollout_bench.measure.model_free:start")
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rollout_perf.engine import Limits, Result, Took


class ModelFreeEngine:
    """Generates every request at once: its tokens come `token_seconds` apart, whatever else is running.

    It has what `rollout_perf.engine.Engine` asks for.
    """

    def __init__(self, token_seconds: float = 0.0, model: Any = None):
        self._token_seconds = token_seconds
        self._model = model
        self._finals: dict[str, Result] = {}

    @property
    def limits(self) -> "Limits":
        """More than anybody asks for."""
        from rollout_perf.engine import Limits

        return Limits(tokens=1 << 20, logprobs=0)

    def go_direct(self) -> None:
        """Nothing is kept of a request by which the next could pass."""

    async def generate(self, requests: list[Any], took: "Took") -> None:
        """Give every result when its last token is due; those that are due together, at once."""
        arrived = time.monotonic()
        due: dict[int, list[int]] = {}
        for place, (_name, _index, _prompt, sampling, _sample) in enumerate(requests):
            due.setdefault(sampling.max_tokens, []).append(place)
        for tokens, places in sorted(due.items()):
            # Also where it is now: who has sent other requests is to be heard.
            await asyncio.sleep(max(0.0, arrived + tokens * self._token_seconds - time.monotonic()))
            for place in places:
                _name, _index, _prompt, sampling, sample = requests[place]
                samples = range(sampling.samples) if sampling.one_request else [sample]
                took(place, [self._sample(requests[place], one, arrived) for one in samples])

    def _sample(self, request: Any, sample: int, arrived: float) -> dict[str, Any]:
        _name, index, prompt, sampling, _sample = request
        done_at = time.monotonic()
        first = (prompt[0] + sample) % 1000
        return {
            "prompt": index,
            "token_ids": list(range(first, first + sampling.max_tokens)),
            "finish_reason": "length",
            "queue_seconds": 0.0,
            "first_token_seconds": min(self._token_seconds, done_at - arrived),
            "latency_seconds": done_at - arrived,
            "arrived_at": arrived,
            "queued_at": arrived,
            "done_at": done_at,
        }

    def serve_http(self, listener: socket.socket, key: str) -> asyncio.Task[Any]:
        """Have vLLM's own server before it."""
        from rollout_perf.engine.server import serve_http

        llm, folder = _Llm(self._model, self.generate), str(self._model.folder)

        def final(name: str, came: tuple[Any, float]) -> None:
            self._finals[name] = came[0].metrics

        return serve_http(llm, folder, listener, key, final, {})

    def served(self, names: list[str]) -> "list[Result]":
        """The results of requests that were served by HTTP."""
        return [self._finals.pop(name) for name in names]

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
    return ModelFreeEngine(**arguments, model=model)


class _Llm:
    """What vLLM's server asks of vLLM's AsyncLLM, with a model of which only the config is read."""

    errored = False
    is_running = True

    def __init__(self, model: Any, generate: Callable[..., Any]):
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.renderers import renderer_from_config
        from vllm.v1.engine.input_processor import InputProcessor

        self.vllm_config = AsyncEngineArgs(**model.engine_arguments()).create_engine_config()
        self.model_config = self.vllm_config.model_config
        self.renderer = renderer_from_config(self.vllm_config)
        self.input_processor = InputProcessor(self.vllm_config, self.renderer)
        self._generate = generate

    async def get_supported_tasks(self) -> tuple[str, ...]:
        """It generates."""
        return ("generate",)

    def check_admission(self, n: int = 1, request_id: str | None = None) -> None:
        """It takes all that come."""

    async def is_tracing_enabled(self) -> bool:
        """It does not trace."""
        return False

    async def generate(self, prompt: Any, sampling: Any, name: str, **_more: Any) -> AsyncIterator[Any]:
        """The one output of a request, with what else is known of its samples as its metrics."""
        from vllm.outputs import CompletionOutput, RequestOutput

        from rollout_perf import Sampling

        results: list[Result] = [[]]
        ids = prompt["prompt_token_ids"]
        asked = Sampling(sampling.max_tokens, samples=sampling.n, one_request=True)
        await self._generate([(name, 0, ids, asked, 0)], results.__setitem__)
        answers = [
            CompletionOutput(number, "", one.pop("token_ids"), None, None, finish_reason="length")
            for number, one in enumerate(results[0])
        ]
        output = RequestOutput(name, None, ids, None, answers, finished=True)
        output.metrics = results[0]
        yield output
