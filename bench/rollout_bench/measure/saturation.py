"""How fast at the limit: reads the records of a path at ever larger batches. Pure.

The batch is raised until throughput saturates, or the engine no longer works. The knee is the last batch that
raised throughput by 3 % or more over the knee before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from ..schema.record import MEASURED, Record

GROWTH = 0.03
"""The least growth of throughput over the knee so far that is worth going on for."""

LULL = 2
"""Batches in a row without it, until no larger one is tried: a single one may be a busy host's."""


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


class Search:
    """When the search for a path's limit ends, of the batches of the fixed workload in ascending order.

    `allowed_seconds` are for all of it; where they are None, no limit is sought.
    """

    def __init__(self, allowed_seconds: float | None):
        self._allowed_seconds = allowed_seconds
        self._spent_seconds = 0.0
        self._points: list[Point] = []

    def covers(self, workload: str) -> bool:
        """Whether workloads of that name are those at which the limit is sought: some may not be tried."""
        return self._allowed_seconds is not None and workload == "fixed"

    def spend(self, workload: str, seconds: float) -> float:
        """Take what a rollout has cost off the time for the search, where it is of it; the seconds."""
        self._spent_seconds += seconds * self.covers(workload)
        return seconds

    def end_reason(self, record: Record) -> str | None:
        """Why the search ends with this record; None where it goes on."""
        if self._allowed_seconds is None or not self.covers(record.workload["name"]):
            return None
        if record.status != MEASURED:
            return record.reason
        self._points.append(point(record))
        late = f"the deadline of {self._allowed_seconds:g} s was over after batch {self._points[-1].batch}"
        return stop_reason(self._points) or (late if self._spent_seconds > self._allowed_seconds else None)


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
    knee = _knee(points)
    if len(points) - 1 - knee >= LULL:
        grew = " and ".join(
            f"by {_growth(points[knee], one):.1%} to {one.batch}" for one in points[knee + 1 :]
        )
        grew = grew.replace("-", "\N{MINUS SIGN}")
        return f"throughput grew {grew} from batch {points[knee].batch}, less than {GROWTH:.0%}"
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
    best = max(points, key=lambda one: one.tokens_per_second)
    return Limit(points[_knee(points)], best, reason, points)


def knee_of(rates: Sequence[float]) -> int:
    """The index of the knee of tokens/s, those of the smallest batch first."""
    knee = 0
    for index, rate in enumerate(rates):
        if rate / rates[knee] - 1 >= GROWTH:
            knee = index
    return knee


def _knee(points: Sequence[Point]) -> int:
    return knee_of([one.tokens_per_second for one in points])


def _growth(before: Point, after: Point) -> float:
    return after.tokens_per_second / before.tokens_per_second - 1
