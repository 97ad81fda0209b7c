"""Results in, plain objects out: what the pages show, small enough for a thousand commits. Pure.

`front` is what the first page loads at once: commits, groups, the newest commit in full. Histories are in
`columns`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from statistics import median
from typing import Any

from ..history.findings import STEP_TIMES
from ..history.results import Commit, Pipe, Point, Results
from ..report.answer import STEP_TIME, case_of, comparable, groups_of
from ..report.estimate import WARNINGS, Estimate, engine_starts, estimate_of
from ..report.names import Group
from ..report.saturation import saturation
from ..report.side_by_side import SideBySide, Tracked, cases_of, side_by_side
from ..report.ways import COSTS, PARTS
from ..schema.metrics import METRICS
from ..schema.metrics import metric as metric_facts
from ..schema.record import MEASURED, REFERENCE, Record, measured_at, minute
from ..stats.change_points import LEAST_POINTS
from ..stats.ratios import LEAST_REPLICATES
from .link import opened
from .names import slug
from .traces import trace_name, traces_of


def commits_of(results: Results) -> list[Commit]:
    """Every commit that anything was measured at, in the history's order."""
    commits = [point.commit for point in results.points] + [pipe.commit for pipe in results.pipes]
    return list(dict.fromkeys(commits))


def front(
    results: Results,
    commits: Sequence[Commit],
    commit_url: str,
    made: datetime,
    known: dict[Group, dict[int, list[Point]]] | None = None,
) -> dict[str, Any]:
    """What the front page loads at once; `commit_url` has {commit} where the hash goes, or is empty.

    `known` is what `groups_of` says of the results, where it was asked: of a long history it takes seconds.
    """
    of_groups = groups_of(results) if known is None else known
    place = {commit: number for number, commit in enumerate(commits)}
    sessions, tracked = cases_of(results), Tracked(results.points)
    groups = []
    for number, (group, batches) in enumerate(of_groups.items()):
        compared = {
            batch: _sessions(sessions.get(case_of(group, batch), []), tracked, some)
            for batch, some in batches.items()
        }
        kept = {batch: comparable(points) for batch, points in batches.items()}
        points = [point for some in kept.values() for point in some]
        groups.append(
            {
                "id": f"g{number}",
                **group._asdict(),
                "measured": max((measured_at(point.record) for point in points), default=""),
                "commits": len({point.commit for point in points}),
                "at": sorted({place[point.commit] for point in points}),
                "paths": _paths(points),
                "batches": list(batches),
                "metrics": {batch: _metrics(some) for batch, some in kept.items()},
                "left_out": {batch: len(batches[batch]) - len(some) for batch, some in kept.items()},
                "changes": changes(points, place),
                "cases": [_case(point, place) for point in _newest(points)],
                "side_by_side": {batch: one and asdict(one) for batch, one in compared.items()},
                "saturation": _saturation(compared),
                "ways": {
                    batch: _ways(sessions.get(case_of(group, batch), []), compared[batch])
                    for batch in batches
                },
                "traces": {
                    batch: [
                        {"name": one.name, "file": trace_name(one)}
                        for one in traces_of(sessions.get(case_of(group, batch), []))
                    ]
                    for batch in batches
                },
            }
        )
    machines = _machines(results)
    names = {name for group in groups for some in group["metrics"].values() for name in some}
    return {
        "made": made.astimezone(UTC).isoformat(timespec="seconds"),
        "reference": REFERENCE,
        "measured": MEASURED,
        "warnings": WARNINGS,
        "least_commits": LEAST_POINTS,
        "step_time": STEP_TIME,
        "step_times": STEP_TIMES,
        "least_replicates": LEAST_REPLICATES,
        "commit_url": commit_url,
        "commits": {
            "hash": [commit.hash for commit in commits],
            "subject": [commit.subject for commit in commits],
            "time": [commit.time for commit in commits],
        },
        "metrics": {name: _facts(name) for name in sorted({*names, STEP_TIME, *PARTS, *COSTS})},
        "ways": [PARTS, COSTS],
        "files": {name: slug(name) for name in sorted(names)},
        "machines": machines,
        "machines_without_gpu": [name for name, facts in machines.items() if not facts.get("gpu")],
        "records": len(results.points),
        "groups": groups,
        "start": opened(results, list(of_groups)),
        "pipes": [_pipe(pipe, place) for pipe in _newest_pipes(results.pipes)],
        "damaged": results.damaged_lines(),
        "outside": results.outside_line(),
    }


