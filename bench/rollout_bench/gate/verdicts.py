"""Judges what the sessions of a gate have given, look by look, and keeps what is firm. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from ..history.parts import Part
from ..schema.metrics import STEP
from ..schema.metrics import metric as metric_facts
from ..schema.record import ABSENT
from ..stats.paired import CANNOT_TELL, ERROR, FIRM, Finding, judge_exact, least_pairs, planned_looks
from ..stats.together import Spread, Timing, judge_together
from .parts import parts_of
from .replicates import BASE, BUILDS, HEAD, Case, Replicates


@dataclass(frozen=True)
class Question:
    """What a gate is asked to judge."""

    paths: Sequence[str]
    thresholds: Mapping[str, float]
    """Each metric that is judged, and the share beyond which it counts as changed."""
    exact: frozenset[str]
    """Those of the metrics that are counts."""
    budget_seconds: float
    noise: Mapping[Any, Sequence[Spread]] = field(default_factory=dict)
    """What gates before have shown of a case's timing, by (*case, metric)."""

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
    logs: Sequence[float] = ()
    """Of a timing the log ratio of each replicate, in order."""
    parts: Sequence[Part] = ()
    """Of the step time: what explains its change."""


class Judge:
    """Looks at the replicates, now and then, and keeps what is firm."""

    def __init__(self, question: Question, replicates: Replicates, say: Callable[[str], None]) -> None:
        self._question = question
        self._replicates = replicates
        self._say = say
        self._found: dict[tuple[Case, str], Verdict] = {}
        self.looks: list[int] = []
        """After how many replicates to look."""

    def plan(self, most: int, at_once: int) -> None:
        """Plan the looks, where there is time for so many replicates in all, of which some come at once."""
        self.looks = planned_looks(most, self._least(), at_once)

    def __call__(self, replicate: int) -> None:
        """Judge everything that is not firm yet, all timings together."""
        self._say(f"after {replicate} session{'s' * (replicate > 1)} of each path:")
        timings = {
            (case, metric): Timing(
                logs,
                case.path,
                metric,
                self._question.thresholds[metric],
                self._question.noise.get((*case, metric), ()),
            )
            for case, metric in self._judged()
            if metric in self._question.timings and (logs := self._logs(case, metric))
        }
        found = judge_together([*timings.values()], ERROR / len(self.looks))
        findings = dict(zip(timings, found, strict=True))
        for case, metric in self._judged():
            known = self._found.get((case, metric))
            if known is None or known.verdict not in FIRM:
                verdict = self._verdict(case, metric, findings.get((case, metric)))
                self._found[case, metric] = verdict
                self._say(f"  {case.path} {case.workload} {case.batch} {metric}: {verdict.verdict}")

    def _judged(self) -> list[tuple[Case, str]]:
        return [
            (case, metric)
            for case in self._replicates.cases()
            if self._replicates.dropped(case) is None
            for metric in self._question.thresholds
            if any(self._replicates.samples(build, case, metric) for build in BUILDS)
        ]

    def _least(self) -> int:
        """Replicates that a firm verdict on a timing takes."""
        return least_pairs(len({case.path for case, _metric in self._judged()}))

    def _logs(self, case: Case, metric: str) -> list[float]:
        return [*self._replicates.logs(case, metric).values()]

    def _verdict(self, case: Case, metric: str, finding: Finding | None) -> Verdict:
        """The verdict on a metric; `finding` is of a timing that has ratios."""
        threshold = self._question.thresholds[metric]
        base, head = (self._replicates.samples(build, case, metric) for build in BUILDS)
        if not base or not head:
            build = BASE if head else HEAD
            lacks = self._replicates.why_missing(build, case, metric) or "this commit does not give it"
            return Verdict(case, metric, threshold, ABSENT, reason=f"{build}: {lacks}")
        why = self._replicates.left_out(case, metric)
        logs: list[float] = []
        if metric in self._question.exact:
            finding = judge_exact([*base.values()], [*head.values()], threshold)
        elif finding is None or finding.ratio is None:
            why = why or "a value of 0 has no ratio"
            return Verdict(case, metric, threshold, CANNOT_TELL, reason=why)
        else:
            logs = self._logs(case, metric)
            if len(logs) < self._least():
                few = f"a firm verdict on a timing takes {self._least()} sessions, and there are {len(logs)}"
                why = "; ".join(filter(None, [few, why]))
        if metric_facts(metric).better == "higher":
            finding = finding.turned()
        before, after = (median(map(median, starts.values())) for starts in (base, head))
        return Verdict(case, metric, threshold, finding.verdict, finding, before, after, why, logs)

    def settled(self, path: str) -> bool:
        """Whether more measuring of a path would change nothing. Counts are known from one session."""
        going = [
            case for case in self._replicates.cases() if case.path == path and self._replicates.goes_on(case)
        ]
        known = [
            self._found.get((case, metric))
            for case, metric in self._judged()
            if case in going and metric in self._question.timings
        ]
        return not any(map(self._replicates.dropped, going)) and all(
            verdict is not None and verdict.verdict in (*FIRM, ABSENT) for verdict in known
        )

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
        return self._explained(found)

    def _explained(self, verdicts: Sequence[Verdict]) -> list[Verdict]:
        cases = [verdict.case for verdict in verdicts if verdict.metric == STEP and verdict.logs]
        parts = parts_of(self._replicates, cases, self._question.thresholds[STEP]) if cases else {}
        return [
            replace(one, parts=parts[one.case]) if one.metric == STEP and one.case in parts else one
            for one in verdicts
        ]
