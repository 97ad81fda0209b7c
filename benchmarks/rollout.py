"""Rollouts over every path, at each batch: what setup_cache measured, looked up by metric.

Each class is one preset. Its setup_cache starts one engine a path and measures every batch with
it; the track_ methods only look values up. Lower is better for all of them.
"""

import math
from collections.abc import Callable
from typing import Any

from .harness import history, machine
from .harness.cells import BATCHES, TRACKED, fixed, run_cells
from .harness.metrics import METRICS
from .harness.record import ABSENT, LABELS, MEASURED, Record

_METHOD = 1
"""Raised when the way of measuring changes, so that asv does not compare before and after."""

Cache = dict[tuple[str, int], Record]


def _metric(name: str) -> Callable[[Any, Cache, str, int], Any]:
    def track(self: Any, cache: Cache, path: str, batch: int) -> Any:
        record = cache[path, batch]
        samples = record.metrics.get(name, [])
        if record.status == MEASURED and samples:
            return {"samples": samples, "number": 1} if len(samples) > 1 else samples[0]
        if record.status in (MEASURED, ABSENT):
            return math.nan
        raise RuntimeError(f"{path} batch {batch}: {record.reason}")

    track.unit = METRICS[name].unit
    track.pretty_name = METRICS[name].meaning
    return track


def _measure(preset: str) -> Cache:
    workloads = fixed(preset, BATCHES[preset])
    on_gpu = bool(machine.gpus())
    if preset == TRACKED[on_gpu]:
        provenance = {"commit": history.commit(), "command": "asv run"}
        target = history.records_file(preset)
        keep = None if target is None else history.unfinished(target)
        records = run_cells(
            preset, list(LABELS), workloads, provenance=provenance, say=history.say, keep=keep
        )
        if target is not None:
            history.save(records, target)
    else:
        reason = f"{preset} is tracked {'without' if on_gpu else 'with'} a GPU"
        records = [
            Record(path, preset, 1, load.as_dict(), ABSENT, reason) for path in LABELS for load in workloads
        ]
    return {(record.path, record.workload["batch"]): record for record in records}


def _version(preset: str) -> str:
    return "-".join([str(_METHOD), *(workload.fingerprint() for workload in fixed(preset, BATCHES[preset]))])


class _Rollout:
    """The metrics of a rollout; a preset's class says which paths and batches."""

    param_names = ["path", "batch"]
    timeout = 300

    track_step_seconds = _metric("step_seconds")
    track_engine_step_seconds = _metric("engine_step_seconds")
    track_output_token_seconds = _metric("output_token_seconds")
    track_first_token_p50_seconds = _metric("first_token_p50_seconds")
    track_first_token_p99_seconds = _metric("first_token_p99_seconds")
    track_latency_p99_seconds = _metric("latency_p99_seconds")
    track_wire_bytes = _metric("wire_bytes")
    track_wire_calls = _metric("wire_calls")
    track_engine_cpu_seconds = _metric("engine_cpu_seconds")
    track_host_peak_bytes = _metric("host_peak_bytes")
    track_gpu_peak_bytes = _metric("gpu_peak_bytes")
    track_engine_start_seconds = _metric("engine_start_seconds")


class Nano(_Rollout):
    """The preset nano, where no GPU is."""

    params = [list(LABELS), list(BATCHES["nano"])]
    version = _version("nano")

    def setup_cache(self) -> Cache:
        return _measure("nano")

    setup_cache.timeout = 3600


class Qwen05B(_Rollout):
    """The preset qwen2.5-0.5b, where a GPU is."""

    params = [list(LABELS), list(BATCHES["qwen2.5-0.5b"])]
    version = _version("qwen2.5-0.5b")

    def setup_cache(self) -> Cache:
        return _measure("qwen2.5-0.5b")

    setup_cache.timeout = 3600
