"""How fast at the limit: reads the records of a path at ever larger batches. Pure.

The batch is raised until that no longer pays, or no longer works. The knee is the last batch that
raised throughput by 3 % or more over the one before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from .record import MEASURED, Record

GROWTH = 0.03
"""The least growth of throughput, from one batch to the next, that is worth going on for."""


NOT_TRIED = "not tried: "
"""How the reason begins of a batch that came after the last one; what follows is why that was the last."""


@dataclass(frozen=True)
class Point:
    """One batch: medians over its rollouts."""

    batch: int
    tokens_per_second: float
    step_seconds: float
    latency_p99_seconds: float
    preemptions: float


@dataclass(frozen=True)
class Limit:
    """Where throughput stops growing, the most of it, and why the batch was raised no further."""

    knee: Point
    best: Point
    reason: str
    points: Sequence[Point]


def point(record: Record) -> Point:
    """The figures of a measured record."""
    step_seconds = median(record.metrics["step_seconds"])
    return Point(
        record.workload["batch"],
        record.workload["tokens"] / step_seconds,
        step_seconds,
        median(record.metrics["latency_p99_seconds"]),
        median(record.metrics.get("preemptions", [0])),
    )


def stop_reason(points: Sequence[Point]) -> str | None:
    """Why a batch larger than the last of `points` is not worth trying, or None where it is."""
    *_earlier, last = points
    if last.preemptions:
        preempted = "1 sample was" if last.preemptions == 1 else f"{last.preemptions:g} samples were"
        return f"the KV cache is full at batch {last.batch}: {preempted} preempted"
    if len(points) > 1 and _growth(points[-2], last) < GROWTH:
        return (
            f"throughput grew by {_growth(points[-2], last):.1%} from batch {points[-2].batch} to "
            f"{last.batch}, less than {GROWTH:.0%}"
        )
    return None


def find_limit(records: Sequence[Record]) -> Limit | None:
    """The limit of a path from its records, the smallest batch first; None where nothing was measured."""
    points = []
    reason = None
    for record in records:
        if record.status != MEASURED:
            reason = (record.reason or "").splitlines()[0].removeprefix(NOT_TRIED)
            break
        points.append(point(record))
    if not points:
        return None
    reason = stop_reason(points) or reason or f"batch {points[-1].batch} is the largest that was asked for"
    knee = points[0]
    for before, after in pairwise(points):
        if _growth(before, after) < GROWTH:
            break
        knee = after
    return Limit(knee, max(points, key=lambda one: one.tokens_per_second), reason, points)


def _growth(before: Point, after: Point) -> float:
    return after.tokens_per_second / before.tokens_per_second - 1
