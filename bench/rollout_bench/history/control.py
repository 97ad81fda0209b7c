"""Ratios to a control as one series, over every renewal of the control. Pure.

    records = chained([(case, record), ...])

A record says in observed["control"] which control its ratios are to, by commit and lock. One that was
measured with the old control as well has a "link" there: commit and lock of the old one, and "ratio", the new
control's step time over the old one's, by round, of as many sessions as
"rounds" has lengths. A link is known with an error, which is common to all ratios
that it brings to the newest control: they have it as "link_error".
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from statistics import fmean, stdev

from ..measure.pool import link_sessions
from ..schema.metrics import CONTROL_RATIO
from ..schema.record import Record
from ..stats.rounds import HODGES_LEHMANN_ERROR, hodges_lehmann

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


def link_error(record: Record) -> float:
    """The standard error of the logarithm of what links have made of the record's ratios."""
    return float((record.observed.get("control") or {}).get("link_error") or 0.0)


def _over_newest(records: Sequence[Record]) -> dict[Control, tuple[float, float]]:
    """By each control from which links lead to the newest: the logarithm of the newest's step time over its,
    and the variance of that."""
    sessions: dict[tuple[Control, Control], set[tuple[float, ...]]] = {}
    newest = None
    for record in records:
        newest = control_of(record)
        link = record.observed["control"].get("link")
        if link and newest:
            # Paths of a session share its links: they are one.
            sessions.setdefault((newest, (link["commit"], link["lock"])), set()).update(
                tuple(math.log(one) for one in session if 0 < one < math.inf)
                for session in link_sessions(link)
            )
    links = {pair: _known(rounds) for pair, found in sessions.items() if (rounds := [*filter(None, found)])}
    assert newest is not None
    over = {newest: (0.0, 0.0)}
    for reached in (waiting := [newest]):  # grows while it is walked through
        for (new, old), (log, variance) in links.items():
            for there, here, factor in ((old, new, log), (new, old, -log)):
                if here == reached and there not in over:
                    over[there] = over[here][0] + factor, over[here][1] + variance
                    waiting.append(there)
    return over


def _known(sessions: Sequence[Sequence[float]]) -> tuple[float, float]:
    """What the rounds of sessions come to, and its variance: of sessions, or of the rounds of one."""
    logs = [hodges_lehmann(rounds) for rounds in sessions]
    values, wider = (logs, 1.0) if len(logs) > 1 else (sessions[0], HODGES_LEHMANN_ERROR)
    return fmean(logs), (wider * stdev(values)) ** 2 / len(values) if len(values) > 1 else 0.0


def _in_newest(record: Record, over: dict[Control, tuple[float, float]]) -> Record:
    control = control_of(record)
    samples = record.metrics.get(CONTROL_RATIO)
    if control is None or not samples or over.get(control) == (0.0, 0.0):
        return record
    others = {name: value for name, value in record.metrics.items() if name != CONTROL_RATIO}
    if control in over:
        log, variance = over[control]
        ratios = {CONTROL_RATIO: [one / math.exp(log) for one in samples]}
        linked = record.observed["control"] | {"link_error": math.sqrt(variance)}
        return replace(record, metrics=ratios | others, observed=record.observed | {"control": linked})
    absent = (record.observed.get("absent") or {}) | {CONTROL_RATIO: UNLINKED}
    return replace(record, metrics=others, observed=record.observed | {"absent": absent})
