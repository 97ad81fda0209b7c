"""The host that runs a vLLM worker: the worker's end of `executor.TransportExecutor`."""

import threading
from typing import Any

from . import wire
from .base import Deferred
from .wire import Message

STEP = "rollout_perf_step"
"""The call of an engine step: run the model, and sample if there is something to sample."""


class VllmHost:
    """Builds vLLM's worker for one rank and answers its calls: (method, args, kwargs) to a value.

    `payload` is a dict: vllm_config, distributed_init_method.
    """

    def __init__(self, rank: int, payload: bytes):
        from vllm.platforms import current_platform
        from vllm.utils.system_utils import set_process_title
        from vllm.v1.worker.worker_base import WorkerWrapperBase

        setup = wire.decode([payload])
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
        self._worker = WorkerWrapperBase(rpc_rank=rank, global_rank=rank)
        self._worker.init_worker(arguments)
        self._worker.init_device()
        self._worker.load_model()
        current_platform.update_block_size_for_backend(config)
        self._set_device = current_platform.set_device
        self._threads_with_device = threading.local()
        from vllm.envs import enable_envs_cache

        enable_envs_cache()

    def call(self, message: Message) -> Message | Deferred:
        """Run one method of the worker; an output still on the GPU is fetched in another thread."""
        method, args, kwargs = wire.decode(message)
        if method == STEP:
            scheduler_output, grammar_output = args
            value = self._worker.execute_model(scheduler_output)
            if value is None:
                value = self._worker.sample_tokens(grammar_output)
        elif isinstance(method, str):
            value = getattr(self._worker, method)(*args, **kwargs)
        else:
            value = method(self._worker, *args, **kwargs)
        if hasattr(value, "get_output"):
            return Deferred(lambda: self._fetch(value))
        return wire.encode(value)

    def _fetch(self, value: Any) -> Message:
        if not getattr(self._threads_with_device, "known", False):
            if hasattr(self._worker.worker, "device"):
                self._set_device(self._worker.worker.device)
            self._threads_with_device.known = True
        return wire.encode(value.get_output())

    def close(self) -> None:
        """End the worker and its part in the distributed group."""
        from vllm.distributed import destroy_distributed_environment, destroy_model_parallel

        self._worker.shutdown()
        destroy_model_parallel()
        destroy_distributed_environment()
