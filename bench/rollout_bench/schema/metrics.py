"""The table of metrics: what each is, in which unit, which way is better. Pure.

One rollout gives one sample of each metric (`measure.samples`); asv gets the samples and makes median and
interval of them. A metric that a path cannot give is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["seconds", "bytes", "calls", "share", "ratio", "preemptions", ""]
Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Metric:
    """A tracked metric; tables, pages, documents and asv's attributes are derived from it."""

    unit: Unit
    title: str
    """How people call it."""
    meaning: str
    """What it is, in a sentence; asv shows it."""
    exact: bool = False
    """A count, the same in every run of the same code: judged by equality, not by an interval."""
    better: Better = "lower"
    """asv reads lower as better, so what is tracked is chosen so that it is."""
    note: str = ""
    """What a reader of the glossary should know besides."""


def _stage(name: str, meaning: str) -> Metric:
    """A metric of `timeline`, there where that was asked for."""
    return Metric("seconds", f"stage: {name}", f"{meaning}; median over engine steps")


_SENT_TO = "from when a request was due to its "


def _steady(unit: Unit, name: str, meaning: str) -> Metric:
    """A metric of `steady`, there where requests arrive in a window or at a rate."""
    return Metric(unit, f"steady state: {name}", f"at steady state, {meaning}")


CONTROL_RATIO = "control_ratio"
"""What timings of a case are judged by: both sides of it were measured in one session."""

