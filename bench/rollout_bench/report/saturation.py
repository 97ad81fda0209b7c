"""Where the throughput of paths saturates, of what was measured at several batches. Pure."""

from collections.abc import Mapping, Sequence
from statistics import median

from ..measure.saturation import GROWTH, knee_of
from ..schema.record import Record
from .numbers import number
from .table import table

LEAST_BATCHES = 3
"""Fewer have no knee to speak of."""


def saturation(rates: Mapping[str, Mapping[int, float]]) -> dict[str, int | None]:
    """By path the batch at which tokens/s, given by batch, saturate; None where the largest one still paid.

    Paths with fewer than LEAST_BATCHES are left out.
    """
    found: dict[str, int | None] = {}
    for path, by_batch in rates.items():
        batches = sorted(by_batch)
        if len(batches) >= LEAST_BATCHES:
            knee = knee_of([by_batch[batch] for batch in batches])
            found[path] = None if knee == len(batches) - 1 else batches[knee]
    return found


def saturation_table(records: Sequence[Record]) -> str:
    """Tokens/s by batch, and where they saturate; nothing where no path has batches enough."""
    rates: dict[str, dict[int, float]] = {}
    for one in records:
        if seconds := one.metrics.get("step_seconds"):
            rates.setdefault(one.way, {})[one.workload["batch"]] = one.workload["tokens"] / median(seconds)
    found = saturation(rates)
    if not found:
        return ""
    batches = sorted({batch for path in found for batch in rates[path]})
    rows = [
        [
            path,
            *(number(rates[path][batch]) if batch in rates[path] else "" for batch in batches),
            "not yet" if knee is None else str(knee),
        ]
        for path, knee in found.items()
    ]
    caption = f"tokens/s by batch; it saturates at the last that gave {GROWTH:.0%} more than those before"
    titles = ["path", *map(str, batches), "saturates at"]
    return table(titles, rows, right=range(1, len(titles)), caption=caption)
