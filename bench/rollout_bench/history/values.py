"""One metric of a series as detection takes it: a value a commit, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import fsum, inf, sqrt
from statistics import geometric_mean, median
from typing import Any

from ..schema.metrics import CONTROL_RATIO
from .results import Commit, Point


@dataclass(frozen=True)
class Measured:
    """One metric of a series: a value a commit, in the order of the history."""

    commits: list[Commit]
    points: list[Point]
    values: list[float]
    """Medians of the samples; of ratios to the control the geometric mean, as in a gate: engine starts may
    have modes, and then the median of a few is farther off than their spread says."""
    spreads: list[float]
    """Standard errors of the values within a commit, the larger of those that samples and that records show;
    0 where there is one sample."""
    replicates: list[int]
    """Engine starts that a spread is of; 1 where samples are rounds, which say nothing of other starts."""
    hardware: list[str] | None
    """The hardware of each point where it alternates, so that each has a level of its own."""


def measured(points: Sequence[Point], metric: str) -> Measured:
    """A value a commit; what a commit was measured several times gives one value of all its samples.

    Values that are not positive are left out: nothing is a ratio to them.
    """
    of_commit: dict[Commit, list[Point]] = {}
    for point in points:
        of_commit.setdefault(point.commit, []).append(point)
    found = Measured([], [], [], [], [], None)
    for commit, some in of_commit.items():
        records = [point.samples(metric) for point in some]
        samples = records[0] if len(records) == 1 else [one for record in records for one in record]
        value = _middle(samples, metric)
        if 0 < value < inf:
            found.commits.append(commit)
            found.points.append(some[-1])
            found.values.append(value)
            between = _standard_error([_middle(one, metric) for one in records]) if len(records) > 1 else 0.0
            found.spreads.append(max(_standard_error(samples), between))
            found.replicates.append(len(samples) if metric == CONTROL_RATIO else 1)
    return replace(found, hardware=_hardware(found.points))


def _middle(samples: Sequence[float], metric: str) -> float:
    if metric != CONTROL_RATIO:
        return median(samples)
    return geometric_mean(samples) if min(samples) > 0 else 0.0


def _standard_error(values: Sequence[float]) -> float:
    """Of the mean. In floats: `statistics.stdev` reckons in fractions, and took a third of `detect`."""
    count = len(values)
    if count < 2:
        return 0.0
    mean = fsum(values) / count
    return sqrt(fsum([(value - mean) ** 2 for value in values]) / (count - 1) / count)


def _hardware(points: Sequence[Point]) -> list[str] | None:
    """Hardware by point where it comes back after a change; one that stays changed is a cause."""
    names: list[str] = []
    last: Mapping[str, Any] | None = None
    for facts in map(machine_of, points):
        if facts is not last and facts != last:
            last = facts
            gpus = [gpu.get("name") for gpu in facts.get("gpus") or ()]
            name = str([gpus, facts.get("cpu"), facts.get("cores")])
        names.append(name)
    runs = 1 + sum(name != before for before, name in pairwise(names))
    return names if runs > len(set(names)) else None


def machine_of(point: Point) -> Mapping[str, Any]:
    return point.record.provenance.get("machine") or {}
