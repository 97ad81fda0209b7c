"""The history of one metric of one group and batch, which a page loads when it is looked at. Pure.

Values are whole numbers of a column's `scale`, bounds are distances from the median: small enough for a
thousand commits.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..history.results import Commit, Point
from ..report.answer import comparable
from ..report.estimate import Estimate, engine_starts, estimate_of
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
    rows: dict[str, list[tuple[Point, Estimate]]] = {}
    for point in comparable(points):
        value = estimate_of(point.record, metric)
        if value is not None:
            rows.setdefault(point.record.way, []).append((point, value))
    scale = _scale(value.middle for row in rows.values() for _point, value in row)
    provenances: list[dict[str, Any]] = []
    paths = {}
    for path, row in rows.items():
        paths[path] = {
            "at": [place[point.commit] for point, _value in row],
            "middle": [round(value.middle / scale) for _point, value in row],
            "below": _folded([_distance(value, value.low, scale) for _point, value in row]),
            "above": _folded([_distance(value, value.high, scale) for _point, value in row]),
            "samples": _folded([len(point.samples(metric)) for point, _value in row]),
            "starts": _folded([engine_starts(point.record) for point, _value in row]),
            "warnings": _folded([joined(value) for _point, value in row]),
            "measured": _folded([measured_at(point.record) for point, _value in row]),
            "source": _folded([_source_of_any(point) for point, _value in row]),
            "from": _folded([_numbered(provenances, surroundings(point)) for point, _value in row]),
        }
    return {"scale": scale, "paths": paths, "surroundings": provenances}


def _source_of_any(point: Point) -> str:
    """The file with {commit} for the beginning of the hash, which is all that differs along a series."""
    return source(point).replace(point.commit.hash[:8], "{commit}")


def _distance(value: Estimate, bound: float, scale: float) -> int | None:
    """How far a bound is from the median; None where one sample gives no interval."""
    return abs(round(bound / scale) - round(value.middle / scale)) if math.isfinite(bound) else None


def _numbered(known: list[dict[str, Any]], one: dict[str, Any]) -> int:
    """The place of `one` among those known, where it is put if it is new."""
    if one not in known:
        known.append(one)
    return known.index(one)


def _folded(values: list[Any]) -> Any:
    """The values, or the one that they all are."""
    return values[0] if values and all(value == values[0] for value in values) else values


def _scale(values: Iterable[float]) -> float:
    """A power of ten in which every value has at least _DIGITS digits."""
    smallest = min((abs(value) for value in values if value), default=1.0)
    return 10.0 ** (math.floor(math.log10(smallest)) - _DIGITS + 1)
