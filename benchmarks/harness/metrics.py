"""From what was timed and counted to the metrics of a cell. Pure arithmetic.

One rollout gives one sample of each metric; asv gets the samples and makes median and interval
of them. Lower is better for every metric. A metric that a path cannot give is left out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Metric:
    """A tracked metric: its unit, and what it is in a sentence."""

    unit: str
    meaning: str


METRICS: dict[str, Metric] = {
    "step_seconds": Metric("seconds", "from submitting a rollout to its last token"),
    "engine_step_seconds": Metric("seconds", "step time over the engine steps in it"),
    "output_token_seconds": Metric("seconds", "time between two tokens of a request, median over requests"),
    "first_token_p50_seconds": Metric("seconds", "arrival of a request to its first token, median"),
    "first_token_p99_seconds": Metric("seconds", "arrival of a request to its first token, 99th percentile"),
    "latency_p99_seconds": Metric("seconds", "arrival of a request to its last token, 99th percentile"),
    "wire_bytes": Metric("bytes", "bytes to and from the workers for each engine step"),
    "wire_calls": Metric("calls", "messages to the workers for each engine step"),
    "engine_cpu_seconds": Metric("seconds", "CPU time of the engine's process for each engine step"),
    "host_peak_bytes": Metric("bytes", "peak resident memory of front, engine and workers, summed"),
    "gpu_peak_bytes": Metric("bytes", "peak memory that torch held on the GPU, summed over workers"),
    "engine_start_seconds": Metric("seconds", "from asking for the engine until it can generate"),
}
"""Every metric by name. Lower is better for all of them."""


@dataclass(frozen=True)
class RequestTimes:
    """One sample's times in seconds from its arrival, and how many tokens it got."""

    first_token_seconds: float
    latency_seconds: float
    tokens: int


@dataclass(frozen=True)
class Counts:
    """What grew during one rollout; None where a path does not tell."""

    engine_steps: int
    engine_cpu_seconds: float
    host_peak_bytes: int
    gpu_peak_bytes: int | None = None
    wire_bytes: int | None = None
    wire_calls: int | None = None


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
        "engine_cpu_seconds": counts.engine_cpu_seconds / steps,
        "host_peak_bytes": counts.host_peak_bytes,
        "gpu_peak_bytes": counts.gpu_peak_bytes,
    }
    return {name: value for name, value in values.items() if value is not None}


def gather(rollouts: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Samples by metric, from the metrics of each rollout."""
    return {name: [rollout[name] for rollout in rollouts] for name in METRICS if name in rollouts[0]}
