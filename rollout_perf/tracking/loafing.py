"""Records in, text out: tails, idle time, the share of the roofline, and limits. Reads and starts nothing."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from .table import Record, aligned, batch, estimate, interval, number, quantity

_BAR = 24


def idle_table(records: Sequence[Record]) -> str:
    """One row a measured record, medians: its tail, who idled, what the pipe explains, the roofline.

    Who idles is the GPU, or without one the worker.
    """
    titles = [
        "path",
        "batch",
        "90 % done",
        "tail",
        "idle",
        "a step",
        "pipe <=",
        "roofline",
        "preempted",
        "cached",
    ]
    rows = [
        [record.path, batch(record), *_loafing(record)] for record in records if record.status == "measured"
    ]
    return (
        "\n".join(aligned(titles, rows, right=range(1, len(titles))))
        if rows
        else "idle: nothing was measured"
    )


def _loafing(record: Record) -> list[str]:
    values = {name: median(samples) for name, samples in record.metrics.items() if samples}
    who = "gpu" if "gpu_idle_share" in values else "worker"
    reached = None if "roofline_gap_share" not in values else 1 - values["roofline_gap_share"]
    hits = None if "prefix_miss_share" not in values else 1 - values["prefix_miss_share"]
    return [
        _quantity(values, "done_90_seconds"),
        _percent(values.get("tail_share")),
        _percent(values.get(f"{who}_idle_share")),
        _quantity(values, f"{who}_idle_seconds"),
        _quantity(values, "pipe_idle_seconds"),
        _percent(reached),
        f"{values['preemptions']:g}" if "preemptions" in values else "absent",
        "off" if hits is None else _percent(hits),
    ]


def _quantity(values: dict[str, float], name: str) -> str:
    return quantity(values[name], name) if name in values else "absent"


def _percent(share: float | None) -> str:
    return "absent" if share is None else f"{share:.1%}"


def probe_lines(records: Sequence[Any]) -> list[str]:
    """What the probe costs, where that was measured: step times with it against those without, in pairs."""
    lines = []
    for record in records:
        seconds = record.observed.get("probe")
        if seconds:
            own = seconds["seconds_for_each_step"]
            share = own / median(record.metrics["engine_step_seconds"])
            pairs = zip(seconds["on_step_seconds"], seconds["off_step_seconds"], strict=True)
            ratio = interval(estimate([(on / off) * 100 - 100 for on, off in pairs]))
            took = f"{quantity(own, 'own_seconds')} of an engine step, {share:.2%}"
            lines.append(
                f"{record.path} {batch(record)}: the probe takes {took}; "
                f"with it a step time is {ratio} % longer"
            )
    return lines


def limit_lines(path: str, limit: Any, records: Sequence[Record]) -> list[str]:
    """A path's limit: a row and a bar for each batch, then the knee, the most tokens/s, and why it ended.

    `limit` is the ruler's `limit.Limit`, or None where nothing was measured.
    """
    if limit is None:
        return [f"{path} {records[0].status}: {(records[0].reason or '').splitlines()[0]}"]
    titles = [path, "tokens/s", "growth", "step time", "latency p99", "preempted", ""]
    before = [None, *limit.points]
    rows = [
        [
            str(one.batch),
            number(one.tokens_per_second),
            "" if last is None else f"{one.tokens_per_second / last.tokens_per_second - 1:+.1%}",
            quantity(one.step_seconds, "step_seconds"),
            quantity(one.latency_p99_seconds, "latency_p99_seconds"),
            f"{one.preemptions:g}",
            "#" * round(_BAR * one.tokens_per_second / limit.best.tokens_per_second),
        ]
        for last, one in zip(before, limit.points, strict=False)
    ]
    return [
        *aligned(titles, rows, right=range(6)),
        f"knee: batch {limit.knee.batch}, {_speed(limit.knee)}",
        f"best: batch {limit.best.batch}, {_speed(limit.best)}",
        f"stopped: {limit.reason}",
    ]


def _speed(one: Any) -> str:
    latency = quantity(one.latency_p99_seconds, "latency_p99_seconds")
    return f"{number(one.tokens_per_second)} tokens/s, latency p99 {latency}"
