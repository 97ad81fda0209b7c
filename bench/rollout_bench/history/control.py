"""Ratios to a control as one series, over every renewal of the control. Pure.

    records = chained([(case, record), ...])

A record says in observed["control"] which control its ratios are to, by commit and lock. One that was
measured with the old control as well has a "link" there: commit and lock of the old one, and "ratio", the new
control's step time over the old one's, by round.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from statistics import median

from ..schema.metrics import CONTROL_RATIO
from ..schema.record import Record

Control = tuple[str, str]
"""Its commit and the hash of its lock."""

UNLINKED = "no record was measured with both its control and the newest one"


def chained(records: Sequence[tuple[Hashable, Record]]) -> list[Record]:
    """The records, oldest first as given, with ratios to the newest control of their case.

    What stands beside a record is the case that its control measured too: all paths share it, and its links.
    Where no link leads to the newest control, the ratio is absent.
    """
    by_case: dict[Hashable, list[Record]] = {}
    for case, record in records:
        if control_of(record) is not None:
            by_case.setdefault(case, []).append(record)
    over = {case: _over_newest(some) for case, some in by_case.items()}
    return [_in_newest(record, over.get(case, {})) for case, record in records]


def control_of(record: Record) -> Control | None:
    """The control that the record's ratios are to; None where it has none."""
    control = record.observed.get("control")
    return (control["commit"], control["lock"]) if control else None


def _over_newest(records: Sequence[Record]) -> dict[Control, float]:
    """The newest control's step time over that of each control from which links lead to it."""
    rounds: dict[tuple[Control, Control], list[float]] = {}
    newest = None
    for record in records:
        newest = control_of(record)
        link = record.observed["control"].get("link")
        if link and newest:
            found = [one for one in link["ratio"] if 0 < one < math.inf]
            rounds.setdefault((newest, (link["commit"], link["lock"])), []).extend(found)
    links = {pair: median(found) for pair, found in rounds.items() if found}
    assert newest is not None
    over = {newest: 1.0}
    for reached in (waiting := [newest]):  # grows while it is walked through
        for (new, old), ratio in links.items():
            for there, here, factor in ((old, new, ratio), (new, old, 1 / ratio)):
                if here == reached and there not in over:
                    over[there] = over[here] * factor
                    waiting.append(there)
    return over


def _in_newest(record: Record, over: dict[Control, float]) -> Record:
    control = control_of(record)
    samples = record.metrics.get(CONTROL_RATIO)
    if control is None or not samples or over.get(control) == 1.0:
        return record
    others = {name: value for name, value in record.metrics.items() if name != CONTROL_RATIO}
    if control in over:
        ratios = {CONTROL_RATIO: [one / over[control] for one in samples]}
        return replace(record, metrics=ratios | others)
    absent = (record.observed.get("absent") or {}) | {CONTROL_RATIO: UNLINKED}
    return replace(record, metrics=others, observed=record.observed | {"absent": absent})
