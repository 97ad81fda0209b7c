"""Measures two commits in alternation until every verdict is firm or the budget is spent.

A round is base, head, head, base: four engine starts of each path, which are two pairs, in an order
in which what drifts evenly cancels. Paths whose verdicts are all firm are not measured further. What
measures is handed in; this knows nothing of engines, environments or files.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from ..errors import UsageError
from ..schema.metrics import metric as metric_facts
from ..schema.record import ABSENT, FAILED, Record
from ..stats.paired import ERROR, FIRM, Finding, judge, judge_exact, planned_looks

BASE, HEAD = "base", "head"
BUILDS = (BASE, HEAD)
ROUND = (BASE, HEAD, HEAD, BASE)

Measure = Callable[[str, Sequence[str], float], Sequence[Record]]
"""(build, paths, seconds left) -> the harness's records of one engine start a path."""


class Case(NamedTuple):
    """What is compared: a path at a batch."""

    path: str
    preset: str
    batch: int


@dataclass(frozen=True)
class Question:
    """What a gate is asked to judge."""

    paths: Sequence[str]
    thresholds: Mapping[str, float]
    """Each metric that is judged, and the share beyond which it counts as changed."""
    exact: frozenset[str]
    """Those of the metrics that are counts."""
    budget_seconds: float

    @property
    def timings(self) -> list[str]:
        """Metrics that are judged by an interval."""
        return [metric for metric in self.thresholds if metric not in self.exact]


@dataclass(frozen=True)
class Verdict:
    """What became of one metric of one case."""

    case: Case
    metric: str
    threshold: float
    verdict: str
    """One of those of `stats.paired`; or ABSENT or FAILED, with a reason."""
    finding: Finding | None = None
    base: float | None = None
    """Median over the engine starts, in the metric's unit."""
    head: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Outcome:
    """The verdicts of a gate, and what they cost."""

    verdicts: Sequence[Verdict]
    pairs: int
    """Pairs of engine starts of the path that had the most."""
    seconds: float
    stopped: str
    """Why it stopped measuring."""


class Replicates:
    """The records of every engine start, by build and case."""

    def __init__(self, paths: Sequence[str]):
        self._paths = paths
        self._records: dict[tuple[str, Case], list[Record]] = {}
        self.cases: dict[Case, tuple[str, str] | None] = {}
        """Every case seen; for one that is absent or failed, which of the two and why."""

    def add(self, build: str, records: Sequence[Record]) -> None:
        """Take the records of one leg of a round."""
        for record in records:
            case = Case(record.path, record.preset, record.workload["batch"])
            self.cases.setdefault(case, None)
            if record.status in (ABSENT, FAILED):
                self.cases[case] = record.status, f"{build}: {record.reason}"
            else:
                self._records.setdefault((build, case), []).append(record)

    def usable(self) -> Iterator[Case]:
        """Cases that both builds have, so far, in the order of the paths asked for."""
        for case in sorted(self.cases, key=lambda case: (self._paths.index(case.path), case.batch)):
            if self.cases[case] is None:
                yield case

    def pairs(self, case: Case) -> int:
        """How many pairs of replicates there are of a case."""
        return min(len(self._records.get((build, case), ())) for build in BUILDS)

    def samples(self, build: str, case: Case, metric: str) -> list[list[float]]:
        """Samples of each start that has a partner; none where the path does not give the metric."""
        replicates = self._records.get((build, case), [])[: self.pairs(case)]
        return [one.metrics[metric] for one in replicates if one.metrics.get(metric)]

    def why_uncounted(self, build: str, case: Case) -> str | None:
        """Why a start of a build has no counts, where its record says so."""
        reasons = (one.observed.get("absent", {}).get("wire") for one in self._records[build, case])
        return next(filter(None, reasons), None)


