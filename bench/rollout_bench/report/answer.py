"""What a commit's paths took, and which is fastest, where sessions have compared them. Pure.

    for answer in answers(read_results(Path("results"), history(Path(".")))): print(sentence(answer))

Commits are in the order of the history that the results were read with. A commit's values are shown, the best
first, and none leads by them: which path is ahead is said by ratios of rollouts that were interleaved.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..history.results import Commit, Point, Results, key_of
from ..schema.metrics import metric as metric_facts
from .estimate import Estimate, estimate_of
from .footnotes import Footnotes
from .names import Group, group_of
from .numbers import interval
from .side_by_side import Case, SideBySide, Tracked, cases_of, side_by_side

STEP_TIME = "step_seconds"


@dataclass(frozen=True)
class Answer:
    """The paths of a group at a batch, at one commit."""

    group: Group
    batch: int
    commit: Commit
    values: Mapping[str, Estimate]
    """By path, best first."""
    sessions: SideBySide | None
    """What sessions of the commit say, or else the newest ones of the same work."""


def grouped(points: Iterable[Point]) -> dict[Group, dict[int, list[Point]]]:
    """Points by group and batch, both in the order of names and numbers, the points in their own."""
    found: dict[Group, dict[int, list[Point]]] = {}
    for point in points:
        found.setdefault(group_of(key_of(point)), {}).setdefault(point.record.workload["batch"], []).append(
            point
        )
    return {group: dict(sorted(found[group].items())) for group in sorted(found)}


def groups_of(results: Results) -> dict[Group, dict[int, list[Point]]]:
    """`grouped`, and with no points what sessions alone have measured."""
    found = grouped(results.points)
    for case in cases_of(results):
        mine = [group for group in found if case_of(group, case.batch) == case]
        for group in mine or [Group(case.machine, "", *case[1:-1])]:
            found.setdefault(group, {}).setdefault(case.batch, [])
    return {group: dict(sorted(found[group].items())) for group in sorted(found)}


def comparable(points: Sequence[Point]) -> list[Point]:
    """Those of a group and batch that did the same work as the newest: its workload's fingerprint."""
    if not points:
        return []
    newest = points[-1].record.workload["fingerprint"]
    return [point for point in points if point.record.workload["fingerprint"] == newest]


def answers(results: Results, metric: str = STEP_TIME, until: Commit | None = None) -> list[Answer]:
    """One answer for each group and batch that has been measured, at its newest commit or at `until`."""
    found = []
    sign = 1 if metric_facts(metric).better == "lower" else -1
    sessions, tracked = cases_of(results), Tracked(results.points)
    for group, batches in grouped(results.points).items():
        for batch, points in batches.items():
            values: dict[Commit, dict[str, Estimate]] = {}
            for point in comparable(points):
                value = estimate_of(point.record, metric)
                if value is not None:
                    values.setdefault(point.commit, {})[point.record.way] = value
            commit = until or next(reversed(values), None)
            if commit is not None and commit in values:
                order = sorted(values[commit].items(), key=lambda item: sign * item[1].middle)
                work = points[-1].record.workload["fingerprint"]
                kept = [*sessions.get(case_of(group, batch), ()), *tracked.sessions(points)]
                compared = side_by_side(kept, metric, work, commit)
                found.append(Answer(group, batch, commit, dict(order), compared))
    return found


def case_of(group: Group, batch: int) -> Case:
    """What a session that compares the paths of a group holds fixed."""
    return Case(group.machine, group.preset, group.tensor_parallel_size, group.workload, batch)


def sentence(answer: Answer, metric: str = STEP_TIME, notes: Footnotes | None = None) -> str:
    """The answer in plain words; `notes` get the warnings of its values."""
    if answer.sessions is not None:
        return f"side by side, {answer.sessions}."
    path, value = next(iter(answer.values.items()))
    mark = "" if notes is None else notes.mark(value)
    shown = f"{path}, {interval(value, metric)}{mark}"
    if len(answer.values) == 1:
        return f"{shown}; no other path was measured."
    best = "lowest" if metric_facts(metric).better == "lower" else "highest"
    return f"no clear winner, as nothing was measured side by side; {best} median: {shown}."
