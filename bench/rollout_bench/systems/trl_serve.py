"""TRL's rollouts: its own client, which sends a batch in one POST, before the server of `trl vllm-serve`.

    rollout-perf compare --system rollout_bench.systems.trl_serve:start

`trl` must be installed beside vLLM. Its client has one length for a batch: answers of other lengths are asked
for in another POST, beside it.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version
from typing import Any

from trl.generation.vllm_client import VLLMClient

from ..measure.system import Request, Settings
from .vllm_serve import Server


async def start(settings: Settings) -> "Trl":
    """Start TRL's server, and its client in this process."""
    return await Trl.started(settings)


class Trl(Server):
    """TRL's client and server."""

    route = "/v1/completions"

    @staticmethod
    def command() -> list[str]:
        return [sys.executable, "-m", "trl.scripts.vllm_serve", "--log-level", "warning"]

    @staticmethod
    def variables(key: str) -> dict[str, str]:
        return {}  # TRL's client has no key

    async def until_up(self) -> None:
        await super().until_up()
        self._client = await asyncio.to_thread(VLLMClient, self.url)

    async def generate(self, requests: list[Request]) -> AsyncIterator[tuple[str, Sequence[int]]]:
        """A POST for all requests of a length."""
        by_length: dict[int, list[Request]] = {}
        for request in requests:
            by_length.setdefault(request.max_tokens, []).append(request)
        posts = [asyncio.to_thread(self._post_batch, batch) for batch in by_length.values()]
        for post in asyncio.as_completed(posts):
            for answer in await post:
                yield answer

    def _post_batch(self, batch: list[Request]) -> list[tuple[str, Sequence[int]]]:
        found = self._client.generate(
            [request.prompt for request in batch],
            max_tokens=batch[0].max_tokens,
            generation_kwargs={"ignore_eos": True},
        )
        return [(request.id, tokens) for request, tokens in zip(batch, found["completion_ids"], strict=True)]

    async def describe(self) -> dict[str, Any]:
        return await super().describe() | {"trl": version("trl")}
