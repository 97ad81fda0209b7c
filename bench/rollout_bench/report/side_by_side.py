"""Which path is fastest, where that can be said: by sessions, whose rollouts were interleaved. Pure.

    found = side_by_side(results, group, batch=64, metric="step_seconds")

A path is fastest where its interval is apart from every other's, each ratio has replicates enough, and a GPU
computed: where a CPU does, the pipe's share of a step is another. Values that no session has both of say
nothing of the kind.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..history.results import Commit, Point, Results
from ..history.sessions import Session, check_whole, sessions_of
from ..measure.equal_work import check_equal_work
from ..schema.metrics import metric as metric_facts
from ..schema.record import REFERENCE, Record, measured_at
from ..stats.ratios import LEAST_REPLICATES
from .numbers import interval
from .ratios import ratio_in, ratios


class Case(NamedTuple):
    """What a session holds fixed while it compares paths."""

    machine: str
    preset: str
    tensor_parallel_size: int
    workload: str
    batch: int


@dataclass(frozen=True)
class SideBySide:
    """The paths of a case as sessions have compared them."""

    metric: str
    reference: str
    rows: Sequence[Mapping[str, Any]]
    """Those of `report.ratios`, best first."""
    fastest: str | None
    """The path that is; None where none can be told apart from all others."""
    on_cpu: bool
    """Then no path is ahead of another."""
    starts: tuple[int, int]
    """Engine starts of the path with the fewest, and with the most."""
    measured: str
    """The day of the last of them."""
    commit: str
    """What was checked out, which may have had changes; empty where that is not kept."""
    sources: Sequence[str]
    """The files, below results/."""
    work: str
    """The fingerprint of what was generated."""
    tokens: int
    """Of a rollout, forced."""

    def __str__(self) -> str:
        best = self.rows[0]
        found = ratio_in(best, self.metric)
        ratio = f"{interval(found) if found else ''} of {self.reference}"
        lowest = f"{best['path']}{'' if best['path'] == self.reference else f', {ratio}'}"
        none = "a CPU's results do not rank paths" if self.on_cpu else "no clear winner"
        what = f"fastest is {lowest}" if self.fastest else f"{none}, lowest ratio: {lowest}"
        least, most = self.starts
        of = f"{f'{least} to ' * (least < most)}{most} replicate{'s' * (most > 1)}"
        rounds, spoilt = (sum(row[name] for row in self.rows) for name in ("rounds", "spoilt_rounds"))
        busy = f", on a busy host: others spoilt {spoilt} of {rounds} rollouts"
        made = f"{of}, {self.measured}{f', {self.commit}' if self.commit else ''}"
        over = ", over the control of each session" * any(row["over_control"] for row in self.rows)
        return f"{what} ({made}{over}{busy * (spoilt > 0)})"


def cases_of(results: Results) -> dict[Case, list[tuple[Session, Record]]]:
    """The measured records of sessions by what they compare, in the order in which they were measured."""
    found: dict[Case, list[tuple[Session, Record]]] = {}
    for session in results.sessions:
        for record in session.records:
            if record.metrics:
                load = record.workload
                case = Case(
                    session.machine, record.preset, record.tensor_parallel_size, load["name"], load["batch"]
                )
                found.setdefault(case, []).append((session, record))
    return found


class Tracked:
    """The points that were measured in sessions, as asv's are, each beside what was measured with it."""

    def __init__(self, points: Iterable[Point]) -> None:
        self._of: dict[int, Session] = {}
        records: dict[Path, list[Record]] = {}
        for point in points:
            if point.record.metrics and "session" in point.record.provenance:
                with suppress(ValueError):
                    check_whole(point.record)
                    beside = records.setdefault(point.source, [])
                    beside.append(point.record)
                    self._of[id(point.record)] = Session(point.machine, beside, point.source)

    def sessions(self, points: Iterable[Point]) -> list[tuple[Session, Record]]:
        """Those of `points`, as `cases_of` has those that were kept."""
        records = [point.record for point in points if id(point.record) in self._of]
        return [(self._of[id(record)], record) for record in records]


def side_by_side(
    kept: Sequence[tuple[Session, Record]],
    metric: str,
    fingerprint: str | None = None,
    commit: Commit | None = None,
) -> SideBySide | None:
    """What sessions of a case say of a metric: those of `commit`, or else of the one that was measured last.

    `kept` is of `cases_of` and `Tracked`; with a fingerprint those of that work count. Sessions of
    a checkout with changes, as while somebody tries something, count where there are no others. Everything
    that they have measured is judged together, as `compare` does. None where there are no ratios.
    """
    kept = [one for one in kept if fingerprint in (None, one[1].workload["fingerprint"])]
    if not kept:
        return None
    wanted = commit and commit.hash[:8]
    last = max((one for _session, one in kept), key=lambda one: (_what(one)[1] == wanted, *settled(one)))
    same = [one for one in kept if _what(one[1]) == _what(last)]
    work, made = _what(last)
    named = _named(last)

    def counts(one: Record) -> bool:
        return bool(one.metrics) and _what(one)[1] == made and (_named(one) != named or _what(one)[0] == work)

    sources = {session.source: session.records for session, _record in same}
    sessions = [
        check_equal_work(session)
        for records in sources.values()
        for session in sessions_of(filter(counts, records))
    ]
    paths = [record.way for _session, record in same]
    reference = REFERENCE if REFERENCE in paths else paths[0]
    sign = 1 if metric_facts(metric).better == "lower" else -1
    rows = sorted(
        (row for row in ratios(sessions, reference, metric) if "ratio" in row and _case_in(row) == named),
        key=lambda row: sign * row["ratio"],
    )
    if len(rows) < 2:
        return None
    best, *others = rows
    apart = all(_apart(best["interval"], row["interval"]) for row in others)
    machine = last.provenance.get("machine") or {}
    on_cpu = bool(machine) and not machine.get("gpus")
    starts = [row["replicates"] for row in rows]
    enough = min(starts) >= LEAST_REPLICATES
    return SideBySide(
        metric,
        reference,
        rows,
        best["path"] if apart and enough and not on_cpu else None,
        on_cpu,
        (min(starts), max(starts)),
        measured_at(last)[:10],
        made,
        ["/".join(("results", *source.parts[-3:])) for source in sources],
        work,
        last.workload["tokens"],
    )


def _named(record: Record) -> tuple[Any, ...]:
    """What a case's paths have in common, by its name."""
    return record.preset, record.tensor_parallel_size, record.workload["name"], record.workload["batch"]


def _case_in(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["preset"], row["tensor_parallel_size"], row["workload"], row["batch"]


def _apart(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    """Whether two intervals do not overlap; of a ratio that has none that is not known."""
    return one is not None and other is not None and (max(one) < min(other) or max(other) < min(one))


def settled(record: Record) -> tuple[bool, str]:
    """The order of what to show first: of a commit as it stands, then the newest."""
    return "-dirty" not in (record.provenance.get("commit") or ""), measured_at(record)


def _what(record: Record) -> tuple[str, str]:
    """The work that was done, and the commit in short."""
    commit, dirty, _ = (record.provenance.get("commit") or "").partition("-dirty")
    return record.workload["fingerprint"], f"{commit[:8]}{dirty}"