def _sessions(kept: list[Any], tracked: Tracked, points: Sequence[Point]) -> SideBySide | None:
    """The paths of a case side by side, best first, where sessions have compared them."""
    work = points[-1].record.workload["fingerprint"] if points else None
    commit = points[-1].commit if points else None
    return side_by_side(kept + tracked.sessions(points), STEP_TIME, work, commit)


def _ways(kept: Sequence[tuple[Any, Record]], one: SideBySide | None) -> dict[str, dict[str, float]]:
    """Of each path what `report.ways` shows, medians over the sessions that were compared."""
    found: dict[str, dict[str, list[float]]] = {}
    for _session, record in kept:
        if one is not None and record.workload["fingerprint"] == one.work:
            for name in (*PARTS, *COSTS):
                found.setdefault(record.way, {}).setdefault(name, []).extend(record.metrics.get(name, []))
    return {
        path: {name: _short(median(samples)) for name, samples in values.items() if samples}
        for path, values in found.items()
    }


def _saturation(compared: Mapping[int, SideBySide | None]) -> dict[str, int | None]:
    """By path the batch at which it saturates, of step times that were measured side by side."""
    rates: dict[str, dict[int, float]] = {}
    for batch, one in compared.items():
        if one is None:
            continue
        for row in one.rows:
            rates.setdefault(row["path"], {})[batch] = one.tokens / row["median"]
    return saturation(rates)


def _facts(name: str) -> dict[str, Any]:
    """What the pages need to know of a metric."""
    facts = asdict(metric_facts(name))
    return {fact: facts[fact] for fact in ("title", "unit", "better", "exact", "meaning")}


def changes(points: Sequence[Point], place: Mapping[Commit, int]) -> list[dict[str, Any]]:
    """Commits at which a version, the driver or the GPU differs from the commit before."""
    found = []
    last: dict[str, str] = {}
    seen: dict[Commit, Point] = {}
    for point in points:
        if point.record.status == MEASURED:
            seen.setdefault(point.commit, point)
    for commit, point in sorted(seen.items(), key=lambda item: place[item[0]]):
        now = environment(point)
        differ = [
            {"name": name, "before": last.get(name), "after": now.get(name)}
            for name in sorted({*last, *now})
            if last.get(name) != now.get(name)
        ]
        if last and differ:
            found.append({"at": place[commit], "what": differ})
        last = now
    return found


def environment(point: Point) -> dict[str, str]:
    """Versions, driver, GPU and Python under which a point was measured."""
    given = point.record.provenance
    machine = given.get("machine") or {}
    gpus = machine.get("gpus") or [{}]
    facts = {"driver": gpus[0].get("driver"), "GPU": _gpu(machine), "python": machine.get("python")}
    named = {**(given.get("versions") or {}), **facts}
    return {name: str(value) for name, value in named.items() if value}


def _gpu(machine: Mapping[str, Any]) -> str | None:
    gpus = machine.get("gpus") or []
    count = f"{len(gpus)} x " if len(gpus) > 1 else ""
    return f"{count}{gpus[0].get('name', 'unnamed')}" if gpus else None


def surroundings(point: Point) -> dict[str, Any]:
    """What the points of a series share with most of their neighbours."""
    machine = point.record.provenance.get("machine") or {}
    return {
        "environment": environment(point),
        "cpu": machine.get("cpu"),
        "cores": machine.get("cores"),
        "command": point.record.provenance.get("command"),
        "workload": point.record.workload,
        "channel": point.record.observed.get("channel"),
        "executor": point.record.observed.get("executor"),
    }


