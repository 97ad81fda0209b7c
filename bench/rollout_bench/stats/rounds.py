"""What the rounds of a session come to, and how much of a rollout's time the speed of its cores was. Pure.

    hodges_lehmann([0.02, 0.05, 0.03])       # of log ratios, round by round
    slowed({"base zmq": seconds, "head zmq": others}, {"base zmq": slowness, "head zmq": slow})

Standard library only, as all that asv's own process runs.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, combinations_with_replacement
from statistics import fmean, median

HODGES_LEHMANN_ERROR = math.sqrt(math.pi / 3)
"""Of a Gaussian's Hodges-Lehmann estimate over that of its mean."""

_LEAST_FREEDOM = 8
"""Rollouts beyond what is estimated, of which how seconds follow the cores' speed can be learnt."""

_MEDIAN_DEVIATION = 0.6745
"""A Gaussian's median absolute deviation over its standard deviation."""

_OUTLIER = 3.0
"""Standard deviations from the others beyond which a rollout says nothing of the cores."""


def hodges_lehmann(values: Sequence[float]) -> float:
    """The median of the means of all pairs (Hodges and Lehmann 1963, doi:10.1214/aoms/1177704172).

    A quarter of the values may be outliers, and without any it is nearly as precise as a mean: a median needs
    half as many values again.
    """
    if not all(map(math.isfinite, values)):
        return median(values)  # means of infinities of both signs are no numbers
    return median((one + other) / 2 for one, other in combinations_with_replacement(values, 2))


def slowed(
    seconds: Mapping[str, Sequence[float]], slowness: Mapping[str, Sequence[float | None]]
) -> dict[str, list[float]]:
    """By contestant how many times as long each rollout took as with cores of mean speed.

    The contestants are builds of one path. `seconds` are of their rollouts of a workload, `slowness` how slow
    the cores were meanwhile; where a contestant lacks any, all are left alone. Seconds follow a power of the
    slowness. It is fitted to all rollouts but outliers, each around its contestant's median (an analysis of
    covariance), and shrunk by how sure it is, down to none.
    """
    both = {name: zip(of, slowness[name], strict=True) for name, of in seconds.items()}
    logs = {name: [(math.log(one), math.log(slow)) for one, slow in of if slow] for name, of in both.items()}
    around = [pair for pairs in logs.values() for pair in _around_median(pairs)]
    freedom = len(around) - len(logs) - 1
    if freedom < _LEAST_FREEDOM or sum(map(len, seconds.values())) != len(around):
        return {}
    rough = _slope(around)
    spread = median(abs(second - rough * slow) for second, slow in around) / _MEDIAN_DEVIATION
    kept = [(second, slow) for second, slow in around if abs(second - rough * slow) <= _OUTLIER * spread]
    squares = sum(slow**2 for _second, slow in kept)
    power = sum(second * slow for second, slow in kept) / squares if squares else 0.0
    error = sum((second - power * slow) ** 2 for second, slow in kept) / freedom
    sure = max(0.0, 1 - error / (power**2 * squares)) if power else 0.0
    power = min(max(power, 0.0), 1.0) * sure
    usual = fmean(slow for pairs in logs.values() for _second, slow in pairs)
    return {
        name: [math.exp(power * (slow - usual)) for _second, slow in pairs] for name, pairs in logs.items()
    }


def _around_median(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    middles = [median(of) for of in zip(*pairs, strict=True)]
    return [(second - middles[0], slow - middles[1]) for second, slow in pairs]


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line through the origin with the least absolute deviations: a weighted median of the slopes."""
    slopes = sorted((second / slow, abs(slow)) for second, slow in points if slow)
    half = sum(weight for _slope, weight in slopes) / 2
    sums = accumulate(weight for _slope, weight in slopes)
    return next((slope for (slope, _weight), total in zip(slopes, sums, strict=True) if total >= half), 0.0)
