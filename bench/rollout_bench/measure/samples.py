"""From what was timed and counted in a rollout to one sample of each metric. Pure arithmetic.

`schema.metrics` says what each is. A metric that a path cannot give is left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import overload

from ..schema.metrics import METRICS


@dataclass(frozen=True)
class RequestTimes:
    """One sample's times in seconds from its arrival, and how many tokens it got."""

    first_token_seconds: float
    latency_seconds: float
    tokens: int
    done_seconds: float | None = None
    """From submitting the rollout to its last token."""
    sent_seconds: float | None = None
    """From the rollout's begin until it was due; None where all were, at its begin."""
    history_tokens: int = 0
    """Of its prompt's tokens those of earlier turns."""
    ways_seconds: tuple[float, ...] | None = None
    """As _WAYS names them: from submitting the rollout to the engine's queue, from the last token to who
    submitted it; where they are known, from submitting to the front, and in the engine."""
    first_seen_seconds: float | None = None
    """As the others, until who submitted it had its first tokens; None where it does not stream."""
    resent_tokens: int = 0
    """Tokens of its prompt and of what it had, as often as it was sent again with them."""


@dataclass(frozen=True)
class Counts:
    """What grew during one rollout; None where a path does not report it."""

    engine_steps: int
    engine_cpu_seconds: float
    host_peak_bytes: int | None
    gpu_peak_bytes: int | None = None
    wire_bytes: float | None = None
    wire_calls: float | None = None
    wire_seconds: dict[str, float] = field(default_factory=dict)
    """What the engine's process spent on the pipe, by the metric's name; empty where that is not reported."""
    gpu_busy_seconds: float | None = None
    """Time in which the GPU ran engine steps, mean over workers."""
    worker_busy_seconds: float | None = None
    """Time in which a worker without a GPU computed engine steps, mean over workers."""
    preemptions: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    """Of the prompt tokens those that the prefix cache had; None where there is no such cache."""
    caller_cpu_seconds: float | None = None
    front_cpu_seconds: float | None = None
    """Of another process than the caller's, before the engine's."""
    worker_cpu_seconds: float | None = None
    """Of all workers; None where the engine's process is the worker."""
    entry_bytes: int | None = None
    """Of requests, and of what came of them."""
    caller_lag_seconds: float | None = None
    front_lag_seconds: float | None = None
    """How late their event loops were, mean; of several fronts the latest's."""
    first_step: tuple[int, int] | None = None
    """Requests and tokens that the first engine step took up."""
    stage_seconds: dict[str, float] = field(default_factory=dict)
    """Of an engine step, by the metric's name, see `timeline`; empty where it is not asked for."""
    block_tokens: int = 1
    """Tokens of a block of the KV cache: the prefix cache finds whole ones."""
    steps: list[list[tuple[float, float]]] = field(default_factory=list)
    """Of each worker, for every engine step: when it began, of perf_counter, and how long it took to compute.
    Empty where nobody asks for it, or they are not timed."""
    floor_seconds: float | None = None
    """The least time of all its engine steps, see `roofline`."""


_WAYS = ("way_in_seconds", "way_back_seconds", "to_front_seconds", "in_engine_seconds")
_SEEN = {"p50": 0.5, "p99": 0.99}
_PIPE = ("wire_encode_seconds", "wire_send_seconds", "wire_receive_seconds", "wire_decode_seconds")
"""What the engine's process does for the pipe in an engine step."""
_WAIT = "wire_wait_seconds"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of `values` do not exceed (nearest rank)."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = math.ceil(share * len(ordered) - 1e-9)  # 0.14 * 50 is a little over 7
    return ordered[max(1, rank) - 1]


def rollout_metrics(
    step_seconds: float, requests: Sequence[RequestTimes], counts: Counts
) -> dict[str, float]:
    """One sample of each metric, from one rollout."""
    first = [request.first_token_seconds for request in requests]
    gaps = [
        (request.latency_seconds - request.first_token_seconds) / (request.tokens - 1)
        for request in requests
        if request.tokens > 1
    ]
    steps = counts.engine_steps
    values: dict[str, float | None] = {
        "step_seconds": step_seconds,
        "engine_step_seconds": step_seconds / steps,
        "output_token_seconds": median(gaps) if gaps else None,
        "first_token_p50_seconds": percentile(first, 0.5),
        "first_token_p99_seconds": percentile(first, 0.99),
        "latency_p99_seconds": percentile([request.latency_seconds for request in requests], 0.99),
        "wire_bytes": None if counts.wire_bytes is None else counts.wire_bytes / steps,
        "wire_calls": None if counts.wire_calls is None else counts.wire_calls / steps,
        **{name: seconds / steps for name, seconds in counts.wire_seconds.items()},
        **counts.stage_seconds,
        "engine_cpu_seconds": counts.engine_cpu_seconds / steps,
        "worker_cpu_seconds": None
        if counts.worker_cpu_seconds is None
        else counts.worker_cpu_seconds / steps,
        "host_peak_bytes": counts.host_peak_bytes,
        "gpu_peak_bytes": counts.gpu_peak_bytes,
        **_tail(step_seconds, requests, gaps),
        **_turns(requests, counts),
        **_ways(requests, counts),
        "caller_lag_seconds": counts.caller_lag_seconds,
        "front_lag_seconds": counts.front_lag_seconds,
        "preemptions": counts.preemptions,
        "prefix_miss_share": _miss_share(counts),
        "roofline_gap_share": _gap(counts.floor_seconds, step_seconds),
    }
    values |= _idle(step_seconds, counts, values)
    return {name: value for name, value in values.items() if value is not None}