def _case(point: Point, place: Mapping[Commit, int]) -> dict[str, Any]:
    """A case at its newest commit, in full."""
    record = point.record
    values, warnings = {}, {}
    for name in record.metrics:
        value = estimate_of(record, name)
        if value is not None:
            values[name] = [*bounded(value), [_short(sample) for sample in point.samples(name)]]
            if value.warnings:
                warnings[name] = joined(value)
    return {
        "path": record.way,
        "batch": record.workload["batch"],
        "status": record.status,
        "reason": record.reason,
        "at": place[point.commit],
        "metrics": values,
        "absent": record.observed.get("absent") or {},
        "tokens": record.observed.get("tokens_generated") or record.workload.get("tokens"),
        "starts": engine_starts(record),
        "warnings": warnings,
        "measured": measured_at(point.record),
        "source": source(point),
        **surroundings(point),
    }


def bounded(value: Estimate) -> list[float | None]:
    """Median and interval; few samples give no interval."""
    shown = (value.middle, value.low, value.high)
    return [_short(bound) if math.isfinite(bound) else None for bound in shown]


def joined(value: Estimate) -> str:
    """The words of a value's warnings, which the pages find in `front`."""
    return " ".join(value.warnings)


def source(point: Point | Pipe) -> str:
    """The file that a point was read from, below results/."""
    return "/".join(("results", point.machine, point.source.parent.name, point.source.name))


def _newest(points: Iterable[Point]) -> list[Point]:
    """The last point of each case."""
    last = {(point.record.workload["batch"], point.record.way): point for point in points}
    return list(last.values())


def _paths(points: Sequence[Point]) -> list[str]:
    """Paths in the order in which the newest commit has them, then those that only older ones have."""
    if not points:
        return []
    newest = [point.record.way for point in points if point.commit == points[-1].commit]
    return list(dict.fromkeys([*newest, *(point.record.way for point in points)]))


def _metrics(points: Iterable[Point]) -> list[str]:
    """Names of metrics that any of the points has, in the order of the table of metrics."""
    there = {name for point in points for name, samples in point.record.metrics.items() if samples}
    known = [name for name in METRICS if name in there]
    return [*known, *sorted(there - set(known))]


def _machines(results: Results) -> dict[str, dict[str, Any]]:
    """asv's facts of each machine, and the GPU that its records name where asv's do not."""
    records = [(point.machine, point.record) for point in results.points]
    records += [(session.machine, record) for session in results.sessions for record in session.records]
    of = [(name, record.provenance.get("machine") or {}) for name, record in records]
    # A session may have been lent some of a machine's GPUs: what saw most of them says how many there are.
    of.sort(key=lambda one: len(one[1].get("gpus") or []))
    named = {name: gpu for name, facts in of if (gpu := _gpu(facts))}
    return {
        name: {**({"gpu": named[name]} if name in named else {}), **facts}
        for name, facts in results.machines.items()
    }


def _newest_pipes(pipes: Sequence[Pipe]) -> list[Pipe]:
    return list({(pipe.machine, pipe.environment): pipe for pipe in pipes}.values())


def _pipe(pipe: Pipe, place: Mapping[Commit, int]) -> dict[str, Any]:
    given = pipe.result.get("provenance") or {}
    return {
        "machine": pipe.machine,
        "environment": pipe.environment,
        "at": place[pipe.commit],
        "paths": {
            path: {
                size: {name: _short(cell[name]) for name in ("p50_seconds", "p99_seconds") if name in cell}
                | {"blocks": len((cell.get("samples") or {}).get("p50_seconds", ()))}
                for size, cell in cells.items()
            }
            for path, cells in pipe.result["paths"].items()
        },
        "absent": pipe.result.get("absent") or {},
        "failed": pipe.result.get("failed") or {},
        "observed": pipe.result.get("observed") or {},
        "command": given.get("command"),
        "measured": minute(given.get("measured_at")),
        "versions": {name: str(value) for name, value in (given.get("versions") or {}).items() if value},
        "source": source(pipe),
    }


def _short(value: float) -> float:
    return float(f"{value:.6g}")
