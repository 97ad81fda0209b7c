"""What two commits are to each other (better, worse, same, cannot tell), and what a verdict takes. Pure.

A verdict on a timing is read off an interval (`together` makes it): `worse` or `better` where all of it lies
beyond the threshold, `same` where all of it lies within, `cannot tell` where it reaches over.

Engine starts have modes, some tens of per cent apart, and a few pairs that happen to lie the same way have
a narrow interval. So a firm verdict on a timing takes enough pairs for that to be rare: no more than one pair
in four of the same code has the head alone in the slower mode (p (1 - p), whatever the modes' shares).

A gate judges many cases and looks several times. Every one of these intervals takes an equal share
of one error of 5 % (Bonferroni), so that all of them hold together in 95 % of gates. Looks double
(4, 8, 16, ... pairs), so there are few of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import median

import numpy as np

WORSE, BETTER, SAME, CANNOT_TELL = "worse", "better", "same", "cannot tell"
FIRM = (WORSE, BETTER, SAME)
"""Verdicts that more measuring would not change."""

ERROR = 0.05
"""How often any interval of a gate misses, at most."""

THRESHOLD = 0.015
"""Of a timing, where none is given: midway between nothing and the 3 % that a gate should see."""

POWER = 0.9

LEAST_PAIRS = 4
"""With fewer pairs a timing has no interval."""


@dataclass(frozen=True)
class Finding:
    """A verdict with what it rests on. Ratios are head over base: above 1 the head takes more."""

    verdict: str
    ratio: float | None
    """None where the base is zero."""
    interval: tuple[float, float] | None
    """None of fewer than LEAST_PAIRS pairs, and of a count."""
    detectable: float | None
    """The smallest slowdown, as a share, that as many pairs with this noise show in 9 of 10 gates."""
    pairs: int

    def turned(self) -> "Finding":
        """The same where more is better."""
        return replace(self, verdict={WORSE: BETTER, BETTER: WORSE}.get(self.verdict, self.verdict))


def least_pairs(intervals: int) -> int:
    """Pairs that a firm verdict takes where so many timings are judged: ERROR is for all of them.

    Where starts have two modes, n pairs of the same code all lie the same way in at most 2 / 4^n of cases.
    """
    return max(LEAST_PAIRS, math.ceil(math.log(2 * max(intervals, 1) / ERROR, 4)))


def planned_looks(most_pairs: int, least: int = LEAST_PAIRS, at_once: int = 1) -> list[int]:
    """After how many pairs to look, when at most `most_pairs` can be measured: doubling, and at the end.

    So many pairs come at once.
    """
    looks = []
    pairs = -(-least // at_once) * at_once
    while pairs < most_pairs:
        looks.append(pairs)
        pairs *= 2
    return [*looks, most_pairs]


def decide(centre: np.ndarray, half: np.ndarray, limit: float) -> np.ndarray:
    """Verdicts of intervals `centre` +- `half` on the log scale, against the threshold's log, `limit`."""
    low, high = centre - half, centre + half
    return np.select(
        [low > limit, high < -limit, (low >= -limit) & (high <= limit)], [WORSE, BETTER, SAME], CANNOT_TELL
    )


def judge_exact(
    base: Sequence[Sequence[float]], head: Sequence[Sequence[float]], threshold: float = 0.0
) -> Finding:
    """Judge counts by equality: `same` where every value of both builds is, to within the threshold.

    `worse` and `better` need every value of the head beyond every one of the base. A start has one value
    of a metric that is exact; records of before this was so have several, and those of a build may spread.
    """
    before, after = [*chain(*base)], [*chain(*head)]
    margin = 1 + threshold
    if min(after) > max(before) * margin:
        verdict = WORSE
    elif max(after) * margin < min(before):
        verdict = BETTER
    elif max(after) <= min(before) * margin and max(before) <= min(after) * margin:
        verdict = SAME
    else:
        verdict = CANNOT_TELL
    ratio = median(after) / median(before) if median(before) else None
    return Finding(verdict, ratio, None, None, len(base))
