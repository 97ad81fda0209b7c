"""Records in, text out: tails, idle time, the share of the roofline, and limits. Reads and starts nothing."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from ..schema.record import MEASURED, Record, is_system
from .estimate import estimate
from .names import work_of
from .numbers import change, change_interval, number, quantity, share
from .reasons import first_line
from .rollouts import batch
from .table import table

_BAR = 24
_STAGES = ("schedule", "call", "launch", "compute", "reply", "update", "turn")


def tail_table(records: Sequence[Record]) -> str:
    """One row a measured record, medians: when its samples were done, and what held them up.

    `tail` is the share of the step time after 90 % are done, `slowest` the tokens/s of the slowest sample,
    `cached` the share of the prompt tokens that the prefix cache had. Where requests arrive one after another
    there is no tail.
    """
    at_once = [
        record for record in records if not {"arrival", "session", "interrupt"} & record.workload.keys()
    ]
    titles = ["path", "batch", "50 % done", "90 %", "99 %", "all", "tail", "slowest", "preempted", "cached"]
    caption = "when the samples of a rollout were done, medians; the ratios say which path is faster"
    return medians_table(caption, titles, at_once, _tail)


def _tail(values: dict[str, float]) -> list[str]:
    hits = None if "prefix_miss_share" not in values else 1 - values["prefix_miss_share"]
    gap = values.get("slowest_token_seconds")
    return [
        *(_quantity(values, f"done_{percent}_seconds") for percent in (50, 90, 99)),
        _quantity(values, "step_seconds"),
        _share(values.get("tail_share")),
        f"{number(1 / gap)}/s" if gap else "absent",
        f"{values['preemptions']:g}" if "preemptions" in values else "absent",
        "off" if hits is None and "preemptions" in values else _share(hits),
    ]


def idle_table(records: Sequence[Record]) -> str:
    """One row a measured record, medians: who computed, who idled, what the pipe explains, the roofline.

    Who computes and idles is the GPU, or without one the worker.
    """
    titles = ["path", "batch", "busy", "idle", "idle a step", "pipe <=", "roofline"]
    caption = "busy and idle, medians; pipe: its part of that at most; roofline: share of the memory's speed"
    ours = [record for record in records if not is_system(record.path)]  # another's system shows none of it
    return medians_table(caption, titles, ours, _idle)


def steady_table(records: Sequence[Record]) -> str:
    """One row a record of requests that arrive one after another, medians: what is so at steady state.

    First tokens and answers count from when a request was due.
    """
    steady = [record for record in records if "steady_token_seconds" in record.metrics]
    titles = ["path", "batch", "warm-up", "a token", "idle", "first token", "99 %", "answer", "99 %"]
    caption = "requests as they arrive, at steady state, medians; counted from when each was due"
    return medians_table(caption, titles, steady, _steady)


def _steady(values: dict[str, float]) -> list[str]:
    idle = values.get("steady_gpu_idle_share", values.get("steady_worker_idle_share"))
    return [
        _share(values["warm_up_share"]),
        _quantity(values, "steady_token_seconds"),
        _share(idle),
        *(
            _quantity(values, f"steady_{name}_{percentile}_seconds")
            for name in ("first_token", "latency")
            for percentile in ("p50", "p99")
        ),
    ]


def turn_table(records: Sequence[Record]) -> str:
    """One row a record of sessions, medians: what a turn takes, and what of earlier turns was computed again.

    Turns and the first tokens of later ones count from when a turn was due.
    """
    turns = [record for record in records if "turn_p50_seconds" in record.metrics]
    titles = ["path", "batch", "a turn", "99 %", "later first token", "99 %", "history lost", "cached"]
    caption = "turns of sessions, medians; counted from when each was due, without the time of tools"
    return medians_table(caption, titles, turns, _turn)


def _turn(values: dict[str, float]) -> list[str]:
    hits = None if "prefix_miss_share" not in values else 1 - values["prefix_miss_share"]
    return [
        *(
            _quantity(values, f"{name}_{percentile}_seconds")
            for name in ("turn", "later_first_token")
            for percentile in ("p50", "p99")
        ),
        _share(values.get("history_miss_share")),
        "off" if hits is None else _share(hits),
    ]


def interruption_table(records: Sequence[Record]) -> str:
    """One row a record of rollouts that are interrupted, medians: until the engine was quiet, until it had
    new weights where it got any, until it went on, and until samples were as fast as before; what was sent
    again and computed twice, over the tokens that a rollout generates."""
    interrupted = [record for record in records if "quiet_seconds" in record.metrics]
    caption = "rollouts that were interrupted, medians"
    titles = ["path", "batch", "until quiet", "weights", "goes on", "full speed", "sent again", "twice"]
    return medians_table(caption, titles, interrupted, _interruption)


def _interruption(values: dict[str, float]) -> list[str]:
    return [
        _quantity(values, "quiet_seconds"),
        _quantity(values, "update_seconds") if "update_seconds" in values else "",
        _quantity(values, "resume_seconds"),
        _quantity(values, "full_speed_seconds"),
        *(_share(values.get(name)) for name in ("resent_share", "recomputed_share")),
    ]


def sleep_table(records: Sequence[Record]) -> str:
    """One row a record of engines that slept in the middle of a rollout, medians: until they slept, what they
    gave back, until they had it again and new weights where they got any; from when they were to wake until
    their first step was over, and until samples were as fast as before; what was computed twice."""
    slept = [record for record in records if "sleep_seconds" in record.metrics]
    caption = "engines that slept, medians; first step and full speed are from when they were to wake"
    titles = ["path", "batch", "to sleep", "freed", "to wake", "weights", "first step", "full speed", "twice"]
    return medians_table(caption, titles, slept, _sleep)


def _sleep(values: dict[str, float]) -> list[str]:
    return [
        *(_quantity(values, name) for name in ("sleep_seconds", "freed_bytes", "wake_seconds")),
        _quantity(values, "update_seconds") if "update_seconds" in values else "",
        *(_quantity(values, name) for name in ("renewed_seconds", "full_speed_seconds")),
        _share(values.get("recomputed_share")),
    ]


def stage_table(records: Sequence[Record]) -> str:
    """One row a record with a timeline, medians over rollouts: the stages of an engine step, in their order.

    `turn` is from an output until the worker begins the first step that was scheduled with it.
    """
    timed = [record for record in records if f"stage_{_STAGES[0]}_seconds" in record.metrics]
    caption = "stages of an engine step, medians; `turn` holds others of them, so they do not add up"
    return medians_table(caption, ["path", "batch", *_STAGES], timed, _stage)


def _stage(values: dict[str, float]) -> list[str]:
    return [_quantity(values, f"stage_{name}_seconds") for name in _STAGES]


def medians_table(
    caption: str,
    titles: list[str],
    records: Sequence[Record],
    cells: Callable[[dict[str, float]], list[str]],
) -> str:
    rows = [
        [
            record.way,
            batch(record),
            *cells({name: median(samples) for name, samples in record.metrics.items() if samples}),
        ]
        for record in records
        if record.status == MEASURED
    ]
    return table(titles, rows, right=range(1, len(titles)), caption=caption) if rows else ""


def _idle(values: dict[str, float]) -> list[str]:
    who = "gpu" if "gpu_idle_share" in values else "worker"
    idle = values.get(f"{who}_idle_share")
    reached = None if "roofline_gap_share" not in values else 1 - values["roofline_gap_share"]
    return [
        _share(None if idle is None else 1 - idle),
        _share(idle),
        _quantity(values, f"{who}_idle_seconds"),
        _quantity(values, "pipe_idle_seconds"),
        _share(reached),
    ]


def _quantity(values: dict[str, float], name: str) -> str:
    return quantity(values[name], name) if name in values else "absent"


def _share(value: float | None) -> str:
    return "absent" if value is None else share(value)


def probe_lines(records: Sequence[Any]) -> list[str]:
    """What the probe costs, where that was measured: step times with it against those without, in pairs."""
    lines = []
    for record in records:
        seconds = record.observed.get("probe")
        if seconds:
            own = seconds["seconds_for_each_step"]
            part = own / median(record.metrics["engine_step_seconds"])
            pairs = zip(seconds["on_step_seconds"], seconds["off_step_seconds"], strict=True)
            ratio = estimate([on / off for on, off in pairs])
            bounds = f" {change_interval(ratio.low, ratio.high)}" if ratio.has_interval else ""
            took = f"{quantity(own, 'own_seconds')} of an engine step, {share(part)}"
            lines.append(
                f"{record.way} {batch(record)}: the probe takes {took}; "
                f"with it step times change by {change(ratio.middle)}{bounds}"
            )
    return lines


_LIMIT = "one batch after the other, growth over the one before; only sessions say which path is faster"


def limit_lines(path: str, limit: Any, records: Sequence[Record]) -> list[str]:
    """A path's limit: a row and a bar for each batch, then the knee, the most tokens/s, and why it ended.

    `limit` is a `saturation.Limit`, or None where nothing was measured.
    """
    if limit is None:
        return [f"{path}, {work_of(records[0])} {records[0].status}: {first_line(records[0].reason)}"]
    titles = ["batch", "tokens/s", "growth", "step time", "latency p99", "preempted", ""]
    before = [None, *limit.points]
    rows = [
        [
            str(one.batch),
            number(one.tokens_per_second),
            "" if last is None else change(one.tokens_per_second / last.tokens_per_second),
            quantity(one.step_seconds, "step_seconds"),
            quantity(one.latency_p99_seconds, "latency_p99_seconds"),
            f"{one.preemptions:g}",
            "#" * round(_BAR * one.tokens_per_second / limit.best.tokens_per_second),
        ]
        for last, one in zip(before, limit.points, strict=False)
    ]
    return [
        f"{path}, {work_of(records[0])}",
        *table(titles, rows, right=range(6), caption=_LIMIT).splitlines(),
        f"knee: batch {limit.knee.batch}, {_speed(limit.knee)}",
        f"best: batch {limit.best.batch}, {_speed(limit.best)}",
        f"stopped: {limit.reason}",
    ]


def _speed(one: Any) -> str:
    latency = quantity(one.latency_p99_seconds, "latency_p99_seconds")
    return f"{number(one.tokens_per_second)} tokens/s, latency p99 {latency}"
