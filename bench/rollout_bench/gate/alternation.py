"""Measures two commits in alternation until every verdict is firm or the budget is spent.

A round is base, head, head, base: four engine starts of each path, which are two pairs, in an order
in which what drifts evenly cancels. Paths whose verdicts are all firm are not measured further, nor those
that fail again and again; what a start lacks takes its pair out and nothing else. What
measures is handed in; this knows nothing of engines, environments or files.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ..errors import UsageError
from ..schema.metrics import metric as metric_facts
from ..schema.record import ABSENT, FAILED, Record
from ..stats.paired import CANNOT_TELL, ERROR, FIRM, Finding, judge, judge_exact, least_pairs, planned_looks
from .replicates import BASE, BUILDS, HEAD, Case, Replicates

ROUND = (BASE, HEAD, HEAD, BASE)

Measure = Callable[[str, Sequence[str], float], Sequence[Record]]
"""(build, paths, seconds that each path may take) -> the harness's records of one engine start a path."""


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
    """Why there is no finding, or what it leaves out."""


@dataclass(frozen=True)
class Outcome:
    """The verdicts of a gate, and what they cost."""

    verdicts: Sequence[Verdict]
    pairs: int
    """Pairs of engine starts of the path that had the most."""
    seconds: float
    stopped: str
    """Why it stopped measuring."""


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
        took: list[float] = []
        for place, build in enumerate(legs):
            leg_begin = clock()
            left = question.budget_seconds - (leg_begin - begin)
            say(f"round {number}, {build}: {', '.join(paths)}; {left / 60:.1f} minutes left")
            # Paths that hang leave the others, and the first round, their time. A first start is cold.
            ahead = 1.0 if number > 1 else len(legs) / 2 if place == 0 else len(legs) - place
            share = left / (len(paths) * ahead)
            records = measure(build, paths, share)
            took.append(clock() - leg_begin)
            left -= took[-1]
            if number == 1 and place < len(legs) - 1:
                _check_budget(took, len(legs), question, records, share)
            replicates.add(build, (number - 1) * len(legs) // 2 + place // 2, records)
            going = {case.path for case in replicates.cases() if replicates.goes_on(case)}
            paths = [path for path in paths if path in going]
            if not paths or left <= 0:
                break
        seconds = len(legs) * min(took)  # of the next one: without what hung in this
        last = left < seconds or not question.timings
        if judge_now is None:
            rounds = 1 + int(max(left, 0.0) / seconds) if seconds else 1
            judge_now = Judge(question, replicates, 2 * rounds, say)
        if last or not paths or 2 * number in judge_now.looks[:-1]:
            judge_now(number * len(legs) // 2)
        paths = [path for path in paths if not judge_now.settled(path)]
        if not paths or last:
            break
    assert judge_now is not None
    verdicts = judge_now.verdicts()
    unclear = question.timings and any(verdict.verdict == CANNOT_TELL for verdict in verdicts)
    return Outcome(
        verdicts,
        max(map(replicates.pairs, replicates.cases()), default=0),
        clock() - begin,
        "the budget is spent" if paths and question.timings
        else "what is not firm fails at every start" if unclear
        else "every verdict is firm",
    )  # fmt: skip


class Judge:
    """Looks at the replicates, now and then, and keeps what is firm."""

    def __init__(
        self, question: Question, replicates: Replicates, most_pairs: int, say: Callable[[str], None]
    ) -> None:
        self._question = question
        self._replicates = replicates
        self._say = say
        self._found: dict[tuple[Case, str], Verdict] = {}
        self._least = least_pairs(self._intervals())
        self.looks = planned_looks(most_pairs, self._least)

    def __call__(self, pairs: int) -> None:
        """Judge everything that is not firm yet."""
        self._say(f"after {pairs} pair{'s' * (pairs > 1)} of engine starts:")
        error = ERROR / (max(self._intervals(), 1) * len(self.looks))
        for case, metric in self._judged():
            known = self._found.get((case, metric))
            if known is None or known.verdict not in FIRM:
                self._found[case, metric] = verdict = self._judge(case, metric, error)
                self._say(f"  {case.path} {case.workload} {case.batch} {metric}: {verdict.verdict}")

    def _judged(self) -> list[tuple[Case, str]]:
        return [
            (case, metric)
            for case in self._replicates.cases()
            if self._replicates.dropped(case) is None
            for metric in self._question.thresholds
            if any(self._replicates.samples(build, case, metric) for build in BUILDS)
        ]

    def _intervals(self) -> int:
        return sum(metric in self._question.timings for _case, metric in self._judged())

    def _judge(self, case: Case, metric: str, error: float) -> Verdict:
        threshold = self._question.thresholds[metric]
        base, head = (self._replicates.samples(build, case, metric) for build in BUILDS)
        if not base or not head:
            build = BASE if head else HEAD
            lacks = self._replicates.why_missing(build, case, metric) or "this commit does not give it"
            return Verdict(case, metric, threshold, ABSENT, reason=f"{build}: {lacks}")
        why = self._replicates.left_out(case, metric)
        pairs = sorted(base.keys() & head.keys())
        before, after = ([median(starts[pair]) for pair in pairs] for starts in (base, head))
        if metric in self._question.exact:
            finding = judge_exact([*base.values()], [*head.values()], threshold)
        elif pairs:
            finding = judge(before, after, threshold, error, self._least)
            if len(pairs) < self._least:
                few = f"a firm verdict on a timing takes {self._least} pairs, and there are {len(pairs)}"
                why = "; ".join(filter(None, [few, why]))
        else:
            return Verdict(case, metric, threshold, CANNOT_TELL, reason=why)
        if metric_facts(metric).better == "higher":
            finding = finding.turned()
        middle = [median(map(median, starts.values())) for starts in (base, head)]
        return Verdict(case, metric, threshold, finding.verdict, finding, middle[0], middle[1], why)

    def settled(self, path: str) -> bool:
        """Whether more measuring of a path would change nothing. Counts are known from one start."""
        open_metrics = [
            self._found.get((case, metric))
            for case, metric in self._judged()
            if case.path == path and metric in self._question.timings and self._replicates.goes_on(case)
        ]
        return all(known is not None and known.verdict in (*FIRM, ABSENT) for known in open_metrics)

    def verdicts(self) -> list[Verdict]:
        """Every verdict, and for a case that has none, why: in the order of paths, batches, metrics."""
        found = []
        for case in self._replicates.cases():
            if dropped := self._replicates.dropped(case):
                status, reason = dropped
                metric = next(iter(self._question.thresholds))
                threshold = self._question.thresholds[metric]
                found.append(Verdict(case, metric, threshold, status, reason=reason))
            else:
                found += [verdict for (its, _metric), verdict in self._found.items() if its == case]
        return found


def _check_budget(
    took: Sequence[float], legs: int, question: Question, records: Sequence[Record], share: float
) -> None:
    """Refuse as soon as the first round cannot end in time. The first start is cold: half as long will do.

    What a path that fails takes says nothing of a round, unless time alone has cut off all of them.
    """
    failed = [record.status == FAILED for record in records]
    cut_off = all(failed) and took[-1] >= share * len(question.paths)
    left = question.budget_seconds - sum(took)
    wanted = (legs - len(took)) * min(took)
    if cut_off or (not any(failed) and left < (wanted / 2 if len(took) == 1 else wanted)):
        raise UsageError(
            f"--budget is {question.budget_seconds / 60:g} minutes, and one round ({legs} engine starts of "
            f"{', '.join(question.paths)}) takes {'more than' if cut_off else 'about'} "
            f"{(sum(took) + wanted) / 60:.1f}: give more minutes, or fewer --paths"
        )
