"""Rollouts over every path: what setup_cache measured, looked up by metric.

Each setup_cache starts one engine a path and measures every workload of its classes with it; the
track_ methods only look values up. Nano and Qwen05B are fixed batches; Grpo and Verl are rollouts as
reinforcement learning makes them; Limit is the batch raised until that no longer pays. Lower is better
for all of them.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rollout_bench.measure import asv_records as history
from rollout_bench.measure import machine
from rollout_bench.measure.labels import LABELS
from rollout_bench.measure.rl import grpo, verl
from rollout_bench.measure.saturation import Limit, find_limit
from rollout_bench.measure.sequence import measure_cases
from rollout_bench.measure.tracked import BATCHES, GRPO, SWEEP, TRACKED, fixed
from rollout_bench.measure.workload import Workload
from rollout_bench.schema.metrics import METRICS
from rollout_bench.schema.record import ABSENT, MEASURED, Record

_METHOD = 1
"""Raised when the way of measuring changes, so that asv does not compare before and after."""

_EXACT_METHOD = "whole"
"""The same of the exact metrics alone: since this, they are counted in a rollout that begins whole."""

_LIMIT_METHOD = "lull"
"""The same of the limit: since this, two batches in a row that do not pay end the search, and not one."""

_LIMIT_SECONDS = 300.0

_OWN_CARRIER = [path for path in LABELS if path not in ("sync", "vllm-ray")]
"""Asynchronous paths that differ in what carries a step."""

_NANO = ["vllm-mp", "zmq", "ray"]
"""Without a GPU only some of them, to end in minutes."""

Cache = dict[str, list[Record]]
"""Records by path, in the order of the workloads."""


def _samples(record: Record, samples: Sequence[float]) -> Any:
    """What asv gets of one value: its samples, nothing where it is absent, an error where it failed."""
    if record.status == MEASURED and samples:
        return {"samples": list(samples), "number": 1} if len(samples) > 1 else samples[0]
    if record.status in (MEASURED, ABSENT):
        return math.nan
    load = record.workload
    raise RuntimeError(f"{record.path} {load['name']} {load['batch']}: {record.reason}")


def _metric(name: str, version: str | None = None) -> Callable[..., Any]:
    """A metric of the class's workload, at the batch that is a parameter or at its only one.

    With a `version` of its own asv does not take that of the class.
    """

    def track(self: Any, cache: Cache, path: str, batch: int | None = None) -> Any:
        for record in cache[path]:
            if record.workload["name"] == self.workload and batch in (None, record.workload["batch"]):
                return _samples(record, record.metrics.get(name, []))
        raise RuntimeError(f"{path} has no record of {self.workload} {batch}")

    track.unit = METRICS[name].unit
    track.pretty_name = METRICS[name].meaning
    if version is not None:
        track.version = version
    return track


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


def _measure(
    preset: str,
    paths: Sequence[str],
    workloads: list[Workload],
    part: str = "",
    size: int = 1,
    **options: Any,
) -> Cache:
    """Records of every path, and a file of them for the commit; `part` tells a preset's files apart."""
    on_gpu = bool(machine.gpus())
    provenance = {"commit": history.commit(), "command": "asv run"}
    if on_gpu == (preset != TRACKED[False]):
        target = history.records_file(preset + part)
        keep = None if target is None else history.unfinished(target)
        # Without a GPU there is nothing to overlap with, and a history of baselines would cost minutes.
        left_out = [path for path in paths if LABELS[path].baseline and not on_gpu]
        records = measure_cases(
            preset,
            [path for path in paths if path not in left_out],
            workloads,
            size,
            provenance=provenance,
            say=history.say,
            keep=keep,
            **options,
        )
        reason = "baselines are tracked on a GPU"
        records += _absent(preset, left_out, workloads, size, reason, provenance)
        if target is not None:
            history.save(records, target)
    else:
        reason = f"{preset} is tracked {'without' if on_gpu else 'with'} a GPU"
        records = _absent(preset, paths, workloads, size, reason, provenance)
    return {path: [record for record in records if record.path == path] for path in paths}


def _absent(
    preset: str,
    paths: Iterable[str],
    workloads: Iterable[Workload],
    size: int,
    reason: str,
    provenance: dict[str, Any],
) -> list[Record]:
    return [
        Record(path, preset, size, load.as_dict(), ABSENT, reason, provenance=provenance)
        for path in paths
        for load in workloads
    ]


def _fixed(preset: str) -> list[Workload]:
    return fixed(preset, BATCHES[preset])


def _rl(preset: str) -> list[Workload]:
    """GRPO's step, then the fixed batches at which the limit is sought."""
    return [grpo(**GRPO[preset]), *fixed(preset, SWEEP[preset])]


def _version(workloads: list[Workload]) -> str:
    return "-".join([str(_METHOD), *(workload.fingerprint() for workload in workloads)])


