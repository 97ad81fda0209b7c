"""Rollouts over every path: asv's classes, one for each that tracked.toml names.

setup_cache of a table there measures its workloads with one engine start a path; the track_ methods look
values up. Lower is better for all of them. tests/benchmarks/benchmarks.json pins what asv sees of this file.
"""

import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from rollout_bench.measure import asv_cases
from rollout_bench.measure.asv_cases import Cache
from rollout_bench.measure.saturation import Limit, find_limit
from rollout_bench.measure.tracked import DEFAULT_SET, Tracked, choose_set, read_tracked, replicated
from rollout_bench.schema import variables
from rollout_bench.schema.metrics import METRICS
from rollout_bench.schema.record import ABSENT, MEASURED, Record

_EXACT_METHOD = "whole"
"""Raised when the way of counting the exact metrics changes: since this they are counted in a gated start."""

_PATH_SECONDS = 1200.0

_LIMIT_METHOD = "lull"
"""The same of the limit: since this, two batches that add no throughput end the search, and not one."""


def _samples(record: Record, samples: Sequence[float]) -> Any:
    """What asv gets of one value: its samples, nothing where it is absent, an error where it failed."""
    if record.status == MEASURED and samples:
        return {"samples": list(samples), "number": 1} if len(samples) > 1 else samples[0]
    if record.status in (MEASURED, ABSENT):
        return math.nan
    load = record.workload
    raise RuntimeError(f"{record.path} {load['name']} {load['batch']}: {record.reason}")


def _tracks(*names: str) -> Callable[[type], type]:
    """Give a class a track_ method for each of these metrics.

    An exact metric has a version of its own, beside the class's.
    """

    def decorate(benchmark: Any) -> Any:
        for name in names:
            track = _metric(name)
            if METRICS[name].exact:
                track.version = f"{benchmark.version}-{_EXACT_METHOD}"
            setattr(benchmark, f"track_{name}", track)
        return benchmark

    return decorate


def _metric(name: str) -> Any:
    """A metric of the class's workload, at the batch that is a parameter or at its only one."""

    def track(self: Any, cache: Cache, path: str, batch: int | None = None) -> Any:
        if path not in cache:
            return math.nan
        for record in cache[path]:
            if record.workload["name"] == self.workload and batch in (None, record.workload["batch"]):
                return _samples(record, record.metrics.get(name, []))
        raise RuntimeError(f"{path} has no record of {self.workload} {batch}")

    function: Any = track
    function.unit = METRICS[name].unit
    function.pretty_name = METRICS[name].meaning
    return function


def _of_limit(samples: Callable[[Limit, dict[int, Record]], list[float]], meaning: str) -> Callable[..., Any]:
    """Seconds at a path's limit, taken from the limit and the records by batch."""

    def track(self: Any, cache: Cache, path: str) -> Any:
        records = [record for record in cache.get(path, ()) if record.workload["name"] == self.workload]
        if not records:
            return math.nan
        limit = find_limit(records)
        if limit is None:
            return _samples(records[0], [])
        by_batch = {record.workload["batch"]: record for record in records}
        return _samples(by_batch[limit.best.batch], samples(limit, by_batch))

    track.unit = "seconds"
    track.pretty_name = meaning
    return track


def _best(limit: Limit, records: dict[int, Record]) -> list[float]:
    record = records[limit.best.batch]
    return [seconds / record.workload["tokens"] for seconds in record.metrics["step_seconds"]]


def _at_knee(limit: Limit, records: dict[int, Record]) -> list[float]:
    return records[limit.knee.batch].metrics["latency_p99_seconds"]


_ROLLOUT = (
    "step_seconds",
    "control_ratio",
    "engine_step_seconds",
    "wire_bytes",
    "wire_encode_seconds",
    "wire_send_seconds",
    "wire_wait_seconds",
    "wire_receive_seconds",
    "wire_decode_seconds",
    "engine_cpu_seconds",
    "gpu_idle_share",
    "gpu_idle_seconds",
    "worker_idle_share",
    "pipe_idle_seconds",
    "roofline_gap_share",
)
"""Metrics of any rollout."""

_REQUESTS = (
    "output_token_seconds",
    "first_token_p50_seconds",
    "first_token_p99_seconds",
    "latency_p99_seconds",
    "wire_calls",
    "host_peak_bytes",
    "gpu_peak_bytes",
    "engine_start_seconds",
)
"""And of one of a fixed batch."""

