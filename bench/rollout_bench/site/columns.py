"""The history of one metric of one group and batch, which a page loads when it is looked at. Pure.

Values are whole numbers of a column's `scale`, bounds are distances from the median: small enough for a
thousand commits.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..history.results import Commit, Point
from ..report.answer import comparable
from ..report.estimate import Estimate, engine_starts, estimates_of
from ..schema.record import measured_at
from .data import joined, source, surroundings
from .names import slug

_DIGITS = 4
"""Significant digits of a value in a column."""


def column_name(group: str, batch: int, metric: str) -> str:
    """The name of the file of a history; the pages make it of the front page's "files"."""
    return f"{group}-{batch}-{slug(metric)}"


def columns(points: Sequence[Point], place: Mapping[Commit, int], metric: str) -> dict[str, Any]:
    """The history of a metric by path: places of commits, medians, bounds, samples, starts, sources."""
    [(_metric, history)] = histories(points, place, [metric])
    return history


def histories(
    points: Sequence[Point], place: Mapping[Commit, int], metrics: Iterable[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each metric with its history, as `columns` has it."""
    points = comparable(points)
    around = _Surroundings()
    rows: dict[str, list[_Row]] = {}
    for point in points:
        rows.setdefault(point.record.way, []).append(_row(point, place, around))
    for metric in metrics:
        yield metric, _history(rows, metric, around.known)


class _Row(NamedTuple):
    """What the histories of all metrics have of a point."""

    point: Point
    at: int
    starts: int
    measured: str
    source: str
    surroundings: int


def _row(point: Point, place: Mapping[Commit, int], around: "_Surroundings") -> _Row:
    record = point.record
    return _Row(
        point,
        place[point.commit],
        engine_starts(record),
        measured_at(record),
        _source_of_any(point),
        around.number(point),
    )


class _Surroundings:
    """The different surroundings of points, each once. Points of a file share much of what these are made of,
    so whoever shares all of it is not compared with every other."""

    def __init__(self) -> None:
        self.known: list[dict[str, Any]] = []
        self._of_parts: dict[tuple[int, ...], int] = {}

    def number(self, point: Point) -> int:
        """The place of the point's among those known, where they are put if they are new."""
        record, given = point.record, point.record.provenance
        shared = (record.workload, record.observed, given.get("machine"), given.get("versions"))
        parts = (*map(id, shared), hash(given.get("command")))
        if parts not in self._of_parts:
            found = surroundings(point)
            if found not in self.known:
                self.known.append(found)
            self._of_parts[parts] = self.known.index(found)
        return self._of_parts[parts]


def _history(
    rows: Mapping[str, Sequence[_Row]], metric: str, around: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    found: dict[str, list[tuple[_Row, Estimate]]] = {}
    for path, all_rows in rows.items():
        values = estimates_of([row.point.record for row in all_rows], metric)
        kept = [(row, value) for row, value in zip(all_rows, values, strict=True) if value is not None]
        if kept:
            found[path] = kept
    scale = _scale(value.middle for some in found.values() for _row, value in some)
    numbers: dict[int, int] = {}  # of surroundings, in the order in which this metric has them
    for some in found.values():
        for row, _value in some:
            numbers.setdefault(row.surroundings, len(numbers))
    paths = {}
    for path, some in found.items():
        middle = [round(value.middle / scale) for _row, value in some]
        paths[path] = {
            "at": [row.at for row, _value in some],
            "middle": middle,
            "below": _folded(_distances(middle, (value.low for _row, value in some), scale)),
            "above": _folded(_distances(middle, (value.high for _row, value in some), scale)),
            "samples": _folded([len(row.point.samples(metric)) for row, _value in some]),
            "starts": _folded([row.starts for row, _value in some]),
            "warnings": _folded([joined(value) for _row, value in some]),
            "measured": _folded([row.measured for row, _value in some]),
            "source": _folded([row.source for row, _value in some]),
            "from": _folded([numbers[row.surroundings] for row, _value in some]),
        }
    return {"scale": scale, "paths": paths, "surroundings": [around[number] for number in numbers]}


def _source_of_any(point: Point) -> str:
    """The file with {commit} for the beginning of the hash, which is all that differs along a series."""
    return source(point).replace(point.commit.hash[:8], "{commit}")


def _distances(middle: Sequence[int], bounds: Iterable[float], scale: float) -> list[int | None]:
    """How far bounds are from the medians; None where one sample gives no interval."""
    return [
        abs(round(bound / scale) - at) if math.isfinite(bound) else None
        for at, bound in zip(middle, bounds, strict=True)
    ]


def _folded(values: list[Any]) -> Any:
    """The values, or the one that they all are."""
    return values[0] if values and all(value == values[0] for value in values) else values


def _scale(values: Iterable[float]) -> float:
    """A power of ten in which every value has at least _DIGITS digits."""
    smallest = min((abs(value) for value in values if value), default=1.0)
    return 10.0 ** (math.floor(math.log10(smallest)) - _DIGITS + 1)