class _Rollout:
    """Metrics of any rollout; a preset's class says of which workload, paths and batches."""

    workload = "fixed"
    timeout = 300

    def __init_subclass__(cls) -> None:
        """Exact metrics have a version of their own, beside the class's."""
        for name, metric in METRICS.items():
            if metric.exact and hasattr(cls, f"track_{name}") and hasattr(cls, "version"):
                setattr(cls, f"track_{name}", _metric(name, f"{cls.version}-{_EXACT_METHOD}"))

    track_step_seconds = _metric("step_seconds")
    track_engine_step_seconds = _metric("engine_step_seconds")
    track_wire_bytes = _metric("wire_bytes")
    track_wire_encode_seconds = _metric("wire_encode_seconds")
    track_wire_send_seconds = _metric("wire_send_seconds")
    track_wire_wait_seconds = _metric("wire_wait_seconds")
    track_wire_receive_seconds = _metric("wire_receive_seconds")
    track_wire_decode_seconds = _metric("wire_decode_seconds")
    track_engine_cpu_seconds = _metric("engine_cpu_seconds")
    track_gpu_idle_share = _metric("gpu_idle_share")
    track_gpu_idle_seconds = _metric("gpu_idle_seconds")
    track_worker_idle_share = _metric("worker_idle_share")
    track_pipe_idle_seconds = _metric("pipe_idle_seconds")
    track_roofline_gap_share = _metric("roofline_gap_share")


class _FixedBatches(_Rollout):
    """The fixed workload at some batches."""

    param_names = ["path", "batch"]

    track_output_token_seconds = _metric("output_token_seconds")
    track_first_token_p50_seconds = _metric("first_token_p50_seconds")
    track_first_token_p99_seconds = _metric("first_token_p99_seconds")
    track_latency_p99_seconds = _metric("latency_p99_seconds")
    track_wire_calls = _metric("wire_calls")
    track_host_peak_bytes = _metric("host_peak_bytes")
    track_gpu_peak_bytes = _metric("gpu_peak_bytes")
    track_engine_start_seconds = _metric("engine_start_seconds")


class Nano(_FixedBatches):
    """The preset nano, where no GPU is."""

    params = [list(LABELS), list(BATCHES["nano"])]
    version = _version(_fixed("nano"))

    def setup_cache(self) -> Cache:
        return _measure("nano", list(LABELS), _fixed("nano"))

    setup_cache.timeout = 3600


class Qwen05B(_FixedBatches):
    """The preset qwen2.5-0.5b, where a GPU is."""

    params = [list(LABELS), list(BATCHES["qwen2.5-0.5b"])]
    version = _version(_fixed("qwen2.5-0.5b"))

    def setup_cache(self) -> Cache:
        return _measure("qwen2.5-0.5b", list(LABELS), _fixed("qwen2.5-0.5b"))

    setup_cache.timeout = 3600


class _LongTailed(_Rollout):
    """Answers of unequal length: what the tail costs."""

    workload = "grpo"
    param_names = ["path"]

    track_done_50_seconds = _metric("done_50_seconds")
    track_done_90_seconds = _metric("done_90_seconds")
    track_done_99_seconds = _metric("done_99_seconds")
    track_tail_share = _metric("tail_share")
    track_slowest_token_seconds = _metric("slowest_token_seconds")
    track_preemptions = _metric("preemptions")
    track_prefix_miss_share = _metric("prefix_miss_share")


def _best(limit: Limit, records: dict[int, Record]) -> list[float]:
    record = records[limit.best.batch]
    return [seconds / record.workload["tokens"] for seconds in record.metrics["step_seconds"]]


def _at_knee(limit: Limit, records: dict[int, Record]) -> list[float]:
    return records[limit.knee.batch].metrics["latency_p99_seconds"]


class _Limit:
    """What a path gives at its limit."""

    workload = "fixed"
    param_names = ["path"]
    timeout = 300

    track_token_seconds = _of_limit(_best, "step time for each token at the batch with the most tokens/s")
    track_knee_latency_p99_seconds = _of_limit(_at_knee, "99th percentile of latency at the knee")


class _NanoRl:
    """One engine start a path for both classes of nano."""

    params = [_NANO]

    def setup_cache(self) -> Cache:
        return _measure("nano", _NANO, _rl("nano"), "-rl", until_limit_seconds=_LIMIT_SECONDS)

    setup_cache.timeout = 3600


class NanoGrpo(_NanoRl, _LongTailed):
    """GRPO's step scaled down, where no GPU is."""

    version = _version(_rl("nano")[:1])


class NanoLimit(_NanoRl, _Limit):
    """The limit of nano, where no GPU is."""

    version = f"{_version(_rl('nano')[1:])}-{_LIMIT_METHOD}"


class _Qwen05BRl:
    """One engine start a path for both classes of qwen2.5-0.5b."""

    params = [_OWN_CARRIER]

    def setup_cache(self) -> Cache:
        preset = "qwen2.5-0.5b"
        return _measure(preset, _OWN_CARRIER, _rl(preset), "-rl", until_limit_seconds=_LIMIT_SECONDS)

    setup_cache.timeout = 7200


class Qwen05BGrpo(_Qwen05BRl, _LongTailed):
    """GRPO's step, where a GPU is."""

    version = _version(_rl("qwen2.5-0.5b")[:1])


class Qwen05BLimit(_Qwen05BRl, _Limit):
    """The limit of qwen2.5-0.5b, where a GPU is."""

    version = f"{_version(_rl('qwen2.5-0.5b')[1:])}-{_LIMIT_METHOD}"


class Qwen7BVerl(_LongTailed):
    """verl's headline workload scaled down, where two GPUs are."""

    workload = "verl"
    params = [_OWN_CARRIER]
    version = _version([verl(**GRPO["qwen2.5-7b"])])

    def setup_cache(self) -> Cache:
        return _measure("qwen2.5-7b", _OWN_CARRIER, [verl(**GRPO["qwen2.5-7b"])], size=2)

    setup_cache.timeout = 7200
