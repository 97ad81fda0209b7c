"""What a worker's process is: who calls it, whether Ray runs it, how fast its device reads memory."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_COPIES, _COPY_BYTES = 20, {"cuda": 512 << 20, "cpu": 128 << 20}  # far beyond any cache


def bandwidth(device: Any) -> float:
    """Bytes a second that the memory of a device reads and writes when it copies; the best of some."""
    import torch

    source = torch.ones(_COPY_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = [_copy_seconds(source, target) for _ in range(_COPIES)]
    moved = 2 * source.numel()
    del source, target
    if device.type == "cuda":
        torch.cuda.empty_cache()  # else it would count as memory that the workload holds
    return float(moved / min(seconds))


def _copy_seconds(source: Any, target: Any) -> float:
    import torch

    if source.device.type == "cpu":
        start = time.perf_counter()
        target.copy_(source)
        return time.perf_counter() - start
    with torch.cuda.device(source.device):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        target.copy_(source)
        end.record()
        end.synchronize()
    return float(begin.elapsed_time(end) / 1e3)


def process_space() -> str:
    """Whose process numbers this process's are: the host's, and a namespace's there."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"


def pids_here(workers: Sequence[dict[str, Any]]) -> list[int]:
    """Numbers of those workers' processes that are processes here; elsewhere such a number is another's."""
    here = process_space()
    return [worker["pid"] for worker in workers if worker.get("processes", here) == here]


def carriers() -> list[str]:
    """Modules of executors and transports on this stack, nearest first."""
    found: list[str] = []
    frame = sys._getframe()
    while frame is not None:
        spec = frame.f_globals.get("__spec__")
        name = spec.name if spec is not None else frame.f_globals.get("__name__", "")
        if name.startswith(("vllm.v1.executor.", "rollout_perf.transports.")) and name not in found:
            found.append(name)
        frame = frame.f_back  # type: ignore[assignment]
    return found


def in_ray_actor() -> bool:
    """Whether this process is a Ray actor."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return False
    return ray.get_runtime_context().get_actor_id() is not None
