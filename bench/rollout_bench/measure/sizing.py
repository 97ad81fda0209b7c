"""How large an engine is made for its workloads, and so how many contestants of a session are up at once.

Standard library only, as all that asv's own process runs: the model's config is read, and nothing imported.
"""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import BenchError
from . import machine
from .door import PACKAGE
from .interruption import to_sleep
from .roofline import kv_token_bytes, weight_bytes
from .workload import Workload

_Item = TypeVar("_Item")

CONCURRENCY = 1024
"""Sequences of a long-tailed workload that run at once; the others wait (verl's rollout.max_num_seqs)."""

_GRAPHS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Batches for which CUDA graphs are captured where the batch shrinks as samples are done."""

_KV_CACHE = "kv_cache_memory_bytes"

_GIB = 1 << 30

_GPU_SHARE = 0.9
"""Of a GPU's memory for engines, as vLLM takes where it is alone."""

_GPU_BYTES = 4 * _GIB
"""Beside weights and KV cache: CUDA's context, embeddings, the activations of 8192 tokens, CUDA graphs."""

_CPU_BYTES = 2 * _GIB
"""Beside the weights, without a GPU: vLLM and torch in front, engine and worker, and the KV cache."""

_CPU_SHARE = 0.8
"""Of the memory that is available."""

_KV_SPARE = 1.25
"""Room in the KV cache beyond what the workload's tokens take: blocks are not all full."""


def engine_arguments(workloads: Sequence[Workload]) -> dict[str, Any]:
    """vLLM's engine arguments, the same for every path: sized for the workloads, nothing left to defaults
    that vLLM chooses by the way it is called."""
    tailed = [workload for workload in workloads if workload.kind != "fixed"]
    batches = {workload.at_once for workload in workloads if workload.kind == "fixed"}
    most = max([*batches, *(min(workload.at_once, CONCURRENCY) for workload in tailed)])
    arguments: dict[str, Any] = {
        "seed": 0,
        "max_model_len": max(workload.length for workload in workloads),
        "max_num_seqs": most,
        "max_num_batched_tokens": max(8192, *(workload.length for workload in workloads)),
        # As RL has it, where samples share a prompt; real prompts would be found from rollout to rollout.
        "enable_prefix_caching": any(
            load.shares_prefixes for load in workloads if load.kind != "fixed" or load.interrupt
        ),
    }
    if machine.gpus():
        graphs = batches | {size for size in _GRAPHS if tailed and size <= most}
        if any(to_sleep(load.interrupt) for load in workloads):
            arguments["enable_sleep_mode"] = True  # which has memory allocated in another way
        return arguments | {"dtype": "bfloat16", "cudagraph_capture_sizes": sorted(graphs)}
    return arguments | {"dtype": "float32", "enforce_eager": True, _KV_CACHE: 512 << 20}


class UnknownSize(BenchError):
    """A model's config does not say how large its KV cache is; the message says why, and what to do."""


def session_arguments(
    preset: str,
    tensor_parallel_size: int,
    workloads: Sequence[Workload],
    contestants: int,
    given: dict[str, Any],
) -> dict[str, Any]:
    """The engine arguments of a session, whose engines share the GPUs. `given` are the user's: they count.

    Raises UnknownSize where several engines are to share a GPU, and how much each takes is not known.
    """
    arguments = engine_arguments(workloads)
    # Engines that start beside each other cannot find out what is left for each of them.
    if contestants > 1 and machine.gpus() and not {_KV_CACHE, "gpu_memory_utilization"} & given.keys():
        arguments[_KV_CACHE] = kv_cache_bytes(preset, tensor_parallel_size, workloads)
        # No more than this need be free when one starts, which is after others have taken theirs.
        arguments["gpu_memory_utilization"] = round(_GPU_SHARE / contestants, 3)
    return arguments | given


def kv_cache_bytes(preset: str, tensor_parallel_size: int, workloads: Sequence[Workload]) -> int:
    """A KV cache, in a worker, for the sequences that run at once and no more. Raises UnknownSize."""
    try:
        token_bytes = kv_token_bytes(_config(preset), 2, tensor_parallel_size)
    except (OSError, ValueError) as error:
        raise UnknownSize(
            f"the KV cache of {preset} is of unknown size: {error}; say how much each engine is to have: "
            f"--engine-arg {_KV_CACHE}=BYTES"
        ) from None
    most = engine_arguments(workloads)["max_num_seqs"]
    tokens = max(sum(sorted(load.lengths())[-min(most, load.at_once) :]) for load in workloads)
    return int(tokens * token_bytes * _KV_SPARE) + (64 << 20)


def at_once(preset: str, tensor_parallel_size: int, workloads: Sequence[Workload], sessions: int = 1) -> int:
    """How many engines find room at once, at least one; one where the model's size is not known.

    They are of one session; without a GPU each of the sessions that are up at once has a share of the memory.
    """
    gpus = machine.gpus()
    try:
        weights = weight_bytes(_config(preset), 2 if gpus else 4, tensor_parallel_size)
        if not gpus:
            return max(1, int(_CPU_SHARE * _available_bytes() / sessions / (_CPU_BYTES + weights)))
        room = kv_cache_bytes(preset, tensor_parallel_size, workloads)
    except (OSError, ValueError, UnknownSize):
        return 1
    memory = min(_memory_bytes(gpu) for gpu in gpus)
    return max(1, int(_GPU_SHARE * memory / (_GPU_BYTES + weights + room)))


def split(reference: str, others: Sequence[str], most: int) -> list[list[str]]:
    """Paths for sessions of at most so many contestants, or of two, with the reference in each."""
    size = max(1, most - 1)
    return [[reference, *others[place : place + size]] for place in range(0, max(1, len(others)), size)]


def shared_out(items: Sequence[_Item], most: int) -> list[Sequence[_Item]]:
    """Items for as few sessions as have room for all, at most so many in each; none for no items."""
    sessions = -(-len(items) // max(1, most))
    return [items[number::sessions] for number in range(sessions)]


def _config(preset: str) -> dict[str, Any]:
    """The config.json of a preset of the system under test, or of a model's folder."""
    folder = Path(preset)
    if not folder.is_dir():
        found = importlib.util.find_spec(PACKAGE)
        if found is None or found.origin is None:
            raise ValueError(f"{PACKAGE} is not installed")
        folder = Path(found.origin).parent / "presets" / preset
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config | (config.get("text_config") or {})


def _memory_bytes(gpu: dict[str, str]) -> float:
    """Of a GPU as nvidia-smi says it; what is said otherwise, as an instance's, holds one engine."""
    number, _, unit = gpu.get("memory", "").partition(" ")
    return float(number) * (1 << 20) if unit == "MiB" else 0.0


def _available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
