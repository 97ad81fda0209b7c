"""Is a commit beyond what its series has shown as noise? Said at that commit, before it has made a level.

    departures = find_departures(values, spreads, groups, find_shifts(values, spreads, groups))

A change point takes three points at the new level, this takes one; those that follow confirm or withdraw it.
Noise is what the series has shown from point to point, about the levels that it had, and never less than
within points. Two bounds must be passed: Student's, and one for noise that is no bell (two modes, a tail),
which lies beyond the greatest departure of the history, the farther the shorter that is. A series that is
too young to have shown noise is judged by that within points, where each has enough replicates for it. Works
on logarithms. Knows numbers only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy.special import fdtrc, stdtrit

from .change_points import LEAST_POINTS, MEDIAN_ERROR, NO_NOISE, Shift
from .ratios import LEAST_REPLICATES
from .scan import LEAST_LEVEL

State = Literal["unconfirmed", "confirmed", "withdrawn"]

FALSE_ALARMS = 0.01
"""Share of step-free points that may be called a departure; either bound is set to it, and both must hold."""
PENDING = 8
"""Points for which a departure is followed; then it has made a level, and is a change point or nothing."""
_HISTORY = 64  # points before it, from which the noise is known
_LEVEL = 32  # of them, those that make the level at most
_TAIL = 2.5  # the share beyond c times the greatest of n is c^-_TAIL / (n + 1)
_SURELY_MORE = 0.05  # p value below which points differ by more than their replicates explain
_WITHIN = 0.683  # share of Gaussian noise within a standard deviation
_WORTH = 0.54  # degrees of freedom of a point, where that share is asked for and no sum of squares


@dataclass(frozen=True)
class Departure:
    """A point that is not at the level before it."""

    index: int
    before: Sequence[int]
    """Points that make the level before."""
    ratio: float
    """The point over the level."""
    interval: tuple[float, float]
    """99 % interval of the ratio, by the widest of the bounds."""
    state: State
    """What the points after it say; unconfirmed where there are none, or they lie too close to tell."""


def find_departures(
    values: Sequence[float],
    spreads: Sequence[float] | None = None,
    groups: Sequence[str] | None = None,
    shifts: Sequence[Shift] = (),
    replicates: Sequence[int] | None = None,
) -> list[Departure]:
    """Departures among the last PENDING points that lie after the last of `shifts`, oldest first.

    Values, spreads and groups are as for `find_shifts`; `replicates` are those of which a value is the mean
    and its spread the standard error. A point is judged by itself and those before it alone.
    """
    logs = np.log(np.asarray(values, float))
    errors = np.zeros(len(logs)) if spreads is None else np.asarray(spreads) / np.asarray(values)
    names = np.asarray(groups if groups is not None else [""] * len(logs))
    counts = np.asarray(replicates if replicates is not None else [1] * len(logs))
    edges = [0, *(shift.index for shift in shifts)]
    found: list[Departure] = []
    for at in range(max(edges[-1] + 1, len(logs) - PENDING), len(logs)):
        if found and found[-1].state != "withdrawn":
            break  # what follows one that stands is told by its state
        if at < LEAST_POINTS - 1:
            gone = [one.index for one in found]
            found += _young(logs, errors, names, counts, edges[-1], at, gone)
        elif at >= edges[-1] + LEAST_LEVEL:
            found += _departure(logs, errors, names, [*edges, at])
    return found


def _young(
    logs: np.ndarray,
    errors: np.ndarray,
    names: np.ndarray,
    counts: np.ndarray,
    begin: int,
    at: int,
    gone: Sequence[int],
) -> list[Departure]:
    """That of one of the first points, by what its replicates and those of the level before it differ by.

    What has departed and come back, `gone`, is not of the level, nor a measure of its noise.
    """
    same = names == names[at]
    same[list(gone)] = False
    level = begin + np.flatnonzero(same[begin:at])
    of = [*level, at]
    if not len(level) or counts[of].min() < LEAST_REPLICATES:
        return []
    freedom = counts[of] - 1
    variance = max(float(np.sum(freedom * counts[of] * errors[of] ** 2) / freedom.sum()), NO_NOISE**2)
    own = max(np.sqrt(variance / counts[at]), errors[at])
    of_level = np.sqrt(variance / counts[level].sum()) * MEDIAN_ERROR
    sure = float(stdtrit(freedom.sum(), 1 - FALSE_ALARMS / 2))
    middle = float(np.median(logs[level]))
    half = sure * float(np.hypot(own, of_level))
    if _vary_more(logs[level], errors[level], counts[level]):
        half = max(half, _beyond(np.abs(logs[level] - middle)))
    shift = float(logs[at]) - middle
    if abs(shift) <= half:
        return []
    after = [float(one) - middle for one in logs[at + 1 :][same[at + 1 :]]]
    of_after = own * MEDIAN_ERROR / np.sqrt(max(1, len(after)))
    enough = sure * float(np.hypot(of_after, of_level))
    return [_told(at, [*map(int, level)], shift, half, after, enough)]


def _departure(logs: np.ndarray, errors: np.ndarray, names: np.ndarray, edges: list[int]) -> list[Departure]:
    """That of the point at the last of `edges`, which begin levels; none where it is at its level."""
    *_before, begin, at = edges
    levels: dict[str, list[int]] = {}
    for index in range(max(begin, at - _LEVEL), at):
        levels.setdefault(names[index], []).append(index)
    middles = {name: float(np.median(logs[of])) for name, of in levels.items() if len(of) >= LEAST_LEVEL}
    if names[at] not in middles:
        return []
    rest = np.abs(np.concatenate([_residuals(logs[a:b], names[a:b]) for a, b in pairwise(edges)])[-_HISTORY:])
    free = max(1, len(rest) - (len(edges) - 1) * len({*names[:at]}))
    spread = float(np.quantile(rest, _WITHIN)) * np.sqrt(len(rest) / free)
    noise = max(spread, NO_NOISE, float(np.median(errors[:at])))
    of_level = noise * MEDIAN_ERROR / np.sqrt(len(levels[names[at]]))
    sure = float(stdtrit(_WORTH * free, 1 - FALSE_ALARMS / 2))
    half = max(sure * np.hypot(max(noise, errors[at]), of_level), _beyond(rest))
    shift = float(logs[at]) - middles[names[at]]
    if abs(shift) <= half:
        return []
    after = [float(logs[i]) - middles[names[i]] for i in range(at + 1, len(logs)) if names[i] in middles]
    enough = sure * np.hypot(noise * MEDIAN_ERROR / np.sqrt(max(1, len(after))), of_level)
    return [_told(at, levels[names[at]], shift, half, after, float(enough))]


def _vary_more(logs: np.ndarray, errors: np.ndarray, counts: np.ndarray) -> bool:
    """Whether points of a level differ by more than their replicates explain (F test)."""
    if len(logs) < 2:
        return False
    freedom = counts - 1
    explained = float(np.sum(freedom * errors**2) / freedom.sum())
    ratio = float(np.var(logs, ddof=1)) / max(explained, NO_NOISE**2)
    return float(fdtrc(len(logs) - 1, freedom.sum(), ratio)) < _SURELY_MORE


def _beyond(rest: np.ndarray) -> float:
    """The least distance from a level that the history, by the greatest it has shown, does not explain."""
    return float(max(1.0, (FALSE_ALARMS * (len(rest) + 1)) ** (-1 / _TAIL)) * rest.max())


def _told(
    at: int, level: Sequence[int], shift: float, half: float, after: Sequence[float], enough: float
) -> Departure:
    """A departure with what the points after it say; `enough` of it in their median confirms it."""
    stayed = float(np.median(after)) * np.sign(shift) if after else 0.0
    state: State = "unconfirmed"
    if after and stayed < abs(shift) / 2:
        state = "withdrawn"
    elif after and stayed > enough:
        state = "confirmed"
    interval = float(np.exp(shift - half)), float(np.exp(shift + half))
    return Departure(at, level, float(np.exp(shift)), interval, state)


def _residuals(logs: np.ndarray, names: np.ndarray) -> np.ndarray:
    """What is left of the points of a level without the median of each group."""
    rest = logs.copy()
    for name in np.unique(names):
        rest[names == name] -= np.median(logs[names == name])
    return rest