METRICS: dict[str, Metric] = {
    CONTROL_RATIO: Metric(
        "ratio",
        "step time over the control's",
        "step time over that of the control in the same round, Hodges-Lehmann estimate of the rounds",
        note="where it is there, the case's timings are judged by it; control.toml names the control",
    ),
    "step_seconds": Metric("seconds", "step time", "from submitting a rollout to its last token"),
    "engine_step_seconds": Metric("seconds", "engine step", "step time over the engine steps in it"),
    "output_token_seconds": Metric(
        "seconds", "time per token", "time between two tokens of a request, median over requests"
    ),
    "first_token_p50_seconds": Metric(
        "seconds",
        "first token, median",
        "arrival of a request to its first token, median",
        note="it arrives at the front",
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
        note="both ways, in a gated start; paths of ours",
    ),
    "wire_calls": Metric(
        "calls",
        "calls in an engine step",
        "messages to the workers for each engine step",
        exact=True,
        note="in a gated start; paths of ours",
    ),
    "wire_encode_seconds": Metric(
        "seconds",
        "pipe: encode",
        "encoding calls for the workers, for each engine step",
        note="spent by the engine's process; paths of ours",
    ),
    "wire_send_seconds": Metric(
        "seconds",
        "pipe: send",
        "handing calls to the channel, for each engine step",
        note="spent by the engine's process; paths of ours",
    ),
    "wire_wait_seconds": Metric(
        "seconds",
        "pipe: wait",
        "waiting for replies, for each engine step",
        note="spent by the engine's process; paths of ours",
    ),
    "wire_receive_seconds": Metric(
        "seconds",
        "pipe: receive",
        "taking replies that have come, for each engine step",
        note="spent by the engine's process; paths of ours",
    ),
    "wire_decode_seconds": Metric(
        "seconds",
        "pipe: decode",
        "decoding replies, for each engine step",
        note="spent by the engine's process; paths of ours",
    ),
    "engine_cpu_seconds": Metric(
        "seconds",
        "engine CPU in an engine step",
        "CPU time of the engine's process for each engine step",
        note="of all its threads; with `sync` that process is the worker too",
    ),
    "worker_cpu_seconds": Metric(
        "seconds",
        "worker CPU in an engine step",
        "CPU time of the workers for each engine step",
        note="of all of them; absent with `sync`",
    ),
    "way_in_seconds": Metric(
        "seconds",
        "way in",
        "from submitting a rollout until the engine has a request in its queue, median over requests",
        note="through the entry and vLLM's front",
    ),
    "to_front_seconds": Metric(
        "seconds",
        "to the front",
        "from submitting a rollout until vLLM's front has a request, median over requests",
        note="what is left of the way in is the front's own",
    ),
    "in_engine_seconds": Metric(
        "seconds",
        "in the engine",
        "from the engine's queue to the last token, median over samples",
    ),
    "way_back_seconds": Metric(
        "seconds", "way back", "from a sample's last token until who submitted it has it, median over samples"
    ),
    "first_seen_p50_seconds": Metric(
        "seconds",
        "first token seen, median",
        "from when a request is due until who submitted it has its first tokens, median",
        note="of what streams",
    ),
    "first_seen_p99_seconds": Metric(
        "seconds",
        "first token seen, p99",
        "from when a request is due until who submitted it has its first tokens, 99th percentile",
        note="of what streams",
    ),
    "entry_bytes": Metric(
        "bytes",
        "bytes of a request and its answer",
        "what an entry carries for each request, both ways",
        note="what frames it, such as HTTP's headers, is left out; Ray does not say",
    ),
    "caller_cpu_seconds": Metric(
        "seconds",
        "caller CPU for a request",
        "CPU time of the process that submits a rollout, for each request",
        note="with the entry `local` that is the front, too",
    ),
    "front_cpu_seconds": Metric(
        "seconds",
        "front CPU for a request",
        "CPU time of the front, for each request",
        note="where it is a process of its own; with the router's, where there is one",
    ),
    "caller_lag_seconds": Metric(
        "seconds",
        "caller's event loop late",
        "how late the event loop of the process that submits a rollout is, mean",
        note="for a timer that is due every 10 ms; with the entry `local` that is the front's, too",
    ),
    "front_lag_seconds": Metric(
        "seconds",
        "front's event loop late",
        "how late the event loop of the front is, mean",
        note="where it is a process of its own; of several the latest's",
    ),
    "host_peak_bytes": Metric(
        "bytes",
        "host memory, peak",
        "peak resident memory of front, engine and workers, summed",
        note="shared pages count in each",
    ),
    "gpu_peak_bytes": Metric(
        "bytes",
        "GPU memory, peak",
        "peak memory that torch held on the GPU, summed over workers",
        note="the KV cache is most of it",
    ),
    "done_50_seconds": Metric(
        "seconds", "50 % done", "from submitting a rollout until half of its samples are done"
    ),
    "done_90_seconds": Metric(
        "seconds", "90 % done", "from submitting a rollout until 90 % of its samples are done"
    ),
    "done_99_seconds": Metric(
        "seconds",
        "99 % done",
        "from submitting a rollout until 99 % of its samples are done",
        note="a sample is done when it has its last token",
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
        "preemptions",
        "preemptions",
        "samples that were put back because the KV cache was full",
        note="they are computed again later",
    ),
    "prefix_miss_share": Metric(
        "share",
        "prefix-cache misses, share of prompt tokens",
        "share of the prompt tokens that the prefix cache did not have",
        note="absent where the cache is off",
    ),
    "gpu_idle_share": Metric(
        "share",
        "GPU idle, share of the step",
        "share of the step time in which the GPU ran no engine step",
        note="mean over workers",
    ),
    "gpu_idle_seconds": Metric(
        "seconds",
        "GPU idle in an engine step",
        "time for each engine step in which the GPU ran none",
        note="mean over workers",
    ),
    "worker_idle_share": Metric(
        "share",
        "worker idle, share of the step",
        "share of the step time in which the worker computed nothing",
        note="where there is no GPU",
    ),
    "worker_idle_seconds": Metric(
        "seconds",
        "worker idle in an engine step",
        "time for each engine step in which the worker computed none",
        note="where there is no GPU",
    ),
    "pipe_idle_seconds": Metric(
        "seconds",
        "idle that the pipe explains",
        "idle time for each engine step that the pipe explains, at most",
        note="its work in the engine's process, and waiting beyond the computing",
    ),
    "roofline_gap_share": Metric(
        "share",
        "share of the step above the roofline",
        "share of the step time above what memory bandwidth allows",
        note="the least time in which its engine steps can read what they must",
    ),
    "steady_token_seconds": _steady("seconds", "time for each token", "time over the tokens generated in it"),
    "steady_first_token_p50_seconds": _steady(
        "seconds", "first token, median", _SENT_TO + "first token, median"
    ),
    "steady_first_token_p99_seconds": _steady(
        "seconds", "first token, p99", _SENT_TO + "first token, 99th percentile"
    ),
    "steady_latency_p50_seconds": _steady("seconds", "request latency, median", _SENT_TO + "answer, median"),
    "steady_latency_p99_seconds": _steady(
        "seconds", "request latency, p99", _SENT_TO + "answer, 99th percentile"
    ),
    "steady_gpu_idle_share": _steady("share", "GPU idle", "share of it in which the GPU ran no engine step"),
    "steady_worker_idle_share": _steady(
        "share", "worker idle", "share of it in which the worker computed nothing"
    ),
    "turn_p50_seconds": Metric("seconds", "a turn, median", "from when a turn is due to its answer, median"),
    "turn_p99_seconds": Metric(
        "seconds", "a turn, p99", "from when a turn is due to its answer, 99th percentile"
    ),
    "later_first_token_p50_seconds": Metric(
        "seconds",
        "first token of later turns, median",
        "from when a later turn is due to its first token, median",
    ),
    "later_first_token_p99_seconds": Metric(
        "seconds",
        "first token of later turns, p99",
        "from when a later turn is due to its first token, 99th percentile",
    ),
    "history_miss_share": Metric(
        "share",
        "history that is computed again",
        "share of the tokens of earlier turns, in whole blocks, that the prefix cache no longer had",
    ),
    "quiet_seconds": Metric(
        "seconds", "until quiet", "from interrupting a rollout until the engine was paused, or had aborted"
    ),
    "resume_seconds": Metric(
        "seconds",
        "until it goes on",
        "from when the engine was quiet, or had its new weights, to its next engine step",
    ),
    "update_seconds": Metric(
        "seconds",
        "weights replaced",
        "from when the engine was quiet until every worker had copied new weights from the host's memory",
    ),
    "sleep_seconds": Metric(
        "seconds",
        "to sleep",
        "from interrupting a rollout until its requests had ended and the engine's memory was given back",
    ),
    "wake_seconds": Metric(
        "seconds",
        "to wake",
        "from waking the engine until it had its memory back, without replacing weights",
        note="at level 1 it has its weights then, too",
    ),
    "freed_bytes": Metric(
        "bytes",
        "memory given back",
        "how much more GPU memory was free while the engine slept, summed over workers",
        better="higher",
    ),
    "renewed_seconds": Metric(
        "seconds",
        "until it generates anew",
        "from when the engine was quiet, or was to wake, until its first step with new weights was over",
        note="at level 1 of sleep with the old ones",
    ),
    "full_speed_seconds": Metric(
        "seconds",
        "until full speed",
        "from when the engine was to go on, or to wake, until samples got their tokens as fast as before",
    ),
    "resent_share": Metric(
        "share",
        "sent again",
        "tokens of what was sent again, over those that the rollout generates",
    ),
    "recomputed_share": Metric(
        "share",
        "computed twice",
        "prompt tokens computed beyond those of a rollout undisturbed, over the tokens that it generates",
    ),
    "warm_up_share": Metric(
        "share",
        "warm-up, share of the arrivals",
        "share of the time until the last request is sent that is before the steady state",
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
        "seconds",
        "engine start",
        "from asking for the engine until it can generate",
        note="one start, so no interval",
    ),
}
"""Every metric by name, in the order in which they are shown."""

