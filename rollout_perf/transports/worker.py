"""The host that runs a vLLM worker: the worker's end of `executor.TransportExecutor`.

Knows vLLM's worker and messages; not which transport brings them.
"""

import threading
from collections.abc import Callable
from typing import Any

from . import wire
from .rendezvous import for_rank
from .reply import Deferred
from .wire import Message

STEP = "rollout_perf_step"
"""The call of an engine step: run the model, and sample if there is something to sample."""


class VllmHost:
    """Builds vLLM's worker for one rank and answers its calls: (method, args, kwargs) to a value.

    `payload` is a dict: vllm_config, distributed_init_method, local_ranks.
    """

    def __init__(self, rank: int, payload: bytes):
        self._worker, self._set_device = _build_worker(rank, wire.decode([payload]))
        self._threads_with_device = threading.local()

    def call(self, message: Message) -> Message | Deferred:
        """Run one method of the worker; an output still on the GPU is fetched in another thread."""
        method, args, kwargs = wire.decode(message)
        if method == STEP:
            value = self._step(*args)
        elif isinstance(method, str):
            value = getattr(self._worker, method)(*args, **kwargs)
        else:
            value = method(self._worker, *args, **kwargs)
        if hasattr(value, "get_output"):
            return Deferred(lambda: wire.encode(self._wait_for(value)))
        return wire.encode(value)

    def _step(self, scheduler_output: Any, grammar_output: Any) -> Any:
        output = self._worker.execute_model(scheduler_output)
        return self._worker.sample_tokens(grammar_output) if output is None else output

    def _wait_for(self, output: Any) -> Any:
        """What the worker has computed, once it is there: it is still on the GPU."""
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
        "local_rank": setup["local_ranks"][rank],
        "rank": rank,
        "distributed_init_method": for_rank(setup["distributed_init_method"], rank),
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