def run_gate(
    question: Question,
    measure: Measure,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Measure and judge. Raises UsageError where the budget does not hold one round."""
    begin = clock()
    replicates = Replicates(question.paths)
    legs = ROUND if question.timings else BUILDS  # counts need one start a build
    paths = list(question.paths)
    judge_now: Judge | None = None
    for number in itertools.count(1):
        round_begin = clock()
        took: list[float] = []
        for build in legs:
            leg_begin = clock()
            left = question.budget_seconds - (leg_begin - begin)
            say(f"round {number}, {build}: {', '.join(paths)}; {left / 60:.1f} minutes left")
            records = measure(build, paths, left)
            took.append(clock() - leg_begin)
            left -= took[-1]
            if left <= 0:  # what the end of the budget has cut off is no failure of the commit
                records = [record for record in records if record.status != FAILED]
            if number == 1 and (len(took) < len(legs) or not records):
                _check_budget(took, len(legs), question)
            replicates.add(build, records)
            usable = {case.path for case in replicates.usable()}
            paths = [path for path in paths if path in usable]
            if not paths or left <= 0:
                break
        seconds = clock() - round_begin
        last = left < seconds or not question.timings
        if judge_now is None:
            rounds = 1 + int(max(left, 0.0) / seconds) if seconds else 1
            judge_now = Judge(question, replicates, planned_looks(2 * rounds), say)
        if last or not paths or 2 * number in judge_now.looks[:-1]:
            judge_now(number * len(legs) // 2)
        paths = [path for path in paths if not judge_now.settled(path)]
        if not paths or last:
            break
    assert judge_now is not None
    return Outcome(
        judge_now.verdicts(),
        max((replicates.pairs(case) for case in replicates.cases), default=0),
        clock() - begin,
        "the budget is spent" if paths and question.timings else "every verdict is firm",
    )


class Judge:
    """Looks at the replicates, now and then, and keeps what is firm."""

    def __init__(
        self, question: Question, replicates: Replicates, looks: Sequence[int], say: Callable[[str], None]
    ) -> None:
        self.looks = looks
        self._question = question
        self._replicates = replicates
        self._say = say
        self._found: dict[tuple[Case, str], Verdict] = {}
        intervals = sum(metric in question.timings for _cell, metric in self._judged())
        self._error = ERROR / (max(intervals, 1) * len(looks))

    def __call__(self, pairs: int) -> None:
        """Judge everything that is not firm yet."""
        self._say(f"after {pairs} pair{'s' * (pairs > 1)} of engine starts:")
        for case, metric in self._judged():
            known = self._found.get((case, metric))
            if known is None or known.verdict not in FIRM:
                self._found[case, metric] = verdict = self._judge(case, metric)
                self._say(f"  {case.path} batch {case.batch} {metric}: {verdict.verdict}")

    def _judged(self) -> list[tuple[Case, str]]:
        return [
            (case, metric)
            for case in self._replicates.usable()
            for metric in self._question.thresholds
            if any(self._replicates.samples(build, case, metric) for build in BUILDS)
        ]

    def _judge(self, case: Case, metric: str) -> Verdict:
        threshold = self._question.thresholds[metric]
        base, head = (self._replicates.samples(build, case, metric) for build in BUILDS)
        if not base or not head:
            build = BASE if head else HEAD
            why = self._replicates.why_uncounted(build, case) if metric in self._question.exact else None
            reason = f"{build}: {why or 'this commit does not give it'}"
            return Verdict(case, metric, threshold, ABSENT, reason=reason)
        before, after = ([median(samples) for samples in replicates] for replicates in (base, head))
        if metric in self._question.exact:
            finding = judge_exact(base, head, threshold)
        else:
            finding = judge(before, after, threshold, self._error)
        if metric_facts(metric).better == "higher":
            finding = finding.turned()
        return Verdict(case, metric, threshold, finding.verdict, finding, median(before), median(after))

    def settled(self, path: str) -> bool:
        """Whether more measuring of a path would change nothing. Counts are known from one one."""
        open_metrics = [
            self._found.get((case, metric))
            for case, metric in self._judged()
            if case.path == path and metric in self._question.timings
        ]
        return all(known is not None and known.verdict in (*FIRM, ABSENT) for known in open_metrics)

    def verdicts(self) -> list[Verdict]:
        """Every verdict, and for a case that has none, why: in the order of paths, batches, metrics."""
        found = []
        for case, dropped in sorted(
            self._replicates.cases.items(),
            key=lambda item: (self._question.paths.index(item[0].path), item[0].batch),
        ):
            if dropped is None:
                found += [verdict for (its, _metric), verdict in self._found.items() if its == case]
            else:
                status, reason = dropped
                metric = next(iter(self._question.thresholds))
                threshold = self._question.thresholds[metric]
                found.append(Verdict(case, metric, threshold, status, reason=reason))
        return found


def _check_budget(took: Sequence[float], legs: int, question: Question) -> None:
    """Refuse as soon as the first round cannot end in time. The first start is cold: half as long will do."""
    left = question.budget_seconds - sum(took)
    wanted = (legs - len(took)) * min(took)
    if left < (wanted / 2 if len(took) == 1 else wanted):
        raise UsageError(
            f"--budget is {question.budget_seconds / 60:g} minutes, and one round ({legs} engine starts of "
            f"{', '.join(question.paths)}) takes about {(sum(took) + wanted) / 60:.1f}: give more minutes, "
            "or fewer --paths"
        )