_TAIL = (
    "done_50_seconds",
    "done_90_seconds",
    "done_99_seconds",
    "tail_share",
    "slowest_token_seconds",
    "preemptions",
    "prefix_miss_share",
)
"""And of one of answers of unequal length: what the tail costs."""


_STEADY = (
    "control_ratio",
    "step_seconds",
    "steady_token_seconds",
    "steady_first_token_p50_seconds",
    "steady_first_token_p99_seconds",
    "steady_latency_p50_seconds",
    "steady_latency_p99_seconds",
    "steady_gpu_idle_share",
    "steady_worker_idle_share",
    "engine_step_seconds",
    "engine_cpu_seconds",
)
"""Metrics of one whose requests arrive one after another."""


_TURNS = (
    "control_ratio",
    "step_seconds",
    "turn_p50_seconds",
    "turn_p99_seconds",
    "later_first_token_p50_seconds",
    "later_first_token_p99_seconds",
    "history_miss_share",
    "prefix_miss_share",
    "engine_step_seconds",
    "engine_cpu_seconds",
    "gpu_idle_share",
    "worker_idle_share",
)
"""Metrics of sessions of turns."""


_INTERRUPTED = (
    "control_ratio",
    "step_seconds",
    "quiet_seconds",
    "resume_seconds",
    "resent_share",
    "recomputed_share",
    "engine_step_seconds",
    "engine_cpu_seconds",
)
"""And of one that is interrupted."""


_ENTRIES = (
    "control_ratio",
    "step_seconds",
    "way_in_seconds",
    "way_back_seconds",
    "caller_cpu_seconds",
    "front_cpu_seconds",
    "engine_step_seconds",
    "latency_p99_seconds",
)
"""And of one that passes an entry."""


class _Fixed:
    """The fixed workload at some batches."""

    param_names = ["path", "batch"]


class _LongTailed:
    """Answers of unequal length, as in a step of GRPO."""

    param_names = ["path"]


class _Limit:
    """What a path gives at its limit: the batch raised until throughput saturates."""

    param_names = ["path"]

    track_token_seconds = _of_limit(_best, "step time for each token at the batch with the most tokens/s")
    track_knee_latency_p99_seconds = _of_limit(_at_knee, "99th percentile of latency at the knee")


_KINDS: dict[str, tuple[type, tuple[str, ...], tuple[str, ...]]] = {
    "fixed": (_Fixed, (*_ROLLOUT, *_REQUESTS), ()),
    "grpo": (_LongTailed, (*_ROLLOUT, *_TAIL), ()),
    "verl": (_LongTailed, (*_ROLLOUT, *_TAIL), ()),
    "turns": (_LongTailed, _TURNS, ()),
    "limit": (_Limit, (), (_LIMIT_METHOD,)),
}
"""By the workload's name in tracked.toml: the base, the metrics, what the version has beside workloads."""


def _setup_cache(table: str, tracked: Tracked) -> Any:
    """A setup_cache of its own: asv knows it by its line and its module, and this line serves every table."""

    def setup_cache(_self: Any) -> Cache:
        return asv_cases.measure(tracked)

    module = f"{__name__}.{table}"
    sys.modules[module] = ModuleType(module)
    setup_cache.__module__ = module
    function: Any = setup_cache
    # asv ends what says nothing for so long, and hears no progress; each path has a deadline of its own.
    function.timeout = _PATH_SECONDS * (1 + len(tracked.paths)) * tracked.replicates
    return function


def _classes(table: str, tracked: Tracked) -> dict[str, type]:
    setup_cache = _setup_cache(table, tracked)
    found = {}
    for name, its in tracked.classes.items():
        base, metrics, method = _KINDS[its.kind]
        if its.workloads[0].arrival:
            metrics = _STEADY
        if its.workloads[0].interrupt:
            metrics = _INTERRUPTED
        if any("@" in path for path in tracked.paths):
            metrics = _ENTRIES
        content = {
            "__module__": __name__,
            "workload": its.workloads[0].name,
            "params": [tracked.paths, its.batches] if base is _Fixed else [tracked.paths],
            "version": asv_cases.version(tracked, name, *method),
            "timeout": 300,
            "setup_cache": setup_cache,
        }
        found[name] = _tracks(*metrics)(type(name, (base,), content))
    return found


_TRACKED = replicated(read_tracked(Path(__file__).resolve().parents[1]), os.environ.get(variables.REPLICATES))
choose_set(_TRACKED, os.environ.get(variables.SET, DEFAULT_SET), variables.SET)

for _table, _tracked in _TRACKED.items():
    globals().update(_classes(_table, _tracked))
