"""The probe inside a worker, the same under every path: vLLM mixes it into its worker class.

It counts and times engine steps, reports what the process is like, and sees on its own stack who
calls it. Replies are JSON, which every executor carries. It must not import the
system under test.
"""

import json
import os
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from ..schema import variables
from .clock import GpuClock, HostClock, NoClock
from .new_weights import NewWeights, from_host, from_trainer
from .roofline import EXPERTS, OTHER, SHAPE
from .step_profile import StepProfile
from .worker_facts import bandwidth, carriers, in_ray_actor, process_space

EXTENSION = "rollout_bench.measure.probe.Probe"
"""What vLLM's `worker_extension_cls` is set to; process.py makes it importable."""

HELD, GO = "held", "go"
"""Files of `probe_hold`."""

_HOLD_LOOK_SECONDS = 0.002
_COST_BLOCKS, _COST_STEPS = 21, 50  # so few that the GPU's queue does not fill up, and who fills it waits


class Probe:
    """Methods that vLLM's worker gains."""

    _probe_stamps: list[list[float]] | None = None
    """Of each step, for `timeline`: when it began, when it was launched, and when its output was there."""

    def probe_facts(self) -> str:
        """What the live worker has: process, callers, threads, scheduling, device, what a step reads."""
        import torch

        facts: dict[str, Any] = {
            "pid": os.getpid(),
            "processes": process_space(),
            "carriers": carriers(),
            "ray_actor": in_ray_actor(),
            "torch_threads": torch.get_num_threads(),
            "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
            "async_scheduling": bool(self.vllm_config.scheduler_config.async_scheduling),  # type: ignore[attr-defined]
            "worker": f"{type(self).__module__}.{type(self).__qualname__}",
            "model_runner": f"{type(self.model_runner).__module__}.{type(self.model_runner).__qualname__}",  # type: ignore[attr-defined]
            "device": torch.cuda.get_device_name() if torch.cuda.is_initialized() else "cpu",
        }
        return json.dumps(facts)

    def probe_device(self) -> str:
        """What `roofline.device` wants to know of this worker, or why that is not known."""
        try:
            config = self.vllm_config.model_config  # type: ignore[attr-defined]
            shape = config.hf_config.to_dict()
            cache = str(self.vllm_config.cache_config.cache_dtype)  # type: ignore[attr-defined]
            if cache not in ("auto", str(config.dtype).removeprefix("torch.")):
                raise ValueError(f"the KV cache is kept as {cache}, the weights as {config.dtype}")
            facts = {
                "config": {name: shape.get(name) for name in (*SHAPE, *EXPERTS, *OTHER)},
                "element_bytes": config.dtype.itemsize,
                "bandwidth_bytes_per_second": bandwidth(self.device),  # type: ignore[attr-defined]
            }
            return json.dumps(facts)
        except Exception as error:  # vLLM's insides differ by version, and a GPU may be full
            return json.dumps({"unknown": f"{type(error).__name__}: {error}"})

    def probe_begin(self) -> str:
        """Begin to count and to time; what was counted before is forgotten."""
        import torch

        on_gpu = torch.cuda.is_initialized()
        if not hasattr(self, "_probe_clock"):
            self._probe_clock = self._probe_new_clock(torch.cuda) if on_gpu else HostClock()
        if not hasattr(self, "_probe_calls"):
            self._probe_calls = self.execute_model, self.sample_tokens  # type: ignore[has-type]
            self.execute_model, self.sample_tokens = self._probe_execute, self._probe_sample
            self._probe_clock.attach()
        self._probe_clock.read()
        self._probe_stamps = None if self._probe_stamps is None else []
        self._probe_begun: list[float] = []
        self._probe_steps = self._probe_prompt_tokens = self._probe_cached_tokens = 0
        self._probe_first = 0, 0
        self._probe_preempted: list[str] | None = []
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
            self._probe_free_bytes = torch.cuda.mem_get_info()[0]
        return "{}"

    def probe_stamp(self) -> str:
        """Note from now on when steps begin, are launched and have their output."""
        self._probe_stamps = []
        return "{}"

    def probe_end(self, steps: bool = False) -> str:
        """What was counted and timed since `probe_begin`; with `steps`, when each began and its time too."""
        import torch

        on_gpu = torch.cuda.is_initialized()
        busy_seconds, untimed = self._probe_clock.read()
        preempted = self._probe_preempted
        first_step_requests, first_step_tokens = self._probe_first
        return json.dumps(
            {
                "engine_steps": self._probe_steps,
                "gpu_peak_bytes": torch.cuda.max_memory_reserved() if on_gpu else None,
                "gpu_busy_seconds": busy_seconds if on_gpu else None,
                "worker_busy_seconds": None if on_gpu else busy_seconds,
                "untimed": untimed,
                "first_step_requests": first_step_requests,
                "first_step_tokens": first_step_tokens,
                "preemptions": None if preempted is None else len(preempted),
                "prompt_tokens": self._probe_prompt_tokens,
                "cached_tokens": self._probe_cached_tokens,
                "stamps": self._probe_stamps,
                "steps": list(zip(self._probe_begun, self._probe_clock.steps, strict=False)) if steps else [],
            }
        )

    def probe_remove(self) -> str:
        """Take the probe out of the engine steps, until the next `probe_begin`."""
        if hasattr(self, "_probe_calls"):
            self._probe_clock.detach()
            self.execute_model, self.sample_tokens = self._probe_calls
            del self._probe_calls
        return "{}"

    def probe_hold(self, folder: str, seconds: float) -> str:
        """Say so in a file `held`, and return when there is a file `go`; the engine waits as long.

        Returns after so many seconds in any case.
        """
        (Path(folder) / HELD).touch()
        go, end = Path(folder) / GO, time.monotonic() + seconds
        while not go.exists() and time.monotonic() < end:
            time.sleep(_HOLD_LOOK_SECONDS)
        return "{}"

    def probe_prepare_update(self, by_trainer: bool) -> str:
        """Make the weights that `probe_update` puts in place, of the host or a trainer on the GPU, and put
        them there, once: another time would not show whether they were copied."""
        self._probe_weights: dict[bool, NewWeights] = getattr(self, "_probe_weights", {})
        if by_trainer not in self._probe_weights:
            make = from_trainer if by_trainer else from_host
            self._probe_weights[by_trainer] = new = make(self.get_model())  # type: ignore[attr-defined]
            new.copy()
            assert new.are_there()
        return "{}"

    def probe_update(self, by_trainer: bool) -> str:
        """Replace the model's weights, which nothing may compute with; the bytes copied."""
        return json.dumps({"copied_bytes": self._probe_weights[by_trainer].copy()})

    def probe_freed(self) -> str:
        """How much more of the GPU's memory is free than at `probe_begin`, as whoever sleeps leaves it."""
        import torch

        return json.dumps({"freed_bytes": torch.cuda.mem_get_info()[0] - self._probe_free_bytes})

    def _probe_new_clock(self, cuda: Any) -> HostClock | GpuClock:
        try:
            return GpuClock(cuda, self.get_model())  # type: ignore[attr-defined]
        except Exception as error:  # vLLM's insides differ by version
            return NoClock(f"the GPU cannot be timed: {type(error).__name__}: {error}")

    def _probe_execute(self, scheduler_output: Any) -> Any:
        if not scheduler_output.total_num_scheduled_tokens:
            return self._probe_calls[0](scheduler_output)
        self._probe_steps += 1
        self._probe_begun.append(time.perf_counter())
        if self._probe_stamps is not None:
            self._probe_stamps.append([time.perf_counter()])
        self._probe_requests(scheduler_output)
        self._probe_profile_step()
        self._probe_clock.open()
        try:
            output = self._probe_calls[0](scheduler_output)
        except Exception as error:
            _note(error)
            raise
        if output is not None:  # nothing is left to sample
            self._probe_clock.close()
        return output

    def _probe_sample(self, grammar_output: Any) -> Any:
        try:
            output = self._probe_calls[1](grammar_output)
        except Exception as error:
            _note(error)
            raise
        self._probe_clock.close()
        if self._probe_stamps is not None:
            _stamp(self._probe_stamps[-1], output)
        return output

    def probe_cost(self) -> str:
        """Seconds of host time that the probe takes of an engine step, the GPU's events with it."""
        step = SimpleNamespace(total_num_scheduled_tokens=1, preempted_req_ids=(), scheduled_new_reqs=())
        calls, self._probe_calls = self._probe_calls, (lambda _: self._probe_clock.launch(), lambda _: None)
        try:
            blocks = [self._probe_cost_of(step) for _ in range(_COST_BLOCKS)]
        finally:
            self._probe_calls = calls
        return json.dumps(median(blocks[1:]))  # the first makes the events that the others use again

    def _probe_cost_of(self, step: Any) -> float:
        begin = time.perf_counter()
        for _ in range(_COST_STEPS):
            self._probe_execute(step)
            self._probe_sample(None)
        seconds = (time.perf_counter() - begin) / _COST_STEPS
        self._probe_clock.read()  # waits for the GPU
        return seconds

    def probe_profile_begin(self, first: int, steps: int) -> str:
        """Trace `steps` engine steps with torch's profiler, from the one numbered `first` on."""
        self._probe_profile: StepProfile | None = StepProfile(self._probe_steps + first, steps)
        return "{}"

    def probe_profile_end(self, prefix: str) -> str:
        """Write the trace, and return its file; or why there is none."""
        profile, self._probe_profile = self._probe_profile, None
        assert profile is not None, "there is no profile to end"
        return json.dumps(profile.write(f"{prefix}-rank{self.rank}.json.gz"))  # type: ignore[attr-defined]

    def _probe_profile_step(self) -> None:
        profile = getattr(self, "_probe_profile", None)
        if profile is not None:
            profile.step(self._probe_steps)

    def _probe_requests(self, scheduler_output: Any) -> None:
        new, tokens = scheduler_output.scheduled_new_reqs, scheduler_output.total_num_scheduled_tokens
        if self._probe_steps == 1:
            self._probe_first = len(new), tokens
        preempted = getattr(scheduler_output, "preempted_req_ids", None)
        if preempted is None:
            self._probe_preempted = None
        elif self._probe_preempted is not None:
            self._probe_preempted.extend(preempted)
        for request in new:
            if request.req_id not in (self._probe_preempted or ()):  # which come as new ones again
                self._probe_prompt_tokens += len(request.prompt_token_ids)
                self._probe_cached_tokens += request.num_computed_tokens


def _stamp(stamps: list[float], output: Any) -> None:
    """Note that a step has been launched, and when its output is there: now, or when it has been fetched."""
    stamps.append(time.perf_counter())
    if not hasattr(output, "get_output"):
        stamps.append(stamps[-1])
        return
    fetch = output.get_output

    def get_output() -> Any:
        fetched = fetch()
        stamps.append(time.perf_counter())
        return fetched

    output.get_output = get_output


def _note(error: Exception) -> None:
    if os.environ.get(variables.NOTE):
        Path(os.environ[variables.NOTE]).write_text(f"{type(error).__name__}: {error}")


def noted() -> str | None:
    """Why an engine step failed, if a worker of this case has noted it."""
    note = Path(os.environ.get(variables.NOTE, ""))
    return note.read_text() if note.is_file() else None
