"""Change points in the history: which series changed its level, at which commit, by how much.

    for point in find_change_points(read_results(Path("results"), history(root)), root): ...

Reads results and, for what a lock changed, git. The statistics are in `stats.change_points` and, for commits
that are too new to have made a level, `stats.newest`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from math import hypot, log, sqrt
from pathlib import Path
from typing import Literal

from .. import git
from ..measure.tracked import FILE, Tracked, read_tracked
from ..schema.metrics import CONTROL_RATIO, STEP, is_worse
from ..schema.metrics import metric as metric_facts
from ..stats.change_points import LEAST_POINTS, NO_NOISE, Shift, find_exact_shifts, find_shifts
from ..stats.newest import FALSE_ALARMS, Departure, State, find_departures
from ..stats.ratios import LEAST_REPLICATES
from . import confirm
from .control import control_of, link_error
from .forks import MANY_POINTS, forks
from .locks import LOCKED, Changes, changed, pins
from .parts import Part, counts_of, parts_of
from .results import Commit, Key, Point, Results, is_counted
from .values import Measured, machine_of, measured

_AT_ONCE = 8
"""Cases that a fork is given."""

_99 = 2.576
"""Standard errors that half of a 99 % interval is."""


@dataclass(frozen=True)
class ChangePoint:
    """A change of the level of one metric in one series: a lasting one, or what may become one."""

    key: Key
    metric: str
    before: list[Commit]
    """Commits whose points make the level before; outliers are left out."""
    after: list[Commit]
    """Those of the level after."""
    first: Commit
    """The first commit at the new level."""
    last_before: Commit
    """The last measured commit at the old level: the change is after it, up to `first`."""
    ratio: float
    """Level after over level before, of medians."""
    interval: tuple[float, float] | None
    """99 % interval of the ratio; None of an exact metric."""
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
class Short:
    """A series with fewer points than a verdict takes."""

    key: Key
    metric: str
    points: int


@dataclass(frozen=True)
class Judged:
    """What the series of some cases show."""

    change_points: list[ChangePoint]
    short: list[Short]
    series: int
    """How many they are."""


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
    with judging(results, root, metrics) as judged:
        return judged().change_points


@contextmanager
def judging(
    results: Results, root: Path | None = None, metrics: Collection[str] | None = None
) -> Iterator[Callable[[], Judged]]:
    """Judge what `find_change_points` does; of a long history on all cores while the block goes on.

    What it is given waits for the end of it.
    """
    results = results.ordered()
    wanted = metrics_of(results) if metrics is None else list(metrics)
    tracked = read_tracked(root) if root is not None and (root / FILE).is_file() else {}
    cases = list(results.cases())
    of_all = partial(_judge, results, root, wanted, tracked)
    if len(results.points) < MANY_POINTS:
        yield cache(lambda: of_all(cases))
        return
    with forks(of_all) as spread:
        found = spread(cases[place : place + _AT_ONCE] for place in range(0, len(cases), _AT_ONCE))
        yield cache(lambda: _together(list(found), wanted, cases))


def _together(found: Sequence[Judged], metrics: Sequence[str], cases: Sequence[Key]) -> Judged:
    """All, in the order of metrics and then of cases, as if it were one."""
    metric, case = ({one: place for place, one in enumerate(names)} for names in (metrics, cases))

    def place(one: ChangePoint | Short) -> tuple[int, int]:
        return metric[one.metric], case[one.key]

    return Judged(
        sorted((point for one in found for point in one.change_points), key=place),
        sorted((short for one in found for short in one.short), key=place),
        sum(one.series for one in found),
    )


def _judge(
    results: Results,
    root: Path | None,
    metrics: Sequence[str],
    tracked: Mapping[str, Tracked],
    cases: Sequence[Key],
) -> Judged:
    found: list[ChangePoint] = []
    short: list[Short] = []
    count = 0
    for metric in metrics:
        for key in cases:
            points = _judged(results, key, metric)
            if not points:
                continue
            count += 1
            exact = _is_exact(points, metric)
            series = measured(points, metric)
            judged = exact or min(series.replicates, default=0) >= LEAST_REPLICATES
            if len(series.values) < (2 if judged else LEAST_POINTS):
                short.append(Short(key, metric, len(series.values)))
            found += _changes(key, metric, series, exact, root, tracked)
    return Judged(found, short, count)


def _changes(
    key: Key, metric: str, series: Measured, exact: bool, root: Path | None, tracked: Mapping[str, Tracked]
) -> Iterator[ChangePoint]:
    """Those of a series, oldest first."""
    shifts, departures = _changes_of(series, exact)
    shifts = [one for one in shifts if _beyond_links(one, series)]
    changed: list[Shift | Departure] = [*shifts, *(one for one in departures if _beyond_links(one, series))]
    for number, one in enumerate(changed):
        last, first = series.points[one.before[-1]], series.points[one.index]
        worse = is_worse(one.ratio, metric)
        reverted = _reverted(shifts[number:]) if isinstance(one, Shift) else None
        table = confirm.tracked_name(key, tracked)
        later = [next_one.index for next_one in changed[number + 1 :]]
        before = [series.points[index].record for index in one.before]
        after = [of.record for of in series.points[one.index : _end(one, later)]]
        level = one.after if isinstance(one, Shift) else range(one.index, one.index + len(after))
        is_step = metric in (STEP, CONTROL_RATIO)
        yield ChangePoint(
            key,
            metric,
            [series.commits[index] for index in one.before],
            [series.commits[index] for index in level],
            first.commit,
            last.commit,
            one.ratio,
            None if exact else one.interval,
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


def _is_exact(points: Sequence[Point], metric: str) -> bool:
    return metric_facts(metric).exact and all(is_counted(one, metric) for one in points)


def _changes_of(series: Measured, exact: bool) -> tuple[list[Shift], list[Departure]]:
    """Changes of level, and commits that may have made one; what is exact leaves no doubt."""
    if exact:
        return find_exact_shifts(series.values), []
    numbers = series.values, series.spreads, series.hardware
    shifts = find_shifts(*numbers)
    return shifts, find_departures(*numbers, shifts, series.replicates)


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


def _judged(results: Results, key: Key, metric: str) -> list[Point]:
    """The series of a case; none of a timing that was measured beside a control, whose ratio is judged."""
    by_ratio = metric_facts(metric).unit == "seconds" and results.series_of(key, CONTROL_RATIO)
    return [] if by_ratio else results.series_of(key, metric)


def metrics_of(results: Results) -> list[str]:
    """Every metric that was measured, in the order in which the records have them."""
    return list(dict.fromkeys(name for point in results.points for name in point.record.metrics))


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
            facts |= {f"{LOCKED}{name}": version for name, version in pins(shown or "").items()}
    return changed(old, new)


def _facts(point: Point) -> dict[str, str]:
    versions = point.record.provenance.get("versions") or {}
    facts = {name: str(version) for name, version in versions.items()}
    if control := control_of(point.record):
        facts["control"] = control[0][:8]
    machine = machine_of(point)
    facts |= {name: str(machine[name]) for name in ("cpu", "cores", "kernel", "python") if name in machine}
    for name, key in (("GPU", "name"), ("driver", "driver")):
        found = [str(gpu.get(key)) for gpu in machine.get("gpus") or ()]
        if found:
            facts[name] = ", ".join(f"{found.count(one)} x {one}" for one in dict.fromkeys(found))
    return facts
