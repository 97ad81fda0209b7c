"""A release a row: its ratio to the control by path, change points, and what changed in its lock. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ..history.detect import ChangePoint
from ..history.ledger import Entry
from ..history.locks import changed, pins
from ..history.results import Point, Results
from ..schema.metrics import CONTROL_RATIO, title
from ..schema.record import MEASURED
from .answer import STEP_TIME, comparable, grouped
from .change_points import environment
from .estimate import Estimate, estimate_of, ratio
from .footnotes import Footnotes
from .names import Group, group_of
from .numbers import change, change_interval, interval
from .reasons import first_line
from .table import listed, table, wrapped

_PATHS = 3
"""Columns of paths that a table has room for."""

_CAPTION = "each release by itself, over the control where it was measured with one; a gate compares two"

_CHANGES = 12
"""As many packages are named; the ledger's log has all of them."""

_WORSE, _BETTER = "▲", "▼"


def releases_report(entries: Sequence[Entry], results: Results, points: Sequence[ChangePoint]) -> str:
    """All that was measured of the releases of a ledger."""
    notes = Footnotes()
    parts = [
        _cases(entries, group, batch, some, points, notes)
        for group, batches in grouped(results.points).items()
        for batch, some in batches.items()
    ]
    if not parts:
        parts.append("no release has been measured: `rollout-perf track` in the ledger does so")
    if marks := notes.lines():
        parts.append("\n".join(map(wrapped, marks)))
    if reasons := _reasons(entries, results.points):
        parts.append(listed("Without values", reasons))
    parts.append(listed("What changed in the lock", _changes(entries)))
    return "\n\n".join(parts)


def _cases(
    entries: Sequence[Entry],
    group: Group,
    batch: int,
    some: Sequence[Point],
    points: Sequence[ChangePoint],
    notes: Footnotes,
) -> str:
    """The paths of a group at a batch: the newest release against the one before, tables, change points."""
    some = comparable(some)
    metric = CONTROL_RATIO if any(point.samples(CONTROL_RATIO) for point in some) else STEP_TIME
    paths = list(dict.fromkeys(point.record.path for point in some))
    cells = {(point.commit.subject, point.record.path): point for point in some}
    mine = [
        point
        for point in points
        if (group_of(point.key), point.key.batch, point.metric) == (group, batch, metric)
    ]
    shifted = {(point.first.subject, point.key.path): point for point in mine}
    parts = [f"{group}, batch {batch}: {title(metric)} [99 %]"]
    values = {
        one.subject: {
            path: value for path in paths if (value := _value(cells.get((one.subject, path)), metric))
        }
        for one in entries
    }
    measured = [one for one in entries if values[one.subject]]
    if len(measured) > 1:
        before, newest = measured[-2:]
        parts.append(wrapped(_newest(newest, before, values[newest.subject], values[before.subject], notes)))
    for place in range(0, len(paths), _PATHS):
        shown = paths[place : place + _PATHS]
        rows = []
        for one in entries:
            cases = [(one.subject, path) for path in shown]
            found = [_cell(cells.get(case), metric, shifted.get(case), notes) for case in cases]
            rows.append([one.name, _day(one.published), *found])
        parts.append(table(["release", "published", *shown], rows, caption=_CAPTION))
    parts += [wrapped(f"{_mark(point)} {_said(point, entries)}") for point in mine]
    return "\n".join(parts)


def _value(point: Point | None, metric: str) -> Estimate | None:
    return None if point is None else estimate_of(point.record, metric)


def _cell(point: Point | None, metric: str, shift: ChangePoint | None, notes: Footnotes) -> str:
    if point is None:
        return "not measured"
    value = estimate_of(point.record, metric)
    if value is None:
        return point.record.status if point.record.status != MEASURED else "no control"
    mark = f" {_mark(shift)}" if shift else ""
    return f"{interval(value, metric)}{notes.mark(value)}{mark}"


def _mark(point: ChangePoint) -> str:
    return _WORSE if point.worse else _BETTER


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
    return (
        f"{first} after {last}, {point.key.path}: {'worse' if point.worse else 'better'}{state}, "
        f"{change(point.ratio)} {change_interval(*point.interval)}; changed: {environment(point.environment)}"
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
            paths = f"{names.get(point.commit.subject, point.commit.hash[:8])}, {point.record.path}"
            said[f"{paths}: {point.record.status}: {first_line(point.record.reason)}"] = None
    return list(said)


def _changes(entries: Sequence[Entry]) -> list[str]:
    """What each release's lock has in other versions than that of the one before."""
    lines, before = [], None
    for one in entries:
        if one.reason:
            continue
        after = pins(one.lock)
        if before is not None:
            # What has come or gone stands behind what was moved.
            found = sorted(changed(before, after).items(), key=lambda one: None in one[1])
            more = f", and {len(found) - _CHANGES} more" if len(found) > _CHANGES else ""
            lines.append(wrapped(f"{one.name}: {environment(dict(found[:_CHANGES]))}{more}"))
        before = after
    return lines or ["nothing yet: one release"]


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
