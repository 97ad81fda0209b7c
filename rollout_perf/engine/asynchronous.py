"""vLLM's AsyncLLM as an engine. It runs in a process of its own; who waits looks whether that lives."""

import asyncio
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import EngineError, RolloutError, Stalled
from ..transports import Row
from ..transports.run import Run
from .base import Engine, Request, translated

_LOOK_SECONDS = 2.0
"""How often whoever waits for a generation makes sure that the engine's process lives."""


class AsyncEngine(Engine):
    """vLLM's AsyncLLM."""

    def __init__(self, arguments: dict[str, Any], row: Row, run: Run, threads: ThreadPoolExecutor):
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self._threads = threads
        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        # The times of requests are wanted, Prometheus and log lines about them are not: they
        # cost time in each step.
        self._llm.logger_manager = None
        # Kept, for how it ended: vLLM forgets them when it finds one dead.
        manager = self._llm.engine_core.resources.engine_manager
        self._processes: list[Any] = list(manager.processes) if manager is not None else []
        super().__init__(row, run, self._llm.vllm_config)

    async def generate(self, requests: list[Request]) -> list[dict[str, Any]]:
        tasks = [asyncio.create_task(self._generate_one(request)) for request in requests]
        try:
            await self._all_of(tasks, self._run.step_deadline_seconds)
            return [task.result() for task in tasks]
        except Exception as error:
            raise await self._cause(error) from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _generate_one(self, request: Request) -> dict[str, Any]:
        name, index, prompt, sampling, sample = request
        final = None
        async for output in self._llm.generate(
            {"prompt_token_ids": prompt}, self._sampling(sampling, sample), name
        ):
            final = output
        if final is None or not final.finished:
            raise EngineError(f"request {name} ended without an answer")
        return self._result(index, final)

    async def _all_of(self, tasks: list[asyncio.Task], deadline_seconds: float) -> None:
        """Wait for all tasks or the first failure, and make sure meanwhile that the engine lives, and answers
        within a deadline."""
        waiting = set(tasks)
        asked: asyncio.Task | None = None
        asked_at = 0.0
        try:
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in done:
                    task.result()
                if not waiting:
                    return
                if self._llm.errored:  # vLLM reports a failure to those that wait already, but not a death
                    raise self._llm.dead_error
                if asked is not None and asked.done():
                    asked.result()
                    asked = None
                if asked is None:
                    asked, asked_at = asyncio.create_task(self._llm.is_sleeping()), time.monotonic()
                elif time.monotonic() - asked_at > deadline_seconds:
                    raise Stalled(f"the engine's process has not answered within {deadline_seconds:g} s")
        finally:
            if asked is not None:
                asked.cancel()

    async def _cause(self, error: Exception) -> RolloutError:
        if isinstance(error, RolloutError | ValueError):
            return translated(error, self._run)
        for _ in range(20):  # the engine's process may still be writing down why it died
            if self._run.failure() is not None:
                break
            await asyncio.sleep(0.05)
        else:
            for process in self._processes:
                if process.exitcode is not None:
                    code = process.exitcode
                    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
                    return EngineError(f"the engine's process ({process.pid}) ended {how}")
        return translated(error, self._run)

    async def call_workers(self, method: str, args: tuple) -> list[Any]:
        deadline = self._run.start_deadline_seconds
        calling = asyncio.create_task(self._llm.collective_rpc(method, args=args))
        try:
            await asyncio.wait_for(self._all_of([calling], deadline), deadline)
            return calling.result()
        except TimeoutError:
            raise Stalled(f"the workers did not answer {method!r} in time") from None
        except Exception as error:
            raise await self._cause(error) from error
        finally:
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)

    async def close(self) -> None:
        llm = self._llm
        del self._llm  # at exit it would shut down again, among modules that are gone
        if llm.output_handler is not None:
            llm.output_handler.cancel()  # it would take the end of the engine for its death, and log it
            await asyncio.gather(llm.output_handler, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._threads, llm.shutdown)
        self._threads.shutdown(wait=False)
