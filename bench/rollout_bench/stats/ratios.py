"""The ratio of two contestants of a session, from samples that were taken side by side. Pure.

The samples of a round are neighbours in time, so that what drifts falls out of their ratio. A replicate's
ratio is the median over its rounds, the ratio the median over replicates. The interval is of a bootstrap that
draws replicates, and rounds within them: 95 % of what the median of medians comes to. With fewer than
LEAST_REPLICATES it is about the range of what they took, and no interval of 95 %.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

LEAST_REPLICATES = 4
"""For an interval that may decide something."""

_DRAWS = 2000
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ratio:
    """One contestant over another."""

    middle: float
    by_replicate: Sequence[float]
    interval: tuple[float, float]
    """Of 95 %, from LEAST_REPLICATES on."""
    rounds: int
    """Of all replicates together."""


def ratio_of(replicates: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Ratio:
    """The ratio of samples to the reference's samples of the same rounds, a pair of both for each replicate.

    Raises ValueError where there is no replicate, or one without samples or of unequal length.
    """
    if not replicates or not all(samples for samples, _reference in replicates):
        raise ValueError("a ratio takes a replicate with samples")
    rounds = [[one / other for one, other in zip(*pair, strict=True)] for pair in replicates]
    by_replicate = [median(one) for one in rounds]
    return Ratio(median(by_replicate), by_replicate, _interval(rounds), sum(map(len, rounds)))


def _interval(replicates: Sequence[Sequence[float]]) -> tuple[float, float]:
    draw = random.Random(0)
    found = sorted(
        median(
            median(draw.choices(rounds, k=len(rounds)))
            for rounds in draw.choices(replicates, k=len(replicates))
        )
        for _ in range(_DRAWS)
    )
    outside = round(_DRAWS * (1 - _CONFIDENCE) / 2)
    return found[outside], found[-outside - 1]
