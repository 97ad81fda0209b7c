"""A release a row: its ratio to the control by path, change points, and what changed in its lock. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from ..history.detect import ChangePoint
from ..history.ledger import Entry
from ..history.locks import changed, pins
from ..history.parts import parts_of
from ..history.results import Point, Results
from ..schema.metrics import CONTROL_RATIO, EXACT, title
from ..schema.record import MEASURED
from .answer import STEP_TIME, comparable, grouped
from .change_points import environment
from .estimate import ONE_REPLICATE, Estimate, estimate_of, ratio
from .footnotes import Footnotes
from .names import Group, group_of
from .numbers import change, change_interval, interval
from .parts import of_parts
from .reasons import first_line
from .table import listed, table, wrapped

_PATHS = 3
"""Columns of paths that a table has room for."""

JUDGED = (CONTROL_RATIO, STEP_TIME, *EXACT)
"""Metrics whose change points are shown."""

CAPTION = (
    "each release by itself, over the control where it was measured with one; ▲ slower, ▼ faster than the "
    "release before; a gate compares two"
)

_CHANGES = 12
"""As many packages are named; the ledger's log has all of them."""

_WORSE, _BETTER = "▲", "▼"


@dataclass(frozen=True)
class Cell:
    """What a release has of a path."""

    text: str
    point: Point | None = None
    change_point: ChangePoint | None = None


@dataclass(frozen=True)
class Case:
    """The paths of a group at a batch, release by release."""

    title: str
    sure: bool
    """Whether a release has an interval that is of engine starts; such cases come first."""
    newest: str
    """The newest measured release over the one before, in a sentence; empty where there are not two."""
    paths: Sequence[str]
    rows: Sequence[tuple[Entry, Mapping[str, Cell]]]
    """A release and its cells by path, in the order of the ledger."""
    steps: Sequence[str]
    """Releases that differ from the one before by more than both intervals, where no change point says it."""
    change_points: Sequence[tuple[ChangePoint, str]]
    """And what is said of each."""


@dataclass(frozen=True)
class Releases:
    """All that was measured of the releases of a ledger, as texts."""

    cases: Sequence[Case]
    notes: Sequence[str]
    reasons: Sequence[str]
    """Why releases have no value."""
    changes: Mapping[str, str]
    """What changed in the lock, by release."""


def read_releases(entries: Sequence[Entry], results: Results, points: Sequence[ChangePoint]) -> Releases:
    """What is shown of the releases of a ledger."""
    notes = Footnotes()
    cases = [
        _case(entries, group, batch, some, points, notes)
        for group, batches in grouped(results.points).items()
        for batch, some in batches.items()
    ]
    cases.sort(key=lambda case: not case.sure)
    return Releases(cases, notes.lines(), _reasons(entries, results.points), _changes(entries))


def releases_report(entries: Sequence[Entry], results: Results, points: Sequence[ChangePoint]) -> str:
    """The same for a terminal."""
    found = read_releases(entries, results, points)
    parts = [*map(_text, found.cases)]
    if not parts:
        parts.append("no release has been measured: `rollout-perf track` in the ledger does so")
    if found.notes:
        parts.append("\n".join(map(wrapped, found.notes)))
    if found.reasons:
        parts.append(listed("Without values", found.reasons))
    changes = [wrapped(f"{name}: {what}") for name, what in found.changes.items()]
    parts.append(listed("What changed in the lock", changes or ["nothing yet: one release"]))
    return "\n\n".join(parts)


def _text(case: Case) -> str:
    parts = [case.title, *([wrapped(case.newest)] if case.newest else [])]
    for place in range(0, len(case.paths), _PATHS):
        shown = case.paths[place : place + _PATHS]
        rows = [
            [one.name, day(one.published), *(cells[path].text for path in shown)] for one, cells in case.rows
        ]
        parts.append(table(["release", "published", *shown], rows, caption=CAPTION))
    parts += map(wrapped, [*case.steps, *(said for _point, said in case.change_points)])
    return "\n".join(parts)


def _case(
    entries: Sequence[Entry],
    group: Group,
    batch: int,
    some: Sequence[Point],
    points: Sequence[ChangePoint],
    notes: Footnotes,
) -> Case:
    """The paths of a group at a batch: the newest release against the one before, rows, change points."""
    some = comparable(some)
    metric = CONTROL_RATIO if any(point.samples(CONTROL_RATIO) for point in some) else STEP_TIME
    paths = list(dict.fromkeys(point.record.way for point in some))
    cells = {(point.commit.subject, point.record.way): point for point in some}
    mine = [
        point
        for point in points
        if (group_of(point.key), point.key.batch) == (group, batch)
        and point.metric in (metric, *EXACT)
        and point.state != "withdrawn"  # by other releases, which say nothing of this one
    ]
    shifted = {(point.first.subject, point.key.path): point for point in mine if point.metric == metric}
    values = {
        one.subject: {
            path: value for path in paths if (value := _value(cells.get((one.subject, path)), metric))
        }
        for one in entries
    }
    measured = [one for one in entries if values[one.subject]]
    newest = ""
    if len(measured) > 1:
        before, last = measured[-2:]
        newest = _newest(last, before, values[last.subject], values[before.subject], notes)
    steps = _steps(measured, values, metric)
    marks = {where: _mark(over.middle > 1) for where, (_before, _now, over) in steps.items()}
    marks |= {where: _mark(point.worse) for where, point in shifted.items()}

    def cell(one: Entry, path: str) -> Cell:
        where = one.subject, path
        return _cell(cells.get(where), metric, shifted.get(where), marks.get(where, ""), notes)

    rows = [(one, {path: cell(one, path) for path in paths}) for one in entries]
    stepped = [
        f"{marks[where]} {now.name} over {before.name}, {where[1]}: {change(over.middle)} "
        f"{change_interval(over.low, over.high)}{_parts(cells[before.subject, where[1]], cells[where])}"
        for where, (before, now, over) in steps.items()
        if where not in shifted
    ]
    said = [(point, f"{_mark(point.worse)} {_said(point, entries)}") for point in mine]
    sure = any(
        value.has_interval and ONE_REPLICATE not in value.warnings
        for by_path in values.values()
        for value in by_path.values()
    )
    name = f"{group}, batch {batch}: {title(metric)} [99 %]"
    return Case(name, sure, newest, paths, rows, stepped, said)


