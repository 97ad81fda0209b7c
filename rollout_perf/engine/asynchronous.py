"""vLLM's AsyncLLM as an engine. It runs in a process of its own; who waits looks whether that lives."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ..errors import EngineError, RolloutError, Stalled
from ..transports import Row
from ..transports.run import Run
from .base import Request, Result, Took, VllmEngine, Whole, new_tokens, translated
from .direct import Direct, asks_for_ids_alone, rendered
from .frozen import freeze, thaw
from .server import serve_http
from .waiting import LOOK_SECONDS, all_of


class AsyncEngine(VllmEngine):
    """vLLM's AsyncLLM."""

    _direct: Direct | None = None

    def __init__(self, arguments: dict[str, Any], row: Row, run: Run, threads: ThreadPoolExecutor):
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self._threads = threads
        self._finals: dict[str, Any] = {}
        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        # The times of requests are wanted, Prometheus and log lines about them are not: they
        # cost time in each step.
        self._llm.logger_manager = None
        # Kept, for how it ended: vLLM forgets them when it finds one dead.
        manager = self._llm.engine_core.resources.engine_manager
        self._processes: list[Any] = list(manager.processes) if manager is not None else []
        self._asked_at = -LOOK_SECONDS
        self._under_way: dict[str, None] = {}  # names, in the order of their arrival
        super().__init__(row, run, self._llm.vllm_config)
        freeze()

    async def generate(self, requests: list[Request], took: Took) -> None:
        if not requests:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        arrived_at = time.monotonic()
        unfinished = {name for name, *_rest in requests}
        whole = {place: Whole() for place, request in enumerate(requests) if request[3].stream}

        def take(place: int, output: Any) -> None:
            """Take a request's last output, or its error, where vLLM puts it: no task waits for it there."""
            name, index, *_rest = requests[place]
            if done.done():
                return
            if isinstance(output, Exception):
                done.set_exception(output)
                return
            if place in whole:
                if tokens := new_tokens(output):
                    took(place, tokens)
                output = whole[place].with_(output)
            if output.finished:
                unfinished.discard(name)
                self._under_way.pop(name, None)
                took(place, self._results(index, output, arrived_at))
                if not unfinished:
                    done.set_result(None)

        submitting = asyncio.create_task(self._submit(requests, take, took, whole))
        try:
            await self._all_of([submitting, done], self._run.step_deadline_seconds)
        except Exception as error:
            raise await self._cause(error) from error
        finally:
            done.cancel()
            submitting.cancel()
            await asyncio.gather(submitting, return_exceptions=True)
            if unfinished:
                for name in unfinished:
                    self._under_way.pop(name, None)
                with contextlib.suppress(Exception):  # an engine that is dead has none
                    await self._abort(list(unfinished))

    def go_direct(self) -> None:
        # Text, and what it may stop at, is AsyncLLM's business.
        if self._config.model_config.skip_tokenizer_init:
            self._direct = Direct(self._llm)

    async def _submit(
        self, requests: list[Request], take: Callable[[int, Any], None], took: Took, whole: dict[int, Whole]
    ) -> None:
        for place, request in enumerate(requests):
            name, _index, prompt, sampling, sample = request
            self._under_way[name] = None
            if self._direct is not None and asks_for_ids_alone(sampling):
                whole.pop(place, None)
                new = partial(took, place) if sampling.stream else None
                await self._direct.add(request, self._sampling, partial(take, place), new)
                continue
            collector = await self._llm.add_request(name, rendered(prompt), self._sampling(sampling, sample))
            collector.put = partial(take, place)
            if (early := collector.output) is not None:
                take(place, early)

    async def _all_of(self, awaited: list[asyncio.Future], deadline_seconds: float) -> None:
        await all_of(awaited, deadline_seconds, self._death, self._answers, "the engine's process")

    def _death(self) -> None:
        if self._llm.errored:  # vLLM reports a failure to those that wait already, but not a death
            raise self._llm.dead_error

    async def _answers(self) -> None:
        """Return when the engine's process has answered; of many that wait at once, one asks for all."""
        if time.monotonic() - self._asked_at > LOOK_SECONDS / 2:
            self._asked, self._asked_at = asyncio.create_task(self._llm.is_sleeping()), time.monotonic()
        await asyncio.shield(self._asked)

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

    async def abort(self, share: float) -> int:
        numbered = enumerate(self._under_way, 1)
        chosen = [name for place, name in numbered if int(place * share) > int((place - 1) * share)]
        await self._done(self._abort(chosen), self._run.step_deadline_seconds)
        return len(chosen)

    async def _abort(self, names: list[str]) -> None:
        if self._direct is not None:
            await self._direct.abort(names)
        await self._llm.abort(names)  # it knows nothing of the others, and lets them be

    async def pause(self, mode: str) -> None:
        pausing = self._llm.pause_generation(mode=mode, clear_cache=False)
        await self._done(pausing, self._run.step_deadline_seconds)

    async def resume(self) -> None:
        await self._done(self._llm.resume_generation(), self._run.step_deadline_seconds)

    async def sleep(self, level: int) -> None:
        self._check_sleep()
        await self._done(self._llm.sleep(level), self._run.start_deadline_seconds)

    async def wake_up(self, what: str | None) -> None:
        self._check_sleep()
        await self._done(self._llm.wake_up(what and [what]), self._run.start_deadline_seconds)

    async def _done(self, call: Coroutine[Any, Any, Any], deadline_seconds: float) -> Any:
        """What a call of vLLM's returns, which never does where the engine's process dies meanwhile."""
        calling = asyncio.create_task(call)
        try:
            await self._all_of([calling], deadline_seconds)
            return calling.result()
        except Exception as error:
            raise await self._cause(error) from error
        finally:
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)

    async def call_workers(self, method: str, args: tuple) -> list[Any]:
        deadline = self._run.start_deadline_seconds
        calling = self._done(self._llm.collective_rpc(method, args=args), deadline)
        try:
            return await asyncio.wait_for(calling, deadline)
        except TimeoutError:
            raise Stalled(f"the workers did not answer {method!r} in time") from None

    def serve_http(self, listener: socket.socket, key: str) -> asyncio.Task[Any]:
        finals, model = self._finals, self._config.model_config.model
        return serve_http(self._llm, model, listener, key, finals.__setitem__, self._under_way)

    def served(self, names: list[str]) -> list[Result]:
        return [self._results(0, *self._finals.pop(name)) for name in names]

    async def describe(self) -> dict[str, Any]:
        to = "AsyncLLM" if self._direct is None else "EngineCore"
        return await super().describe() | {"requests_to": to}

    async def close(self) -> None:
        thaw()
        llm = self._llm
        del self._llm  # at exit it would shut down again, among modules that are gone
        if llm.output_handler is not None:
            llm.output_handler.cancel()  # it would take the end of the engine for its death, and log it
            await asyncio.gather(llm.output_handler, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._threads, llm.shutdown)
        if self.beside is not None:
            await asyncio.to_thread(self.beside.close)
        self._threads.shutdown(wait=False)
