"""The probe inside a worker, the same under every path: vLLM mixes it into its worker class.

It counts engine steps, tells what the process is like, and sees on its own stack who calls it.
Replies are JSON, which every executor carries. It must not import the subject.
"""

import json
import os
import sys
from typing import Any

EXTENSION = "harness.probe.Probe"
"""What vLLM's `worker_extension_cls` is set to; cell.py makes `harness` importable."""


class Probe:
    """Methods that vLLM's worker gains."""

    def probe_facts(self) -> str:
        """What the live worker has: process, callers, threads, scheduling, device."""
        import torch

        facts: dict[str, Any] = {
            "pid": os.getpid(),
            "carriers": _carriers(),
            "ray_actor": _in_ray_actor(),
            "torch_threads": torch.get_num_threads(),
            "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
            "async_scheduling": bool(self.vllm_config.scheduler_config.async_scheduling),  # type: ignore[attr-defined]
            "worker": f"{type(self).__module__}.{type(self).__qualname__}",
            "model_runner": f"{type(self.model_runner).__module__}.{type(self.model_runner).__qualname__}",  # type: ignore[attr-defined]
            "device": torch.cuda.get_device_name() if torch.cuda.is_initialized() else "cpu",
        }
        return json.dumps(facts)

    def probe_begin(self) -> str:
        """Begin to count; what was counted before is forgotten."""
        import torch

        if not hasattr(self, "_probe_execute_model"):
            self._probe_execute_model = self.execute_model  # type: ignore[has-type]
            self.execute_model = self._probe_step
        self._probe_steps = 0
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()
        return "{}"

    def probe_end(self) -> str:
        """What was counted since `probe_begin`."""
        import torch

        on_gpu = torch.cuda.is_initialized()
        gpu_peak = torch.cuda.max_memory_reserved() if on_gpu else None
        return json.dumps({"engine_steps": self._probe_steps, "gpu_peak_bytes": gpu_peak})

    def _probe_step(self, scheduler_output: Any) -> Any:
        if scheduler_output.total_num_scheduled_tokens:
            self._probe_steps += 1
        return self._probe_execute_model(scheduler_output)


def _carriers() -> list[str]:
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


def _in_ray_actor() -> bool:
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return False
    return ray.get_runtime_context().get_actor_id() is not None
