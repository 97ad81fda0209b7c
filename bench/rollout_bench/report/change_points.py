"""Text of what `detect` found: a table for each range of commits, and what could not be judged."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from ..history.detect import ChangePoint, Short
from ..history.locks import Changes, told
from ..history.results import Commit, Results
from ..stats.change_points import LEAST_POINTS
from ..stats.ratios import LEAST_REPLICATES
from .names import Group, group_of
from .numbers import change, change_interval, confidence
from .parts import explained
from .table import table, wrapped

_CAPTION = "lasting changes of level; only a gate measures the two commits side by side"

NO_COMMAND = "no command can, since asv does not track this workload of the series (any more)"
"""In the place of `confirm`, where it is None."""


def change_points_table(points: Sequence[ChangePoint], short: Sequence[Short], results: Results) -> str:
    """Ranges in the order of the history, each with its series, the environment and two commands."""
    place = {commit: number for number, commit in enumerate(dict.fromkeys(p.commit for p in results.points))}
    ranges: dict[tuple[Commit, Commit], list[ChangePoint]] = {}
    for point in points:
        ranges.setdefault((point.last_before, point.first), []).append(point)
    parts = [
        _range(last, first, ranges[last, first])
        for last, first in sorted(ranges, key=lambda pair: (place[pair[1]], place[pair[0]]))
    ]
    if points:
        parts.insert(0, wrapped(_CAPTION))
    else:
        parts.append("no change point was found")
    if short:
        parts.append(_short(short))
    return "\n\n".join(parts)


def _range(last: Commit, first: Commit, points: Sequence[ChangePoint]) -> str:
    groups: dict[Group, list[ChangePoint]] = {}
    for point in sorted(points, key=lambda point: -abs(point.ratio - 1)):
        groups.setdefault(group_of(point.key), []).append(point)
    largest = max(points, key=lambda point: (point.confirm is not None, point.worse, abs(point.ratio - 1)))
    lines = [f"after {last}", f"up to {first}"]
    for group, some in groups.items():
        lines += [str(group), table(["path", "batch", "metric", "change [99 %]", "confidence", ""], [
            [
                point.key.path,
                str(point.key.batch),
                point.metric,
                change(point.ratio) + (f" {change_interval(*point.interval)}" if point.interval else ""),
                confidence(point.confidence) if point.interval else "exact",
                _state(point),
            ]
            for point in some
        ], right=[1])]  # fmt: skip
        lines += [
            wrapped(f"{point.key.path} {point.key.batch} {parts}")
            for point in some
            if (parts := explained(point.ratio, [asdict(one) for one in point.parts], point.counts))
        ]
    changed = {name: pair for point in points for name, pair in point.environment.items()}
    lines.append(wrapped(f"changed between them: {environment(changed)}"))
    if largest.confirm is None:
        return "\n".join([*lines, f"confirm: {NO_COMMAND}"])
    return "\n".join([*lines, f"confirm: {largest.confirm}", f"bisect:  {largest.bisect}"])


def environment(changes: Changes) -> str:
    """What changed: "torch 2.11.0 -> 2.13.0, driver 580 -> 590"; or that nothing did."""
    said = [
        f"{name} {before or 'absent'} -> {after or 'absent'}"
        for name, (before, after) in told(changes).items()
    ]
    return ", ".join(said) or "nothing that the records or the locks say"


def _state(point: ChangePoint) -> str:
    kind = "worse" if point.worse else "better"
    if point.state != "lasting":
        return f"{kind}, {point.state}"
    return kind if point.reverted_by is None else f"{kind}, reverted by {point.reverted_by.hash[:8]}"


def _short(short: Sequence[Short]) -> str:
    """Series that are too short, by the number of their points."""
    said = " and ".join(
        f"{series} series with {points} point{'s' * (points != 1)}"
        for points, series in sorted(Counter(one.points for one in short).items())
    )
    return (
        f"not judged, since a verdict takes {LEAST_POINTS} points, or {LEAST_REPLICATES} ratios to the "
        f"control at each: {said}"
    )
