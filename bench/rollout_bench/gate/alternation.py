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
SIDES = (BASE, HEAD)
ROUND = (BASE, HEAD, HEAD, BASE)

Measure = Callable[[str, Sequence[str], float], Sequence[Record]]
"""(side, paths, seconds left) -> the ruler's records of one engine start a path."""


class Cell(NamedTuple):
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
    """What became of one metric of one cell."""

    cell: Cell
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


class Starts:
    """The records of every engine start, by side and cell."""

    def __init__(self, paths: Sequence[str]):
        self._paths = paths
        self._records: dict[tuple[str, Cell], list[Record]] = {}
        self.cells: dict[Cell, tuple[str, str] | None] = {}
        """Every cell seen; for one that is absent or failed, which of the two and why."""

    def add(self, side: str, records: Sequence[Record]) -> None:
        """Take the records of one leg of a round."""
        for record in records:
            cell = Cell(record.path, record.preset, record.workload["batch"])
            self.cells.setdefault(cell, None)
            if record.status in (ABSENT, FAILED):
                self.cells[cell] = record.status, f"{side}: {record.reason}"
            else:
                self._records.setdefault((side, cell), []).append(record)

    def usable(self) -> Iterator[Cell]:
        """Cells that both sides have, so far, in the order of the paths asked for."""
        for cell in sorted(self.cells, key=lambda cell: (self._paths.index(cell.path), cell.batch)):
            if self.cells[cell] is None:
                yield cell

    def pairs(self, cell: Cell) -> int:
        """How many pairs of starts there are of a cell."""
        return min(len(self._records.get((side, cell), ())) for side in SIDES)

    def samples(self, side: str, cell: Cell, metric: str) -> list[list[float]]:
        """Samples of each start that has a partner; none where the path does not give the metric."""
        starts = self._records.get((side, cell), [])[: self.pairs(cell)]
        return [start.metrics[metric] for start in starts if start.metrics.get(metric)]

    def why_uncounted(self, side: str, cell: Cell) -> str | None:
        """Why a start of a side has no counts, where its record says so."""
        reasons = (start.observed.get("absent", {}).get("wire") for start in self._records[side, cell])
        return next(filter(None, reasons), None)


def run_gate(
    question: Question,
    measure: Measure,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Measure and judge. Raises UsageError where the budget does not hold one round."""
    begin = clock()
    starts = Starts(question.paths)
    legs = ROUND if question.timings else SIDES  # counts need one start a side
    paths = list(question.paths)
    judge_now: Judge | None = None
    for number in itertools.count(1):
        round_begin = clock()
        took: list[float] = []
        for side in legs:
            leg_begin = clock()
            left = question.budget_seconds - (leg_begin - begin)
            say(f"round {number}, {side}: {', '.join(paths)}; {left / 60:.1f} minutes left")
            records = measure(side, paths, left)
            took.append(clock() - leg_begin)
            left -= took[-1]
            if left <= 0:  # what the end of the budget has cut off is no failure of the commit
                records = [record for record in records if record.status != FAILED]
            if number == 1 and (len(took) < len(legs) or not records):
                _check_budget(took, len(legs), question)
            starts.add(side, records)
            usable = {cell.path for cell in starts.usable()}
            paths = [path for path in paths if path in usable]
            if not paths or left <= 0:
                break
        seconds = clock() - round_begin
        last = left < seconds or not question.timings
        if judge_now is None:
            rounds = 1 + int(max(left, 0.0) / seconds) if seconds else 1
            judge_now = Judge(question, starts, planned_looks(2 * rounds), say)
        if last or not paths or 2 * number in judge_now.looks[:-1]:
            judge_now(number * len(legs) // 2)
        paths = [path for path in paths if not judge_now.settled(path)]
        if not paths or last:
            break
    assert judge_now is not None
    return Outcome(
        judge_now.verdicts(),
        max((starts.pairs(cell) for cell in starts.cells), default=0),
        clock() - begin,
        "the budget is spent" if paths and question.timings else "every verdict is firm",
    )


class Judge:
    """Looks at the starts, now and then, and keeps what is firm."""

    def __init__(
        self, question: Question, starts: Starts, looks: Sequence[int], say: Callable[[str], None]
    ) -> None:
        self.looks = looks
        self._question = question
        self._starts = starts
        self._say = say
        self._found: dict[tuple[Cell, str], Verdict] = {}
        intervals = sum(metric in question.timings for _cell, metric in self._judged())
        self._error = ERROR / (max(intervals, 1) * len(looks))

    def __call__(self, pairs: int) -> None:
        """Judge everything that is not firm yet."""
        self._say(f"after {pairs} pair{'s' * (pairs > 1)} of engine starts:")
        for cell, metric in self._judged():
            known = self._found.get((cell, metric))
            if known is None or known.verdict not in FIRM:
                self._found[cell, metric] = verdict = self._judge(cell, metric)
                self._say(f"  {cell.path} batch {cell.batch} {metric}: {verdict.verdict}")

    def _judged(self) -> list[tuple[Cell, str]]:
        return [
            (cell, metric)
            for cell in self._starts.usable()
            for metric in self._question.thresholds
            if any(self._starts.samples(side, cell, metric) for side in SIDES)
        ]

    def _judge(self, cell: Cell, metric: str) -> Verdict:
        threshold = self._question.thresholds[metric]
        base, head = (self._starts.samples(side, cell, metric) for side in SIDES)
        if not base or not head:
            side = BASE if head else HEAD
            why = self._starts.why_uncounted(side, cell) if metric in self._question.exact else None
            reason = f"{side}: {why or 'this commit does not give it'}"
            return Verdict(cell, metric, threshold, ABSENT, reason=reason)
        before, after = ([median(samples) for samples in starts] for starts in (base, head))
        if metric in self._question.exact:
            finding = judge_exact(base, head, threshold)
        else:
            finding = judge(before, after, threshold, self._error)
        if metric_facts(metric).better == "higher":
            finding = finding.turned()
        return Verdict(cell, metric, threshold, finding.verdict, finding, median(before), median(after))

    def settled(self, path: str) -> bool:
        """Whether more measuring of a path would change nothing. Counts are known from one start."""
        open_metrics = [
            self._found.get((cell, metric))
            for cell, metric in self._judged()
            if cell.path == path and metric in self._question.timings
        ]
        return all(known is not None and known.verdict in (*FIRM, ABSENT) for known in open_metrics)

    def verdicts(self) -> list[Verdict]:
        """Every verdict, and for a cell that has none, why: in the order of paths, batches, metrics."""
        found = []
        for cell, dropped in sorted(
            self._starts.cells.items(),
            key=lambda item: (self._question.paths.index(item[0].path), item[0].batch),
        ):
            if dropped is None:
                found += [verdict for (its, _metric), verdict in self._found.items() if its == cell]
            else:
                status, reason = dropped
                metric = next(iter(self._question.thresholds))
                threshold = self._question.thresholds[metric]
                found.append(Verdict(cell, metric, threshold, status, reason=reason))
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
