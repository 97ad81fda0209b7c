"""The answer that readers come for: which path is fastest, by how much, and since when. Pure.

    for answer in answers(read_results(Path("results"), history(Path(".")))): print(sentence(answer))

Commits are in the order of the history that the results were read with. A path leads where its
median is the best; paths whose interval overlaps the leader's are level with it, and said to be.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..history.results import Commit, Point, Results
from ..schema.metrics import metric as metric_facts
from ..schema.record import REFERENCE
from .estimate import Estimate, estimate_of, ratio
from .footnotes import Footnotes
from .numbers import interval, number

STEP_TIME = "step_seconds"


class Group(NamedTuple):
    """What a comparison of paths holds fixed, the batch aside."""

    machine: str
    environment: str
    preset: str
    tensor_parallel_size: int
    workload: str

    def __str__(self) -> str:
        size = f", tensor-parallel over {self.tensor_parallel_size}" * (self.tensor_parallel_size > 1)
        return f"{self.machine}, {self.preset}{size}, workload {self.workload}"


@dataclass(frozen=True)
class Standing:
    """A path at a commit."""

    path: str
    value: Estimate
    against_reference: Estimate | None
    """Its ratio to the reference; None where the reference was not measured there."""


@dataclass(frozen=True)
class Answer:
    """The paths of a group at a batch, at one commit."""

    group: Group
    batch: int
    commit: Commit
    standings: Sequence[Standing]
    """Best first."""
    level: Sequence[str]
    """Paths that are level with the fastest: their intervals overlap."""
    since: Commit
    """The oldest of the commits up to this one at all of which the fastest path led."""
    commits: int
    """How many commits that is."""
    before: str | None
    """Which path led before; None where the history has no other."""


def group_of(point: Point) -> Group:
    """The group of a point."""
    record = point.record
    return Group(
        point.machine,
        point.environment,
        record.preset,
        record.tensor_parallel_size,
        record.workload["name"],
    )


def grouped(points: Iterable[Point]) -> dict[Group, dict[int, list[Point]]]:
    """Points by group and batch, both in the order of names and numbers, the points in their own."""
    found: dict[Group, dict[int, list[Point]]] = {}
    for point in points:
        found.setdefault(group_of(point), {}).setdefault(point.record.workload["batch"], []).append(point)
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
    for group, batches in grouped(results.points).items():
        for batch, points in batches.items():
            medians: dict[Commit, dict[str, Estimate]] = {}
            for point in comparable(points):
                value = estimate_of(point.record, metric)
                if value is not None:
                    medians.setdefault(point.commit, {})[point.record.path] = value
            answer = rank(group, batch, medians, until, metric)
            if answer is not None:
                found.append(answer)
    return found


def rank(
    group: Group,
    batch: int,
    values: Mapping[Commit, Mapping[str, Estimate]],
    until: Commit | None = None,
    metric: str = STEP_TIME,
) -> Answer | None:
    """The answer from values by commit, oldest first, and path; None where there are none (at `until`)."""
    commits = list(values)
    if until is not None:
        if until not in values:
            return None
        commits = commits[: commits.index(until) + 1]
    if not commits:
        return None
    at = values[commits[-1]]
    sign = 1 if metric_facts(metric).better == "lower" else -1
    order = sorted(at, key=lambda path: sign * at[path].middle)
    reference = at.get(REFERENCE)
    leaders = [min(values[commit].items(), key=lambda item: sign * item[1].middle)[0] for commit in commits]
    run = 1
    while run < len(leaders) and leaders[-run - 1] == order[0]:
        run += 1
    return Answer(
        group,
        batch,
        commits[-1],
        [Standing(path, at[path], None if reference is None else _against(at, path)) for path in order],
        [path for path in order[1:] if _overlap(at[path], at[order[0]])],
        commits[-run],
        run,
        leaders[-run - 1] if run < len(leaders) else None,
    )


def _overlap(one: Estimate, other: Estimate) -> bool:
    return one.low <= other.high and other.low <= one.high


def _against(at: Mapping[str, Estimate], path: str) -> Estimate:
    return Estimate(1.0, 1.0, 1.0) if path == REFERENCE else ratio(at[path], at[REFERENCE])


def sentence(answer: Answer, metric: str = STEP_TIME, notes: Footnotes | None = None) -> str:
    """The answer in plain words; `notes` get the warnings of its values."""
    first = answer.standings[0]
    mark = "" if notes is None else notes.mark(first.value)
    verb = "leads" if answer.level else "is fastest"
    said = [f"{first.path} {verb}: {interval(first.value, metric)}{mark}"]
    if first.path != REFERENCE and first.against_reference:
        said.append(f"{number(first.against_reference.middle)} of {REFERENCE}")
    elif len(answer.standings) > 1:
        second = answer.standings[1]
        said.append(f"{second.path} takes {number(second.value.middle / first.value.middle)} times as long")
    commits = f"{answer.commits} commit{'s' * (answer.commits > 1)}"
    said.append(f"since {answer.since.hash[:8]} ({commits})")
    text = ", ".join(said) + (f"; before it {answer.before}" if answer.before else "")
    if answer.level:
        text += f". Too close to call against {', '.join(answer.level)}: the intervals overlap"
    return f"{text}."
