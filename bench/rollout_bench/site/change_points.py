"""A change point as the plain object that its page shows. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..gate.replicates import Case
from ..history.detect import ChangePoint
from ..history.findings import Finding
from ..history.locks import Changes, told
from ..history.results import Commit, Point
from ..report.estimate import estimates_of
from ..report.findings import state, summary
from ..report.names import group_of, series_name
from ..report.numbers import change
from ..schema.metrics import title
from .columns import columns
from .data import bounded
from .names import digest, plain_letters

_AROUND = 20
"""Measured commits that are drawn on either side of a change point."""


def page_name(found: ChangePoint) -> str:
    """The name of a change point's page: plain letters, whatever the names in it, and its own."""
    key = found.key
    words = f"{found.first.hash[:8]}-{key.path}-{key.batch}-{found.metric}"
    return f"{plain_letters(words)}-{digest(repr((key, found.metric, found.first.hash)))}"


def change_point_data(
    found: ChangePoint,
    series: Sequence[Point],
    place: Mapping[Commit, int],
    groups: Mapping[tuple[str, str, str, int, str], str],
    gates: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What the front page lists of a change point and, under "page", what its own page shows.

    `series` are the points of its key that have its metric; `groups` the front page's by what
    they hold fixed.
    """
    key, metric = found.key, found.metric
    group = groups.get((key.machine, key.environment, key.preset, key.tensor_parallel_size, key.workload))
    return {
        **_listed(found, place),
        "group": group,
        "title": f"{series_name(key)}, {title(metric)}: {change(found.ratio)} at {found.first.hash[:8]}",
        "up": found.ratio > 1,
        "page": _page(found, series, place, gates),
    }


def finding_data(found: Finding, place: Mapping[Commit, int]) -> dict[str, Any]:
    """What the page of regressions shows of one."""
    decision = found.decision
    return {
        "name": found.name,
        "worse": found.worse,
        "open": found.is_open,
        "summary": summary(found),
        "state": state(found),
        "note": decision and decision.note,
        "on": decision and decision.on,
        "cause": _changed(found.environment),
        "first": place[found.first],
        "last_before": place[found.last_before],
        "points": [
            {**_listed(one, place), "machine": one.key.machine, "where": str(group_of(one.key))}
            for one in found.points
        ],
    }


def _listed(found: ChangePoint, place: Mapping[Commit, int]) -> dict[str, Any]:
    """What any list has of a change point."""
    return {
        "slug": page_name(found),
        "path": found.key.path,
        "batch": found.key.batch,
        "metric": found.metric,
        "state": found.state,
        "ratio": found.ratio,
        "interval": found.interval and list(found.interval),
        "confidence": found.confidence,
        "worse": found.worse,
        "first": place[found.first],
        "last_before": place[found.last_before],
        "reverted": None if found.reverted_by is None else place[found.reverted_by],
    }


def _changed(environment: Changes) -> list[dict[str, Any]]:
    return [
        {"name": name, "before": old, "after": new} for name, (old, new) in sorted(told(environment).items())
    ]


def _page(
    found: ChangePoint,
    series: Sequence[Point],
    place: Mapping[Commit, int],
    gates: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    key = found.key
    points = [point for point in series if point.samples(found.metric)]
    commits = list(dict.fromkeys(point.commit for point in points))
    at = commits.index(found.first)
    window = set(commits[max(0, at - _AROUND) : at + _AROUND])
    shown = [point for point in points if point.commit in window]
    values = estimates_of([point.record for point in shown], found.metric)
    levels = dict.fromkeys(found.before, "before") | dict.fromkeys(found.after, "after")
    return {
        "key": key._asdict(),
        "points": [
            {
                "at": place[point.commit],
                "value": bounded(value),
                "samples": point.samples(found.metric),
                "level": levels.get(point.commit),  # none of a later one, or of an outlier
            }
            for point, value in zip(shown, values, strict=True)
            if value is not None
        ],
        "column": columns(shown, place, found.metric),
        "environment": _changed(found.environment),
        "range": [found.last_before.hash, found.first.hash],
        "confirm": found.confirm,
        "bisect": found.bisect,
        "gates": [_gate(found, gate) for gate in gates if _covers(found, gate, place)],
    }


def _covers(found: ChangePoint, gate: Mapping[str, Any], place: Mapping[Commit, int]) -> bool:
    """Whether a gate run compared commits that have the change between them, on its machine."""
    if gate.get("machine") != found.key.machine:
        return False
    base, head = (_placed(str(gate.get(name) or "?"), place) for name in ("base", "head"))
    if base is None or head is None:
        return False
    return base <= place[found.last_before] and head >= place[found.first]


def _placed(name: str, place: Mapping[Commit, int]) -> int | None:
    return next((number for commit, number in place.items() if commit.hash.startswith(name)), None)


_OF_BEFORE = {"workload": "fixed", "tensor_parallel_size": 1}
"""Of gates whose verdicts do not say: they measured nothing else."""


def gates_data(gates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the page that compares needs of gates: both commits, and the ratio of each case and metric."""
    kept = (*Case._fields, "metric", "verdict", "ratio", "interval")
    return [
        {name: gate.get(name) for name in ("machine", "base", "head")}
        | {
            "verdicts": [
                {name: (_OF_BEFORE | verdict).get(name) for name in kept} for verdict in gate["verdicts"]
            ]
        }
        for gate in gates
    ]


def _gate(found: ChangePoint, gate: Mapping[str, Any]) -> dict[str, Any]:
    """A gate run, with its verdict of the same case and metric where it gave one."""
    key = found.key
    wanted = {name: getattr(key, name) for name in Case._fields} | {"metric": found.metric}
    verdicts = [
        verdict
        for verdict in gate.get("verdicts") or ()
        if all((_OF_BEFORE | verdict).get(name) == value for name, value in wanted.items())
    ]
    named = {name: gate.get(name) for name in ("base", "head", "machine", "measured_at", "command")}
    return named | {"verdict": verdicts[0] if verdicts else None}
