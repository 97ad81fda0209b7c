"""Measures two commits side by side until every verdict is firm or the budget is spent.

A session has base and head of every path that is still open up at once, their rollouts interleaved, and is
one replicate of each. Paths that do not find room together are split over several, both builds of a path
always in one. Several sessions of the same paths may be up at once, each a replicate. Paths whose verdicts
are all firm are not measured further, nor those that fail again and again. What measures is handed in; this
knows nothing of engines, environments or files.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

from ..errors import UsageError
from ..schema.record import FAILED, Record
from ..stats.paired import CANNOT_TELL, LEAST_PAIRS
from .replicates import BUILDS, Replicates
from .verdicts import Judge, Question, Verdict

Measure = Callable[[Sequence[str], float], Sequence[Sequence[Record]]]
"""(paths, seconds that it may take) -> for each of the sessions that were up at once, the records of base and
head of each path."""


@dataclass(frozen=True)
class Outcome:
    """The verdicts of a gate, and what they cost."""

    verdicts: Sequence[Verdict]
    sessions: int
    at_once: int
    """So many of the sessions were up at once."""
    seconds: float
    stopped: str
    """Why it stopped measuring."""


def run_gate(
    question: Question,
    engines: int,
    measure: Measure,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    at_once: int = 1,
) -> Outcome:
    """Measure and judge, so many engines up in a session, and so many sessions, each a replicate, at once.

    Raises UsageError where the budget does not hold one session of each path.
    """
    begin = clock()

    def left() -> float:
        return question.budget_seconds - (clock() - begin)

    replicates = Replicates(question.paths, at_once)
    paths = list(question.paths)
    judge_now = Judge(question, replicates, say)
    sessions = 0
    took: list[float] = []  # by the replicates that are measured at once
    for number in itertools.count(at_once, at_once):  # of replicates, with those that begin now
        replicates_begin = clock()
        groups = _groups(paths, max(1, engines // len(BUILDS)))
        for place, group in enumerate(groups):
            which = f" {sessions + 1}" if at_once == 1 else f"s {sessions + 1} to {sessions + at_once}"
            say(f"session{which}: {', '.join(group)}; {left() / 60:.1f} minutes left")
            # The first replicates are to have all paths; later ones count for those that they have.
            share = left() / (len(groups) - place if not took else 1)
            measured = measure(group, share)
            sessions += at_once
            if not took:
                found = [*chain(*measured)]
                _check_budget(question, place + 1, len(groups) - place - 1, share, left(), found)
            for replicate, records in enumerate(measured, number - at_once + 1):
                replicates.add(replicate, records)
            if left() <= 0:
                break
        took.append(clock() - replicates_begin)
        going = {case.path for case in replicates.cases() if replicates.goes_on(case)}
        paths = [path for path in paths if path in going]
        seconds = min(took)  # of the next ones: without what hung, or was cold
        last = left() < seconds or not question.timings
        ends = last or not paths
        if not judge_now.looks and (ends or number >= LEAST_PAIRS):  # by now it is known what one takes
            judge_now.plan(number + (0 if ends else at_once * int(left() / seconds)), at_once)
        if ends or number in judge_now.looks[:-1]:
            judge_now(number)
        paths = [path for path in paths if not judge_now.settled(path)]
        if last or not paths:
            break
    verdicts = judge_now.verdicts()
    unclear = [verdict.case for verdict in verdicts if verdict.verdict in (CANNOT_TELL, FAILED)]
    return Outcome(
        verdicts,
        sessions,
        at_once,
        clock() - begin,
        "the budget is spent" if paths and question.timings
        else "what failed twice in a row was given up" if not all(map(replicates.goes_on, unclear))
        else "another session would tell no more" if unclear
        else "every verdict is firm",
    )  # fmt: skip


def _groups(paths: Sequence[str], most: int) -> list[Sequence[str]]:
    """The paths in as few groups as may be of at most so many, as even as can be."""
    count = -(-len(paths) // most)
    return [paths[len(paths) * one // count : len(paths) * (one + 1) // count] for one in range(count)]


def _check_budget(
    question: Question, done: int, ahead: int, share: float, left: float, records: Sequence[Record]
) -> None:
    """Refuse as soon as the first replicate cannot end in time. Its first session is cold: half will do.

    What a path that fails takes says nothing of a session, unless time alone has cut off all of them.
    """
    failed = [record.status == FAILED for record in records]
    cut_off = all(failed) and left <= share * ahead
    spent = question.budget_seconds - left
    wanted = ahead * spent / done
    if cut_off or (not any(failed) and left < (wanted / 2 if done == 1 else wanted)):
        of = ", ".join(question.paths)
        what = f"one session of {of} takes" if done + ahead == 1 else f"sessions of {of} take"
        raise UsageError(
            f"--budget is {question.budget_seconds / 60:g} minutes, and {what} "
            f"{'more than' if cut_off else 'about'} {(spent + wanted) / 60:.1f}: "
            "give more minutes, or fewer --paths"
        )