WITHOUT_CONTROL = {name: one for name, one in METRICS.items() if name != CONTROL_RATIO}
"""What commands measure and judge: the control is of asv's history."""

EXACT = tuple(name for name, one in METRICS.items() if one.exact)
"""Counts, of which two measurements are enough to tell a change."""

STEP, ENGINE_STEP = "step_seconds", "engine_step_seconds"

PARTS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "GPU": ((ENGINE_STEP,), ("gpu_idle_seconds",)),
    "GPU idle": (("gpu_idle_seconds",), ()),
    "worker": ((ENGINE_STEP,), ("worker_idle_seconds",)),
    "scheduler": (("stage_schedule_seconds", "stage_update_seconds"), ()),
    "launch": (("stage_launch_seconds",), ()),
    "pipe": (
        ("wire_encode_seconds", "wire_send_seconds", "wire_receive_seconds", "wire_decode_seconds"),
        (),
    ),
    "engine CPU": (("engine_cpu_seconds",), ()),
}
"""What explains a step time: the metrics, of an engine step, that a part is the sum of, and those that are
taken off. GPU and GPU idle are all of a step. The others lie within these and overlap: engine CPU has what
scheduler and pipe compute in it."""


_ENDINGS: tuple[Unit, ...] = ("seconds", "bytes", "share")


def metric(name: str) -> Metric:
    """A metric's facts; of one that is not known, as in an older record, what its name says."""
    if name in METRICS:
        return METRICS[name]
    unit: Unit = next((unit for unit in _ENDINGS if name.endswith(f"_{unit}")), "")
    return Metric(unit, name.replace("_", " "), "")


def title(name: str) -> str:
    """How people call a metric."""
    return metric(name).title


def is_worse(ratio: float, name: str) -> bool:
    """Whether a metric that has become `ratio` times what it was is worse."""
    return ratio > 1 if metric(name).better == "lower" else ratio < 1
