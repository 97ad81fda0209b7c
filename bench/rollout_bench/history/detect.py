"""Change points in the history: which series changed its level, at which commit, by how much.

    for point in find_change_points(read_results(Path("results"), history(root)), root): ...

Reads results and, for what a lock changed, git. The statistics are in `stats.change_points` and, for commits
that are too new to have made a level, `stats.newest`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import fsum, hypot, inf, log, sqrt
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal

from .. import git
from ..measure.tracked import FILE, read_tracked
from ..schema.metrics import CONTROL_RATIO, STEP, is_worse
from ..schema.metrics import metric as metric_facts
from ..stats.change_points import LEAST_POINTS, NO_NOISE, Shift, find_exact_shifts, find_shifts
from ..stats.newest import FALSE_ALARMS, Departure, State, find_departures
from . import confirm
from .control import control_of, link_error
from .locks import Changes, changed, pins
from .parts import Part, counts_of, parts_of
from .results import Commit, Key, Point, Results, is_counted

_99 = 2.576
"""Standard errors that half of a 99 % interval is."""


@dataclass(frozen=True)
class ChangePoint:
    """A change of the level of one metric in one series: a lasting one, or what may become one."""

    key: Key
    metric: str
    before: list[Commit]
    """Commits whose points make the level before; outliers are left out."""
    first: Commit
    """The first commit at the new level."""
    last_before: Commit
    """The last measured commit at the old level: the change is after it, up to `first`."""
    ratio: float
    """Level after over level before, of medians."""
    interval: tuple[float, float]
    """99 % interval of the ratio."""
    confidence: float
    """1 less the share of series of such noise without a change in which something looks as much like one."""
    worse: bool
    reverted_by: Commit | None
    """The commit since which the level is no longer worse (or better) than before."""
    environment: Changes
    """Versions, lock, driver, GPU and machine that changed between `last_before` and `first`."""
    confirm: str | None
    """The command that measures both commits again, side by side; None where asv tracks none such."""
    bisect: str | None
    """The command that finds the commit between them."""
    state: Literal["lasting"] | State = "lasting"
    """Else the level is that of `first` alone, and this is what the commits after it say."""
    parts: Sequence[Part] = ()
    """Of the step time, or its ratio to the control: what explains its change."""
    counts: Mapping[str, float] = field(default_factory=dict)
    """Ratios of the exact metrics of the case that are others since then, by name."""

    @property
    def slower_still(self) -> bool:
        """Worse, not reverted, and shown by more than one commit."""
        return self.worse and self.reverted_by is None and self.state in ("lasting", "confirmed")


@dataclass(frozen=True)
class Measured:
    """One metric of a series: a value a commit, in the order of the history."""

    commits: list[Commit]
    points: list[Point]
    values: list[float]
    """Medians of the samples."""
    spreads: list[float]
    """Standard errors of the values within a commit, the larger of those that samples and that records show;
    0 where there is one sample."""
    hardware: list[str] | None
    """The hardware of each point where it alternates, so that each has a level of its own."""


@dataclass(frozen=True)
class Short:
    """A series with fewer points than a verdict takes."""

    key: Key
    metric: str
    points: int


def find_change_points(
    results: Results,
    root: Path | None = None,
    metrics: Collection[str] | None = None,
) -> list[ChangePoint]:
    """Every change point of every series, up and down, reverted ones too; and what the newest commits show.

    `root` is the checkout whose locks are compared, and whose tracked.toml a command can measure a series by;
    without it the records alone say what changed, and there is no command.
    `metrics` are those to look at (default: all that were measured). Commits that have no place in the
    order are left out. Timings of a case that has ratios to the control are judged by these alone.
    """
    found = []
    tracked = read_tracked(root) if root is not None and (root / FILE).is_file() else {}
    results = results.ordered()
    for metric in metrics_of(results) if metrics is None else metrics:
        for key, points in judged(results, metric).items():
            series = measured(points, metric)
            shifts, departures = _changes_of(series, _is_exact(points, metric))
            shifts = [one for one in shifts if _beyond_links(one, series)]
            changed: list[Shift | Departure] = [
                *shifts,
                *(one for one in departures if _beyond_links(one, series)),
            ]
            for number, one in enumerate(changed):
                last, first = series.points[one.before[-1]], series.points[one.index]
                worse = is_worse(one.ratio, metric)
                reverted = _reverted(shifts[number:]) if isinstance(one, Shift) else None
                table = confirm.tracked_name(key, tracked)
                later = [next_one.index for next_one in changed[number + 1 :]]
                before = [series.points[index].record for index in one.before]
                after = [of.record for of in series.points[one.index : _end(one, later)]]
                is_step = metric in (STEP, CONTROL_RATIO)
                found.append(
                    ChangePoint(
                        key,
                        metric,
                        [series.commits[index] for index in one.before],
                        first.commit,
                        last.commit,
                        one.ratio,
                        one.interval,
                        one.confidence if isinstance(one, Shift) else 1 - FALSE_ALARMS,
                        worse,
                        None if reverted is None else series.commits[reverted],
                        changes(last, first, root),
                        confirm.confirm(key, metric, last.commit, first.commit, table),
                        confirm.bisect(key, metric, last.commit, first.commit, worse, table),
                        "lasting" if isinstance(one, Shift) else one.state,
                        parts_of(metric, before, after) if is_step else (),
                        counts_of(before, after) if is_step else {},
                    )
                )
    return found


def _is_exact(points: Sequence[Point], metric: str) -> bool:
    return metric_facts(metric).exact and all(is_counted(one, metric) for one in points)


def _changes_of(series: Measured, exact: bool) -> tuple[list[Shift], list[Departure]]:
    """Changes of level, and commits that may have made one; what is exact leaves no doubt."""
    if exact:
        return find_exact_shifts(series.values), []
    numbers = series.values, series.spreads, series.hardware
    shifts = find_shifts(*numbers)
    return shifts, find_departures(*numbers, shifts)


def _beyond_links(one: Shift | Departure, series: Measured) -> bool:
    """Whether a change is more than the error of the links between the controls of both its levels."""
    before, after = (link_error(series.points[index].record) for index in (one.before[-1], one.index))
    low, high = (abs(log(bound / one.ratio)) for bound in one.interval)
    half = hypot(low if one.ratio > 1 else high, _99 * sqrt(abs(before**2 - after**2)))
    return abs(log(one.ratio)) > half


def _end(one: Shift | Departure, later: Sequence[int]) -> int | None:
    """The first point after the level of a change, which is followed by those at `later`; None at the end."""
    if isinstance(one, Departure) and one.state != "confirmed":
        return one.index + 1
    return next(iter(later), None)


def find_short(results: Results, metrics: Collection[str] | None = None) -> list[Short]:
    """Series that have points, but too few to distinguish a change from noise."""
    results = results.ordered()
    return [
        Short(key, metric, count)
        for metric in (metrics_of(results) if metrics is None else metrics)
        for key, points in judged(results, metric).items()
        if (count := len(_samples(points, metric)[0])) < (2 if _is_exact(points, metric) else LEAST_POINTS)
    ]


def judged(results: Results, metric: str) -> dict[Key, list[Point]]:
    """The series of a metric, without timings that were measured beside a control: its ratio is judged."""
    series = results.series(metric)
    if metric_facts(metric).unit != "seconds":
        return series
    by_ratio = results.series(CONTROL_RATIO)
    return {key: points for key, points in series.items() if key not in by_ratio}


def metrics_of(results: Results) -> list[str]:
    """Every metric that was measured, in the order in which the records have them."""
    return list(dict.fromkeys(name for point in results.points for name in point.record.metrics))


def measured(points: Sequence[Point], metric: str) -> Measured:
    """A value a commit; what a commit was measured several times gives one value of all its samples.

    Values that are not positive are left out: nothing is a ratio to them.
    """
    samples, records = _samples(points, metric)
    last = {point.commit: point for point in points}
    kept = [last[commit] for commit in samples]
    return Measured(
        list(samples),
        kept,
        [median(values) for values in samples.values()],
        [
            max(_standard_error(values), _standard_error([median(one) for one in records[commit]]))
            for commit, values in samples.items()
        ],
        _hardware(kept),
    )


def _samples(
    points: Sequence[Point], metric: str
) -> tuple[dict[Commit, list[float]], dict[Commit, list[list[float]]]]:
    """By commit, those that are not left out: all samples, and those of each record."""
    records: dict[Commit, list[list[float]]] = {}
    for point in points:
        records.setdefault(point.commit, []).append(point.samples(metric))
    samples = {commit: [one for some in of for one in some] for commit, of in records.items()}
    return {commit: values for commit, values in samples.items() if 0 < median(values) < inf}, records


def _standard_error(values: Sequence[float]) -> float:
    """Of the mean. In floats: `statistics.stdev` reckons in fractions, and took a third of `detect`."""
    count = len(values)
    if count < 2:
        return 0.0
    mean = fmean(values)
    return sqrt(fsum((value - mean) ** 2 for value in values) / (count - 1) / count)


def _hardware(points: Sequence[Point]) -> list[str] | None:
    """Hardware by point where it comes back after a change; one that stays changed is a cause."""
    names = [
        str([[gpu.get("name") for gpu in facts.get("gpus") or ()], facts.get("cpu"), facts.get("cores")])
        for facts in map(_machine, points)
    ]
    runs = 1 + sum(name != before for before, name in pairwise(names))
    return names if runs > len(set(names)) else None


def _reverted(shifts: Sequence[Shift]) -> int | None:
    """Where the level is back at what it was before the first shift, or beyond it."""
    first = shifts[0]
    gone, variance = log(first.ratio), _half_width(first) ** 2
    for later in shifts[1:]:
        gone += log(later.ratio)
        variance += _half_width(later) ** 2
        if gone * log(first.ratio) <= 0 or abs(gone) < max(NO_NOISE, sqrt(variance)):
            return later.index
    return None


def _half_width(shift: Shift) -> float:
    low, high = shift.interval
    return (log(high) - log(low)) / 2


def changes(before: Point, after: Point, root: Path | None = None) -> Changes:
    """What changed in the environment between two points."""
    old, new = _facts(before), _facts(after)
    if root is not None:
        lock = "cuda.lock" if (before.record.provenance.get("machine") or {}).get("gpus") else "cpu.lock"
        for facts, point in ((old, before), (new, after)):
            shown = git.answer(root, "show", given=[f"{point.commit.hash}:requirements/{lock}"])
            facts |= {f"lock: {name}": version for name, version in pins(shown or "").items()}
    return changed(old, new)


def _facts(point: Point) -> dict[str, str]:
    versions = point.record.provenance.get("versions") or {}
    facts = {name: str(version) for name, version in versions.items()}
    if control := control_of(point.record):
        facts["control"] = control[0][:8]
    machine = _machine(point)
    facts |= {name: str(machine[name]) for name in ("cpu", "cores", "kernel", "python") if name in machine}
    for name, key in (("GPU", "name"), ("driver", "driver")):
        found = [str(gpu.get(key)) for gpu in machine.get("gpus") or ()]
        if found:
            facts[name] = ", ".join(f"{found.count(one)} x {one}" for one in dict.fromkeys(found))
    return facts


def _machine(point: Point) -> Mapping[str, Any]:
    return point.record.provenance.get("machine") or {}
