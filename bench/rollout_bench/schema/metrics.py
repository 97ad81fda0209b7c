"""The table of metrics: unit, title and meaning of each. Pure.

One rollout gives one sample of each metric (`measure.samples`); asv gets the samples and makes median and
interval of them. Lower is better for every metric. A metric that a path cannot give is left out.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A tracked metric: its unit, how people call it, and what it is in a sentence. Lower is better."""

    unit: str
    title: str
    meaning: str
    exact: bool = False
    """A count, the same in every run of the same code: judged by equality, not by an interval."""


def _stage(name: str, meaning: str) -> Metric:
    """A metric of `timeline`, there where that was asked for."""
    return Metric("seconds", f"stage: {name}", f"{meaning}; median over engine steps")


METRICS: dict[str, Metric] = {
    "step_seconds": Metric("seconds", "step time", "from submitting a rollout to its last token"),
    "engine_step_seconds": Metric("seconds", "engine step", "step time over the engine steps in it"),
    "output_token_seconds": Metric(
        "seconds", "time per token", "time between two tokens of a request, median over requests"
    ),
    "first_token_p50_seconds": Metric(
        "seconds", "first token, median", "arrival of a request to its first token, median"
    ),
    "first_token_p99_seconds": Metric(
        "seconds", "first token, p99", "arrival of a request to its first token, 99th percentile"
    ),
    "latency_p99_seconds": Metric(
        "seconds", "request latency, p99", "arrival of a request to its last token, 99th percentile"
    ),
    "wire_bytes": Metric(
        "bytes",
        "bytes on the wire in an engine step",
        "bytes to and from the workers for each engine step",
        exact=True,
    ),
    "wire_calls": Metric(
        "calls", "calls in an engine step", "messages to the workers for each engine step", exact=True
    ),
    "wire_encode_seconds": Metric(
        "seconds", "pipe: encode", "encoding calls for the workers, for each engine step"
    ),
    "wire_send_seconds": Metric(
        "seconds", "pipe: send", "handing calls to the channel, for each engine step"
    ),
    "wire_wait_seconds": Metric("seconds", "pipe: wait", "waiting for replies, for each engine step"),
    "wire_receive_seconds": Metric(
        "seconds", "pipe: receive", "taking replies that have come, for each engine step"
    ),
    "wire_decode_seconds": Metric("seconds", "pipe: decode", "decoding replies, for each engine step"),
    "engine_cpu_seconds": Metric(
        "seconds", "engine CPU in an engine step", "CPU time of the engine's process for each engine step"
    ),
    "host_peak_bytes": Metric(
        "bytes", "host memory, peak", "peak resident memory of front, engine and workers, summed"
    ),
    "gpu_peak_bytes": Metric(
        "bytes", "GPU memory, peak", "peak memory that torch held on the GPU, summed over workers"
    ),
    "done_50_seconds": Metric(
        "seconds", "50 % done", "from submitting a rollout until half of its samples are done"
    ),
    "done_90_seconds": Metric(
        "seconds", "90 % done", "from submitting a rollout until 90 % of its samples are done"
    ),
    "done_99_seconds": Metric(
        "seconds", "99 % done", "from submitting a rollout until 99 % of its samples are done"
    ),
    "tail_share": Metric(
        "share",
        "tail: share of the step after 90 % are done",
        "share of the step time after 90 % of the samples are done",
    ),
    "slowest_token_seconds": Metric(
        "seconds", "time per token of the slowest", "time between two tokens of the slowest sample"
    ),
    "preemptions": Metric(
        "preemptions", "preemptions", "samples that were put back because the KV cache was full"
    ),
    "prefix_miss_share": Metric(
        "share",
        "prefix-cache misses, share of prompt tokens",
        "share of the prompt tokens that the prefix cache did not have",
    ),
    "gpu_idle_share": Metric(
        "share", "GPU idle, share of the step", "share of the step time in which the GPU ran no engine step"
    ),
    "gpu_idle_seconds": Metric(
        "seconds", "GPU idle in an engine step", "time for each engine step in which the GPU ran none"
    ),
    "worker_idle_share": Metric(
        "share",
        "worker idle, share of the step",
        "share of the step time in which the worker computed nothing",
    ),
    "worker_idle_seconds": Metric(
        "seconds",
        "worker idle in an engine step",
        "time for each engine step in which the worker computed none",
    ),
    "pipe_idle_seconds": Metric(
        "seconds",
        "idle that the pipe explains",
        "idle time for each engine step that the pipe explains, at most",
    ),
    "roofline_gap_share": Metric(
        "share",
        "share of the step above the roofline",
        "share of the step time above what memory bandwidth allows",
    ),
    "stage_schedule_seconds": _stage("schedule", "the scheduler decides on a step"),
    "stage_call_seconds": _stage(
        "call", "from there until the worker begins: encode, carry, wait for it, decode"
    ),
    "stage_launch_seconds": _stage("launch", "the worker prepares and launches the step"),
    "stage_compute_seconds": _stage("compute", "from there until its output is in the worker's memory"),
    "stage_reply_seconds": _stage("reply", "from there until the scheduler takes it: encode, carry, decode"),
    "stage_update_seconds": _stage("update", "the scheduler takes the output"),
    "stage_turn_seconds": _stage(
        "turn", "from an output until the worker begins the first step scheduled with it"
    ),
    "engine_start_seconds": Metric(
        "seconds", "engine start", "from asking for the engine until it can generate"
    ),
}
"""Every metric by name, in the order in which they are shown. Lower is better for all of them."""


def title(name: str) -> str:
    """How people call a metric; one that is not known, as in an older record, by its name."""
    return METRICS[name].title if name in METRICS else name.replace("_", " ")
