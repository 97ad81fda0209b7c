"""All timings of a gate judged together, each with noise that knows of the others and of history. Pure.

    findings = judge_together([Timing(logs, "zmq", "step_seconds"), ...], ERROR / len(looks))

A replicate is a session, in which an engine start of the base and one of the head take turns. Its value of a
timing is the Hodges-Lehmann estimate of its rounds' logs of head over base, so that what drifts falls out.
The effect is the mean over replicates and its interval Student's t, with a variance that is shrunken towards
those of the gate's other cases and of history (`shrinkage`). Verdicts are read off intervals as in `paired`.

Engine starts have modes, some tens of per cent apart, and few replicates that lie the same way vary little.
So a firm verdict takes `paired.least_pairs` of them, however quiet history is: they alone can tell that the
host is busier today. Starts draw modes, so starts are counted, and not what was measured of them.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # Student's quantile; scipy.stats takes a second to load

from .paired import CANNOT_TELL, POWER, THRESHOLD, Finding, decide, least_pairs
from .shrinkage import Variances, shrunken


@dataclass(frozen=True)
class Spread:
    """How much the replicates of a case varied in one gate or session."""

    variance: float
    """Of their log ratios, around their mean: a true change is no noise."""
    freedom: int
    source: str
    """The gate or session."""


@dataclass(frozen=True)
class Timing:
    """What a gate has measured of one metric of one case."""

    logs: Sequence[float]
    """The value of each replicate that has one, in any order."""
    starts: str
    """The same for cases that share engine starts, such as their path: their errors have much in common."""
    metric: str
    """Noise is told from timings of the same metric alone."""
    threshold: float = THRESHOLD
    history: Sequence[Spread] = ()
    """Of this very case on this machine."""


def judge_together(timings: Sequence[Timing], error: float) -> list[Finding]:
    """A finding for each timing, in their order. All intervals hold together but with `error`.

    One with fewer replicates than a firm verdict takes has no interval, and one without any no ratio either.
    """
    least = least_pairs(len({timing.starts for timing in timings}))
    return [
        _judged(timing, *known, error / len(timings))
        if known and len(timing.logs) >= least
        else Finding(CANNOT_TELL, _ratio(timing), None, None, len(timing.logs))
        for timing, known in zip(timings, _noise_of(timings), strict=True)
    ]


def intervals(timings: Sequence[Timing], error: float) -> list[tuple[float, float] | None]:
    """The interval of each timing's ratio, each of which misses with `error`; None of a single replicate."""
    found: list[tuple[float, float] | None] = []
    for timing, known in zip(timings, _noise_of(timings), strict=True):
        if known is None:
            found.append(None)
            continue
        centre = float(np.mean(timing.logs))
        half = float(half_interval(np.array(known[0]), np.array(known[1]), len(timing.logs), error))
        found.append((_exp(centre - half), _exp(centre + half)))
    return found


def half_interval(variance: np.ndarray, freedom: np.ndarray, pairs: float, error: float) -> np.ndarray:
    """Half of Student's interval of a mean of `pairs` values that vary so; it misses with `error`."""
    half: np.ndarray = stdtrit(freedom, 1 - error / 2) * np.sqrt(variance / pairs)
    return half


def _ratio(timing: Timing) -> float | None:
    finite = timing.logs and np.isfinite(timing.logs).all()
    return _exp(float(np.mean(timing.logs))) if finite else None


def _varies(timing: Timing) -> bool:
    return len(timing.logs) > 1 and bool(np.isfinite(timing.logs).all())


def _noise_of(timings: Sequence[Timing]) -> list[tuple[float, float] | None]:
    """Variance and degrees of freedom of each timing, told from those of its metric; None where it is one
    value, or not finite."""
    found: list[tuple[float, float] | None] = [None] * len(timings)
    for metric in dict.fromkeys(timing.metric for timing in timings):
        places = [at for at, timing in enumerate(timings) if timing.metric == metric and _varies(timing)]
        for at, known in zip(places, _noise([timings[at] for at in places]) if places else (), strict=True):
            found[at] = known
    return found


def _noise(timings: Sequence[Timing]) -> list[tuple[float, float]]:
    """Variance and degrees of freedom of each, by its replicates, those of the others, and history."""
    past = [(case, spread) for case, timing in enumerate(timings) for spread in timing.history]
    own = _variances(
        [(float(np.var(timing.logs, ddof=1)), len(timing.logs) - 1, timing.starts) for timing in timings]
    )
    history = _variances(
        [(spread.variance, spread.freedom, (spread.source, timings[case].starts)) for case, spread in past]
    )
    found = shrunken(own, history, np.array([case for case, _spread in past], int))
    return list(zip(*(array.tolist() for array in found), strict=True))


def _variances(given: Sequence[tuple[float, int, Hashable]]) -> Variances:
    values, freedom, starts = zip(*given, strict=True) if given else ((), (), ())
    names = {name: number for number, name in enumerate(dict.fromkeys(starts))}
    return Variances(
        np.array(values, float), np.array(freedom, float), np.array([names[one] for one in starts], int)
    )


def _judged(timing: Timing, variance: float, freedom: float, error: float) -> Finding:
    pairs, centre, limit = len(timing.logs), float(np.mean(timing.logs)), math.log1p(timing.threshold)
    half = half_interval(np.array(variance), np.array(freedom), pairs, error)
    seen = limit + float(half) + float(stdtrit(freedom, POWER)) * math.sqrt(variance / pairs)
    return Finding(
        str(decide(np.array(centre), half, limit)),
        _exp(centre),
        (_exp(centre - float(half)), _exp(centre + float(half))),
        _exp(seen) - 1,
        pairs,
    )


def _exp(value: float) -> float:
    """e to the power of `value`; the largest float where that is too large, which JSON can write."""
    return math.exp(min(value, 700.0))