def _parts(before: Point, after: Point) -> str:
    found = parts_of(CONTROL_RATIO, [before.record], [after.record])
    return f": {of_parts([asdict(one) for one in found], {})}" if found else ""


def _steps(
    measured: Sequence[Entry], values: Mapping[str, Mapping[str, Estimate]], metric: str
) -> dict[tuple[str, str], tuple[Entry, Entry, Estimate]]:
    """By subject and path the release before, the release, and their ratio, where beyond both intervals.

    Those of a ratio to the control alone: it has a value an engine start, and a step time one a rollout.
    """
    found = {}
    last: dict[str, Entry] = {}
    for one in measured if metric == CONTROL_RATIO else ():
        for path, value in values[one.subject].items():
            over = ratio(value, values[last[path].subject][path]) if path in last else None
            if over is not None and over.has_interval and not over.low <= 1 <= over.high:
                found[one.subject, path] = last[path], one, over
            last[path] = one
    return found


def _value(point: Point | None, metric: str) -> Estimate | None:
    return None if point is None else estimate_of(point.record, metric)


def _cell(point: Point | None, metric: str, shift: ChangePoint | None, mark: str, notes: Footnotes) -> Cell:
    if point is None:
        return Cell("not measured")
    value = estimate_of(point.record, metric)
    if value is None:
        return Cell(point.record.status if point.record.status != MEASURED else "no control", point)
    return Cell(f"{interval(value, metric)}{notes.mark(value)} {mark}".rstrip(), point, shift)


def _mark(worse: bool) -> str:
    return _WORSE if worse else _BETTER


def _newest(
    newest: Entry,
    before: Entry,
    now: Mapping[str, Estimate],
    then: Mapping[str, Estimate],
    notes: Footnotes,
) -> str:
    """The newest release over the one before, each through its ratio to the control."""
    over = {path: ratio(value, then[path]) for path, value in now.items() if path in then}
    said = [f"{path} {interval(one)}{notes.mark(one)}" for path, one in over.items() if one is not None]
    return f"{newest.name} over {before.name}: {', '.join(said) or 'no path of both was measured'}"


def _said(point: ChangePoint, entries: Sequence[Entry]) -> str:
    names = {one.subject: one.name for one in entries}
    first, last = (names.get(one.subject, one.hash[:8]) for one in (point.first, point.last_before))
    state = "" if point.state == "lasting" else f", {point.state}"
    if point.reverted_by is not None:
        state += f", reverted by {names.get(point.reverted_by.subject, point.reverted_by.hash[:8])}"
    sense = f"{'worse' if point.worse else 'better'}{state}, {change(point.ratio)}"
    if point.interval is None or point.metric in EXACT:  # what changed in the lock stands below the tables
        return f"{first} after {last}, {point.key.path}, {title(point.metric)}: {sense}"
    return (
        f"{first} after {last}, {point.key.path}: {sense} {change_interval(*point.interval)}; "
        f"changed: {environment(point.environment)}"
    )


def _reasons(entries: Sequence[Entry], points: Sequence[Point]) -> list[str]:
    """Why releases have no value, each reason once a release."""
    said: dict[str, None] = {}
    names = {one.subject: one.name for one in entries}
    for one in entries:
        if one.reason:
            said[f"{one.name}: cannot be resolved: {first_line(one.reason)}"] = None
    unresolved = {one.subject for one in entries if one.reason}
    for point in points:
        if point.record.status != MEASURED and point.commit.subject not in unresolved:
            paths = f"{names.get(point.commit.subject, point.commit.hash[:8])}, {point.record.way}"
            said[f"{paths}: {point.record.status}: {first_line(point.record.reason)}"] = None
    return list(said)


def _changes(entries: Sequence[Entry]) -> dict[str, str]:
    """What each release's lock has in other versions than that of the one before."""
    said: dict[str, str] = {}
    before = None
    for one in entries:
        if one.reason:
            continue
        after = pins(one.lock)
        if before is not None:
            # What has come or gone stands behind what was moved.
            found = sorted(changed(before, after).items(), key=lambda one: None in one[1])
            more = f", and {len(found) - _CHANGES} more" if len(found) > _CHANGES else ""
            said[one.name] = f"{environment(dict(found[:_CHANGES]))}{more}"
        before = after
    return said


def day(seconds: int) -> str:
    """A time since 1970 as a date."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
