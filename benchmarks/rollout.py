"""Rollouts over every path: what setup_cache measured, looked up by metric.

Each setup_cache starts one engine a path and measures every workload of its classes with it; the
track_ methods only look values up. Nano and Qwen05B are fixed batches; Grpo and Verl are rollouts as
reinforcement learning makes them; Limit is the batch raised until throughput saturates. Lower is better
for all of them. tests/benchmarks/benchmarks.json pins what asv sees of this file.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from rollout_bench.measure.asv_cases import Cache, Engines
from rollout_bench.measure.labels import LABELS
from rollout_bench.measure.saturation import Limit, find_limit
from rollout_bench.measure.tracked import BATCHES, ENGINES
from rollout_bench.schema.metrics import METRICS
from rollout_bench.schema.record import ABSENT, MEASURED, Record

_EXACT_METHOD = "whole"
"""Raised when the way of counting the exact metrics changes: since this they are counted in a gated start."""

_LIMIT_METHOD = "lull"
"""The same of the limit: since this, two batches that add no throughput end the search, and not one."""

_OWN_CARRIER = [path for path in LABELS if path not in ("sync", "vllm-ray")]
"""Asynchronous paths that differ in what carries a step."""

_NANO = ["vllm-mp", "zmq", "ray"]
"""Without a GPU only some of them, to end in minutes."""


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
        records = [record for record in cache[path] if record.workload["name"] == self.workload]
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

# asv knows a setup_cache by the line on which it is defined: each class, or pair of classes, has its own.


class _FixedBatches:
    """The fixed workload at some batches."""

    workload = "fixed"
    param_names = ["path", "batch"]
    timeout = 300


@_tracks(*_ROLLOUT, *_REQUESTS)
class Nano(_FixedBatches):
    """The preset nano, where no GPU is."""

    engines = Engines(ENGINES["nano"], list(LABELS))
    params = [list(LABELS), list(BATCHES["nano"])]
    version = engines.version(slice(None))

    def setup_cache(self) -> Cache:
        return self.engines.measure()

    setup_cache.timeout = 3600


@_tracks(*_ROLLOUT, *_REQUESTS)
class Qwen05B(_FixedBatches):
    """The preset qwen2.5-0.5b, where a GPU is."""

    engines = Engines(ENGINES["qwen2.5-0.5b"], list(LABELS))
    params = [list(LABELS), list(BATCHES["qwen2.5-0.5b"])]
    version = engines.version(slice(None))

    def setup_cache(self) -> Cache:
        return self.engines.measure()

    setup_cache.timeout = 3600


_GRPO_STEP, _SEARCH = slice(1), slice(1, None)
"""Which of the workloads of the `-rl` engines are of which class: one engine start for two classes."""

_UNTIL_LIMIT = {"until_limit_seconds": 300.0}


class _Grpo:
    """GRPO's step: answers of unequal length."""

    workload = "grpo"
    param_names = ["path"]
    timeout = 300


class _Limit:
    """What a path gives at its limit."""

    workload = "fixed"
    param_names = ["path"]
    timeout = 300

    track_token_seconds = _of_limit(_best, "step time for each token at the batch with the most tokens/s")
    track_knee_latency_p99_seconds = _of_limit(_at_knee, "99th percentile of latency at the knee")


class _NanoRl:
    """The engines of both classes of nano."""

    engines = Engines(ENGINES["nano-rl"], _NANO, _UNTIL_LIMIT)
    params = [_NANO]

    def setup_cache(self) -> Cache:
        return self.engines.measure()

    setup_cache.timeout = 3600


@_tracks(*_ROLLOUT, *_TAIL)
class NanoGrpo(_NanoRl, _Grpo):
    """GRPO's step scaled down, where no GPU is."""

    version = _NanoRl.engines.version(_GRPO_STEP)


class NanoLimit(_NanoRl, _Limit):
    """The limit of nano, where no GPU is."""

    version = _NanoRl.engines.version(_SEARCH, _LIMIT_METHOD)


class _Qwen05BRl:
    """The engines of both classes of qwen2.5-0.5b."""

    engines = Engines(ENGINES["qwen2.5-0.5b-rl"], _OWN_CARRIER, _UNTIL_LIMIT)
    params = [_OWN_CARRIER]

    def setup_cache(self) -> Cache:
        return self.engines.measure()

    setup_cache.timeout = 7200


@_tracks(*_ROLLOUT, *_TAIL)
class Qwen05BGrpo(_Qwen05BRl, _Grpo):
    """GRPO's step, where a GPU is."""

    version = _Qwen05BRl.engines.version(_GRPO_STEP)


class Qwen05BLimit(_Qwen05BRl, _Limit):
    """The limit of qwen2.5-0.5b, where a GPU is."""

    version = _Qwen05BRl.engines.version(_SEARCH, _LIMIT_METHOD)


@_tracks(*_ROLLOUT, *_TAIL)
class Qwen7BVerl:
    """verl's headline workload scaled down, where two GPUs are."""

    workload = "verl"
    engines = Engines(ENGINES["qwen2.5-7b"], _OWN_CARRIER)
    params = [_OWN_CARRIER]
    param_names = ["path"]
    version = engines.version(slice(None))
    timeout = 300

    def setup_cache(self) -> Cache:
        return self.engines.measure()

    setup_cache.timeout = 7200
