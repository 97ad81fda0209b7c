"""The ratios of contestants of sessions, from samples that were taken side by side. Pure.

    zmq, ray = ratios_of([Pairs("zmq", [(samples, reference), ...]), Pairs("ray", ...)])

The samples of a round are neighbours in time, so that what drifts falls out of their ratio. A replicate's
value is the median over its rounds of the log ratio; the ratio is the mean over replicates, with an interval
as a gate has it (`together`): Student's t, with a variance that knows of the other cases. One replicate has
no interval: its rounds say nothing of how far another engine start would be from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import median
from typing import NamedTuple

LEAST_REPLICATES = 4
"""For an interval that may decide something: engine starts have modes, and a few may lie the same way."""

_ERROR = 0.05


class Pairs(NamedTuple):
    """What a ratio is of."""

    starts: str
    """The same for cases that share engine starts, such as their path."""
    replicates: Sequence[tuple[Sequence[float], Sequence[float]]]
    """Of each the samples, and the reference's samples of the same rounds."""


@dataclass(frozen=True)
class Ratio:
    """One contestant over another."""

    middle: float
    by_replicate: Sequence[float]
    interval: tuple[float, float] | None
    """Of 95 %; None of one replicate."""
    rounds: int
    """Of all replicates together."""


def ratios_of(cases: Sequence[Pairs]) -> list[Ratio]:
    """The ratio of each case, none of which is the reference itself: it would be noise without any.

    Raises ValueError where there is no replicate, or one without samples or of unequal length.
    """
    rounds = [
        [[log(one / other) for one, other in zip(*pair, strict=True)] for pair in case.replicates]
        for case in cases
    ]
    if not all(replicates and all(replicates) for replicates in rounds):
        raise ValueError("a ratio takes a replicate with samples")
    logs = [[median(one) for one in replicates] for replicates in rounds]
    known = _intervals(cases, logs) if any(len(one) > 1 for one in logs) else [None] * len(cases)
    return [
        Ratio(exp(sum(of) / len(of)), [*map(exp, of)], interval, sum(map(len, its)))
        for of, its, interval in zip(logs, rounds, known, strict=True)
    ]


def _intervals(cases: Sequence[Pairs], logs: Sequence[Sequence[float]]) -> list[tuple[float, float] | None]:
    from .together import Timing, intervals  # takes scipy: one replicate does without

    timings = [Timing(of, case.starts, "ratio") for case, of in zip(cases, logs, strict=True)]
    return intervals(timings, _ERROR)
