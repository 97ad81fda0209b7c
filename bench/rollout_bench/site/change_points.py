"""A detected step as the plain object that its page shows. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..history.detect import Step
from ..history.results import Commit, Point
from ..report.estimate import estimate
from ..schema.metrics import title
from .data import bounded, columns
from .names import digest, plain_letters

_AROUND = 20
"""Measured commits that are drawn on either side of a step."""


def step_slug(step: Step) -> str:
    """The name of a step's page: plain letters, whatever the names in it, and its own."""
    key = step.key
    words = f"{step.first.hash[:8]}-{key.path}-{key.batch}-{step.metric}"
    return f"{plain_letters(words)}-{digest(repr((key, step.metric, step.first.hash)))}"


def step_data(
    step: Step,
    series: Sequence[Point],
    place: Mapping[Commit, int],
    groups: Mapping[tuple, str],
    gates: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What the front page lists of a step and, under "page", what its own page shows.

    `series` are the points of the step's key that have its metric; `groups` the front page's by what
    they hold fixed.
    """
    key, metric = step.key, step.metric
    up = step.ratio > 1
    group = groups.get((key.machine, key.environment, key.preset, key.tensor_parallel_size, key.workload))
    change = f"{'+' if up else '−'}{abs(step.ratio - 1) * 100:.1f} %"
    return {
        "slug": step_slug(step),
        "group": group,
        "path": key.path,
        "batch": key.batch,
        "metric": metric,
        "title": f"{key.path}, {title(metric)}: {change} at {step.first.hash[:8]}",
        "ratio": step.ratio,
        "interval": list(step.interval),
        "confidence": step.confidence,
        "worse": step.worse,
        "up": up,
        "first": place[step.first],
        "last_before": place[step.last_before],
        "undone": None if step.undone_by is None else place[step.undone_by],
        "page": _page(step, series, place, gates),
    }


def _page(
    step: Step, series: Sequence[Point], place: Mapping[Commit, int], gates: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    key = step.key
    points = [point for point in series if point.samples(step.metric)]
    commits = list(dict.fromkeys(point.commit for point in points))
    at = commits.index(step.first)
    window = set(commits[max(0, at - _AROUND) : at + _AROUND])
    points = [point for point in points if point.commit in window]
    ends = None if step.undone_by is None else place[step.undone_by]
    before = {place[commit] for commit in step.before}
    return {
        "key": key._asdict(),
        "points": [
            {
                "at": place[point.commit],
                "value": bounded(estimate(point.samples(step.metric))),
                "samples": point.samples(step.metric),
                "side": _side(place[point.commit], place[step.first], ends, before),
            }
            for point in points
        ],
        "column": columns(points, place, step.metric),
        "environment": [
            {"name": name, "before": old, "after": new}
            for name, (old, new) in sorted(step.environment.items())
        ],
        "range": [step.last_before.hash, step.first.hash],
        "confirm": step.confirm,
        "bisect": step.bisect,
        "gates": [_gate(step, gate) for gate in gates if _covers(step, gate, place)],
    }


def _side(at: int, first: int, ends: int | None, before: set[int]) -> str | None:
    """Which level a point is of; None beyond the step's end, and for an outlier before it."""
    if at in before:
        return "before"
    if at >= first and (ends is None or at < ends):
        return "after"
    return None


def _covers(step: Step, gate: Mapping[str, Any], place: Mapping[Commit, int]) -> bool:
    """Whether a gate run compared commits that have the step between them, on the step's machine."""
    if gate.get("machine") != step.key.machine:
        return False
    base, head = (_placed(str(gate.get(name) or "?"), place) for name in ("base", "head"))
    if base is None or head is None:
        return False
    return base <= place[step.last_before] and head >= place[step.first]


def _placed(name: str, place: Mapping[Commit, int]) -> int | None:
    return next((number for commit, number in place.items() if commit.hash.startswith(name)), None)


def _gate(step: Step, gate: Mapping[str, Any]) -> dict[str, Any]:
    """A gate run, with its verdict of the step's cell and metric where it gave one."""
    key = step.key
    wanted = {"path": key.path, "batch": key.batch, "preset": key.preset, "metric": step.metric}
    verdicts = [
        verdict
        for verdict in gate.get("verdicts") or ()
        if all(verdict.get(name) == value for name, value in wanted.items())
    ]
    named = {name: gate.get(name) for name in ("base", "head", "machine", "measured_at", "command")}
    return named | {"verdict": verdicts[0] if verdicts else None}
