"""The host that runs a vLLM worker: the worker's end of `executor.TransportExecutor`.

Knows vLLM's worker and messages; not which transport brings them.
"""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from . import wire
from .delta import DeltaDecoder, DeltaEncoder
from .reply import Deferred
from .wire import Message

STEP = "rollout_perf_step"
"""The call of an engine step: run the model, and sample if there is something to sample. What was scheduled
and the reply are deltas."""


class Turns:
    """Threads take turns, in the order in which their turns were given out."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._taken = 0
        self._change = threading.Condition()

    def next(self) -> int:
        """The number of a new turn, which somebody has to take."""
        return next(self._numbers)

    @contextmanager
    def take(self, number: int) -> Iterator[None]:
        """Wait until all turns before have been taken, and take this one."""
        with self._change:
            while self._taken != number:
                self._change.wait()
            try:
                yield
            finally:
                self._taken += 1
                self._change.notify_all()


class VllmHost:
    """Builds vLLM's worker for one rank and answers its calls: (method, args, kwargs) to a value.

    `payload` is a dict: vllm_config, distributed_init_method.
    """

    def __init__(self, rank: int, payload: bytes):
        self._worker, self._set_device = _build_worker(rank, wire.decode([payload]))
        self._threads_with_device = threading.local()
        self._schedules, self._outputs = DeltaDecoder(), DeltaEncoder()
        self._defers = False
        self._turns = Turns()

    def call(self, message: Message) -> Message | Deferred:
        """Run one method of the worker; an output still on the GPU is fetched in another thread."""
        method, args, kwargs = wire.decode(message)
        if method == STEP:
            return self._step(*args)
        if isinstance(method, str):
            value = getattr(self._worker, method)(*args, **kwargs)
        else:
            value = method(self._worker, *args, **kwargs)
        if hasattr(value, "get_output"):  # the blocking executor calls the two halves of a step by name
            return Deferred(lambda: wire.encode(self._wait_for(value)))
        return wire.encode(value)

    def _step(self, schedule: Any, grammar_output: Any) -> Message | Deferred:
        output = self._worker.execute_model(self._schedules.decode(schedule))
        if output is None:
            output = self._worker.sample_tokens(grammar_output)
        self._defers = self._defers or hasattr(output, "get_output")
        if not self._defers:
            return self._encode(output)
        return Deferred(partial(self._fetch, output, self._turns.next()))

    def _fetch(self, output: Any, turn: int) -> Message:
        """Wait for an output and encode it, in turn: a transport may have several threads that fetch."""
        try:
            output = self._wait_for(output)
        except BaseException:
            with self._turns.take(turn):
                raise
        with self._turns.take(turn):
            return self._encode(output)

    def _encode(self, output: Any) -> Message:
        delta = self._outputs.encode(output)
        return wire.encode(delta, self._outputs.plain)

    def _wait_for(self, output: Any) -> Any:
        """What the worker has computed, once it is there: it may still be on the GPU."""
        if not hasattr(output, "get_output"):
            return output
        self._know_device()
        return output.get_output()

    def _know_device(self) -> None:
        if not getattr(self._threads_with_device, "known", False):
            if hasattr(self._worker.worker, "device"):
                self._set_device(self._worker.worker.device)
            self._threads_with_device.known = True

    def close(self) -> None:
        """End the worker and its part in the distributed group."""
        from vllm.distributed import destroy_distributed_environment, destroy_model_parallel

        self._worker.shutdown()
        destroy_model_parallel()
        destroy_distributed_environment()


def _build_worker(rank: int, setup: dict[str, Any]) -> tuple[Any, Callable[[Any], None]]:
    """vLLM's worker, with its model loaded, and what makes its device that of a thread."""
    from vllm.envs import enable_envs_cache
    from vllm.platforms import current_platform
    from vllm.utils.system_utils import set_process_title
    from vllm.v1.worker.worker_base import WorkerWrapperBase

    config = setup["vllm_config"]
    tensor_parallel_size = config.parallel_config.tensor_parallel_size
    arguments: list[dict[str, Any]] = [{} for _ in range(config.parallel_config.world_size)]
    arguments[rank] = {
        "vllm_config": config,
        "local_rank": rank,
        "rank": rank,
        "distributed_init_method": setup["distributed_init_method"],
        "is_driver_worker": rank % tensor_parallel_size == 0,
        "shared_worker_lock": None,
    }
    set_process_title(f"Worker_{rank}")
    worker = WorkerWrapperBase(rpc_rank=rank, global_rank=rank)
    worker.init_worker(arguments)
    worker.init_device()
    worker.load_model()
    current_platform.update_block_size_for_backend(config)
    enable_envs_cache()
    return worker, current_platform.set_device
