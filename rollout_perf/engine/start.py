"""An engine's start: in a thread, within a deadline, and with nothing left of one that failed."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..models import Model
from ..transports import Row, load
from ..transports.run import Run
from .asynchronous import AsyncEngine
from .base import Engine, translated
from .last_words import noted
from .settings import has_gpu, set_environment, vllm_arguments, worker_count
from .synchronous import SyncEngine


@dataclass(frozen=True)
class EngineSpec:
    """What engine to start, wherever an entry has it."""

    model: Model
    row: Row
    tensor_parallel_size: int
    arguments: dict[str, Any]
    factory: str = f"{__name__}:start_engine"
    """"module:name" of what starts it."""
    direct: bool = False
    """Whether requests pass by AsyncLLM where they can, see `direct.Direct`."""

    async def start(self, run: Run) -> Engine:
        """Start it in this process's hands; raises as `start_engine` does."""
        start = load(self.factory)
        engine: Engine = await start(self.model, self.row, run, self.tensor_parallel_size, self.arguments)
        if self.direct:
            engine.go_direct()
        return engine


async def start_engine(
    model: Model, row: Row, run: Run, tensor_parallel_size: int, engine_arguments: dict[str, Any]
) -> Engine:
    """Start the engine of a path and return it when it can generate.

    Raises ConfigurationError for arguments that vLLM does not take, Stalled when it has not
    started within the run's deadline, EngineError or one of its kinds when it fails.
    """
    elsewhere = run.placement is not None
    arguments = vllm_arguments(model, row, tensor_parallel_size, engine_arguments, elsewhere)
    workers = worker_count(tensor_parallel_size, engine_arguments)
    set_environment(row, workers, with_ray=elsewhere or "ray" in row.requires)
    beside = None
    if elsewhere and row.transport is None:
        from .other_nodes import OtherNodes  # a program of its own, which Python warns of where it is loaded

        beside = OtherNodes(run, arguments, int(has_gpu()))
        arguments |= beside.arguments
    kind = SyncEngine if row.in_process else AsyncEngine
    threads = ThreadPoolExecutor(1, thread_name_prefix="rollout-engine")
    with noted(run):
        building = asyncio.get_running_loop().run_in_executor(
            threads, lambda: kind(arguments, row, run, threads)
        )
        try:
            engine = await asyncio.wait_for(asyncio.shield(building), run.start_deadline_seconds)
            engine.beside = beside
            return engine
        except BaseException as error:
            late = run.started_late() if isinstance(error, TimeoutError) else None
            run.kill()
            with contextlib.suppress(BaseException):
                await asyncio.wait_for(building, 10.0)
            threads.shutdown(wait=False)
            if beside is not None:
                beside.close()
            if late is not None:
                raise late from None
            if isinstance(error, Exception):
                raise translated(error, run) from error
            raise
