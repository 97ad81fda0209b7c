"""vLLM's LLM as an engine: it runs in this process, in a thread of its own, and has no executor of ours."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import ConfigurationError
from ..transports import Row
from ..transports.run import Run
from .base import Request, Took, VllmEngine, translated


class SyncEngine(VllmEngine):
    """vLLM's LLM.generate."""

    def __init__(self, arguments: dict[str, Any], row: Row, run: Run, threads: ThreadPoolExecutor):
        import torch
        from vllm import LLM

        self._threads = threads
        # A worker process reads OMP_NUM_THREADS when it starts; this process has long started.
        self._set_num_threads, self._num_threads = torch.set_num_threads, torch.get_num_threads()
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        self._llm = LLM(**arguments)
        self._llm.llm_engine.logger_manager = None
        super().__init__(row, run, self._llm.llm_engine.vllm_config)

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        except Exception as error:
            raise translated(error, self._run) from error

    async def generate(self, requests: list[Request], took: Took) -> None:
        if any(sampling.stream for *_rest, sampling, _sample in requests):
            raise ConfigurationError("this path takes a batch at a time, and none of it streams")
        arrived_at = time.monotonic()
        prompts: list[Any] = [
            {"prompt_token_ids": prompt} for _name, _index, prompt, _sampling, _sample in requests
        ]
        samplings = [self._sampling(sampling, sample) for *_rest, sampling, sample in requests]
        outputs = await self._in_thread(lambda: self._llm.generate(prompts, samplings, use_tqdm=False))
        for place, (request, output) in enumerate(zip(requests, outputs, strict=True)):
            took(place, self._results(request[1], output, arrived_at))

    async def call_workers(self, method: str, args: tuple) -> list[Any]:
        return await self._in_thread(lambda: self._llm.collective_rpc(method, args=args))

    async def sleep(self, level: int) -> None:
        self._check_sleep()
        await self._in_thread(lambda: self._llm.sleep(level))

    async def wake_up(self, what: str | None) -> None:
        self._check_sleep()
        await self._in_thread(lambda: self._llm.wake_up(what and [what]))

    async def close(self) -> None:
        await self._in_thread(self._shut_down)
        self._threads.shutdown(wait=False)

    def _shut_down(self) -> None:
        import gc

        import torch
        from vllm.distributed import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        gc.collect()
        cleanup_dist_env_and_memory()
        torch.set_num_threads = self._set_num_threads  # vLLM's CPU worker has replaced it
        torch.set_num_threads(self._num_threads)