def caller_metrics(
    step_seconds: float, requests: Sequence[RequestTimes], cpu_seconds: float, peak_bytes: int
) -> dict[str, float]:
    """One sample of each metric that whoever submits a rollout can take alone, from one rollout."""
    values: dict[str, float | None] = {
        "step_seconds": step_seconds,
        "latency_p99_seconds": percentile([request.latency_seconds for request in requests], 0.99),
        "caller_cpu_seconds": cpu_seconds / len(requests),
        "host_peak_bytes": peak_bytes,
        **_tail(step_seconds, requests, []),
    }
    return {name: value for name, value in values.items() if value is not None}


def _tail(
    step_seconds: float, requests: Sequence[RequestTimes], gaps: Sequence[float]
) -> dict[str, float | None]:
    done = [request.done_seconds for request in requests if request.done_seconds is not None]
    values: dict[str, float | None] = {"slowest_token_seconds": max(gaps, default=None)}
    if len(done) == len(requests) and all(request.sent_seconds is None for request in requests):
        for percent in (50, 90, 99):
            values[f"done_{percent}_seconds"] = percentile(done, percent / 100)
        values["tail_share"] = _gap(percentile(done, 0.9), step_seconds)
    return values


def _turns(requests: Sequence[RequestTimes], counts: Counts) -> dict[str, float | None]:
    """What turns take, and what of the earlier ones the prefix cache had lost, of blocks that are full and
    computed: the last token of an answer is not, before a turn that follows."""
    later = [request for request in requests if request.history_tokens]
    if not later:
        return {}
    block = counts.block_tokens
    whole = sum((request.history_tokens - 1) // block * block for request in later)
    turns = [request.latency_seconds for request in requests]
    return {
        "turn_p50_seconds": percentile(turns, 0.5),
        "turn_p99_seconds": percentile(turns, 0.99),
        "later_first_token_p50_seconds": percentile([one.first_token_seconds for one in later], 0.5),
        "later_first_token_p99_seconds": percentile([one.first_token_seconds for one in later], 0.99),
        "history_miss_share": None
        if counts.cached_tokens is None or not whole
        else max(0.0, 1 - counts.cached_tokens / whole),
    }


def _ways(requests: Sequence[RequestTimes], counts: Counts) -> dict[str, float | None]:
    ways = [request.ways_seconds for request in requests if request.ways_seconds is not None]
    cpu = {"caller": counts.caller_cpu_seconds, "front": counts.front_cpu_seconds}
    values = {
        f"{who}_cpu_seconds": None if spent is None else spent / len(requests) for who, spent in cpu.items()
    }
    seen = [request.first_seen_seconds for request in requests if request.first_seen_seconds is not None]
    if len(seen) == len(requests):
        values |= {f"first_seen_{name}_seconds": percentile(seen, share) for name, share in _SEEN.items()}
    if len(ways) == len(requests):
        values |= dict(zip(_WAYS, map(median, zip(*ways, strict=False)), strict=False))
    if counts.entry_bytes is not None:
        values["entry_bytes"] = counts.entry_bytes / len(requests)
    return values


def _idle(step_seconds: float, counts: Counts, values: dict[str, float | None]) -> dict[str, float | None]:
    """How long whoever computes had nothing to compute, and how much of that the pipe may explain."""
    idle: dict[str, float | None] = {}
    for who, busy in (("gpu", counts.gpu_busy_seconds), ("worker", counts.worker_busy_seconds)):
        if busy is None:
            continue
        share = _gap(busy, step_seconds)
        seconds = share * step_seconds / counts.engine_steps
        idle |= {f"{who}_idle_share": share, f"{who}_idle_seconds": seconds}
        pipe = [value for name in (*_PIPE, _WAIT) if (value := values.get(name)) is not None]
        if len(pipe) == len(_PIPE) + 1:
            *own, wait = pipe
            # What the engine waits for beyond the computing is on its way, or with the worker's host.
            on_its_way = max(0.0, wait - busy / counts.engine_steps)
            idle["pipe_idle_seconds"] = min(seconds, sum(own) + on_its_way)
    return idle


@overload
def _gap(part: float, whole: float) -> float: ...
@overload
def _gap(part: float | None, whole: float) -> float | None: ...
def _gap(part: float | None, whole: float) -> float | None:
    """The share of `whole` that is beyond `part`; 0 where `part` is the longer by what clocks differ."""
    return None if part is None else max(0.0, 1 - part / whole)


def _miss_share(counts: Counts) -> float | None:
    if counts.cached_tokens is None or not counts.prompt_tokens:
        return None
    return 1 - counts.cached_tokens / counts.prompt_tokens


def gather(rollouts: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Samples by metric, from the metrics of each rollout."""
    known = [name for name in METRICS if all(name in rollout for rollout in rollouts)]
    return {name: [rollout[name] for rollout in rollouts] for name in known}


def without_exact(metrics: dict[str, list[float]]) -> dict[str, list[float]]:
    """The metrics that are no counts."""
    return {name: samples for name, samples in metrics.items() if not METRICS[name].exact}
