"""Change points of a series of numbers: where the level changed, by how much, with what confidence.

    for shift in find_shifts([100, 101, 99, ..., 105, 104, 106]): ...

Outliers go first, then a likelihood-ratio scan (`scan`) judges every place at once against noise that
may be autocorrelated. What it finds splits the series, and the parts are judged in turn. Works on
logarithms: only ratios count. Knows numbers only: no commits, no files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import stdtrit

from .orders import order_p_value
from .scan import LEAST_LEVEL, PHIS, Kind, Scan, p_value, scan, whitened

LEAST_POINTS = 8
"""With fewer points nothing is said: noise and level look alike."""
FALSE_ALARMS = 0.01
"""Share of series without a step in which one is found, at the least favourable autocorrelation."""
_BUMPS = 0.2  # of the false alarms; the rest is for steps, which are what most changes are
_WINDOW = 64  # points that are judged at once; the null distribution is known up to here
_AT_ONCE = 16  # windows, of which products still fit a cache
_BY_FAR = 1.001  # windows that are scanned together differ from those that are scanned alone by rounding
_LEVEL = 32  # points that make a level at most: a level may drift, and the step is where it is
_OUTLIER = 8.0  # times the median distance from neighbours: 4 to 5 standard deviations
_NEIGHBOURS = 3
NO_NOISE = 1e-6  # relative; a metric that repeats exactly has this much
_INTERVAL = 0.99
MEDIAN_ERROR = np.sqrt(np.pi / 2)  # of a median over that of a mean, where noise is Gaussian


@dataclass(frozen=True)
class Shift:
    """A change of level."""

    index: int
    """The first point at the new level."""
    before: Sequence[int]
    """Points that make the level before, without outliers."""
    after: Sequence[int]
    """Points that make the level after, without outliers."""
    ratio: float
    """Median after over median before; of a series that mixes groups, as if it did not."""
    interval: tuple[float, float]
    """99 % interval of the ratio."""
    confidence: float
    """1 less the share of step-free series in which noise alone looks as much like this, 0 to 1."""


def find_shifts(
    values: Sequence[float], spreads: Sequence[float] | None = None, groups: Sequence[str] | None = None
) -> list[Shift]:
    """Changes of level in a series, oldest first; none where there are fewer than LEAST_POINTS.

    `spreads` are standard errors of the values, in their unit: noise is never taken for less.
    `groups` name what has a level of its own, such as the machine, for each point.

    Raises:
        ValueError: a value is not positive and finite.
    """
    given = np.asarray(values, float)
    if not np.all(np.isfinite(given) & (given > 0)):
        raise ValueError("values must be positive and finite")
    if len(given) < LEAST_POINTS:
        return []
    logs, names = np.log(given), np.asarray(groups if groups is not None else [""] * len(given))
    floor = NO_NOISE if spreads is None else max(NO_NOISE, float(np.median(np.asarray(spreads) / given)))
    kept = without_outliers(_centred(logs, names), floor)
    series = _Series(logs[kept], _columns(names[kept]), floor, _centred(logs, names), kept)
    cuts = series.cuts()
    edges = [0, *(cut for cut, _confidence in cuts), len(kept)]
    shifts = []
    for place, (cut, confidence) in enumerate(cuts, 1):
        start, end = max(edges[place - 1], cut - _LEVEL), min(edges[place + 1], cut + _LEVEL)
        ratio, low, high = series.ratio(start, cut, end)
        shifts.append(
            Shift(
                int(kept[cut]),
                kept[start:cut].tolist(),
                kept[cut:end].tolist(),
                ratio,
                (low, high),
                confidence,
            )
        )
    return shifts


def without_outliers(logs: np.ndarray, floor: float) -> np.ndarray:
    """Indices of the points that agree with their neighbours before or with those after.

    A level lasts for three points or more: what differs from both sides is no level. Goes on until all
    that are left agree, so that two outliers in a row are found too.
    """
    kept = np.arange(len(logs))
    limit: float | None = None
    while len(kept) > LEAST_POINTS:
        distance = _distances(logs[kept])
        if limit is None:
            limit = _OUTLIER * max(float(np.median(distance)), floor)
        if distance.max() <= limit:
            break
        kept = np.delete(kept, distance.argmax())
    return kept


def _distances(logs: np.ndarray) -> np.ndarray:
    """How far each point is from the median of the nearest on one side, the side that it fits better."""
    before, after = _medians_before(logs), _medians_before(logs[::-1])[::-1]
    distances: np.ndarray = np.fmin(np.abs(logs - before), np.abs(logs - after))
    return distances


def _medians_before(logs: np.ndarray) -> np.ndarray:
    """The median of the nearest points before each, of as many as there are; NaN for the first."""
    medians = np.full(len(logs), np.nan)
    for place in range(1, _NEIGHBOURS):
        medians[place] = np.median(logs[:place])
    medians[_NEIGHBOURS:] = np.median(sliding_window_view(logs[:-1], _NEIGHBOURS), axis=1)
    return medians


def _centred(logs: np.ndarray, names: np.ndarray) -> np.ndarray:
    """The series with the median of each group taken off."""
    centred = logs.copy()
    for name in np.unique(names):
        centred[names == name] -= np.median(logs[names == name])
    return centred


def _columns(names: np.ndarray) -> np.ndarray:
    """A column of ones and zeros for each group, shape (n, groups)."""
    columns: np.ndarray = (names[:, None] == np.unique(names)[None, :]).astype(float)
    return columns


def find_exact_shifts(values: Sequence[float]) -> list[Shift]:
    """The same of values that have no noise: whichever differs from the one before it begins a level."""
    begins = [index for index, (one, after) in enumerate(pairwise(values), 1) if one != after]
    levels = [range(*edges) for edges in pairwise([0, *begins, len(values)])]
    found = []
    for before, after in pairwise(levels):
        ratio = values[after[0]] / values[before[0]]
        found.append(Shift(after[0], before, after, ratio, (ratio, ratio), 1.0))
    return found


@dataclass(frozen=True)
class _Series:
    """A series without outliers, and what is known of its noise."""

    logs: np.ndarray
    columns: np.ndarray
    floor: float
    whole: np.ndarray
    """With its outliers; the median of each group taken off."""
    kept: np.ndarray
    """Where the points without outliers are in it."""

    def cuts(self) -> list[tuple[int, float]]:
        """Where the level changes, and the confidence in it."""
        n = len(self.logs)
        windows = max(1, -(-(n - _WINDOW) // (_WINDOW // 2)) + 1)
        found: dict[int, float] = {}
        start = 0
        while start + LEAST_POINTS <= n:
            start += _WINDOW // 2 * self._quiet(start, FALSE_ALARMS / windows)
            end = min(start + _WINDOW, n)
            new = self._split(start, end, FALSE_ALARMS / windows)
            found |= new
            if end == n:
                break
            start = max([start + _WINDOW // 2, *new])
        return self._placed(found)

    def _quiet(self, start: int, alarms: float) -> int:
        """How many windows from `start` on, half a window apart, hold nothing by far: told of many at once.

        The last window, and series that mix groups, are left to `_split`.
        """
        series = self.logs[start:-1]
        if len(series) < _WINDOW or self.columns.shape[1] > 1:
            return 0
        windows = sliding_window_view(series, _WINDOW)[:: _WINDOW // 2][:_AT_ONCE]
        shares: dict[Kind, float] = {"step": 1 - _BUMPS, "bump": _BUMPS}
        for kind, share in shares.items():
            limit = alarms * share * _BY_FAR
            gains = scan(windows, kind, None, self.floor).gain
            loud = [p_value(gain, _WINDOW, kind) < limit for gain in gains]
            windows = windows[: loud.index(True)] if True in loud else windows
        return len(windows)

    def _split(self, start: int, end: int, alarms: float) -> dict[int, float]:
        """Cuts between two points with the confidence in each, found by splitting again and again."""
        n = end - start
        if n < LEAST_POINTS:
            return {}
        step = self._scan(start, end, "step")
        p = self._p_value(step, start, end, "step", alarms * (1 - _BUMPS)) / (1 - _BUMPS)
        edges = [start + int(step.start[0])]
        if p >= alarms and n >= 3 * LEAST_LEVEL:
            bump = self._scan(start, end, "bump")
            p = self._p_value(bump, start, end, "bump", alarms * _BUMPS) / _BUMPS
            edges = [start + int(bump.start[0]), start + int(bump.end[0])]
        if p >= alarms:
            return {}
        found = dict.fromkeys(edges, 1 - p)
        bounds = [start, *edges, end]
        for left, right in pairwise(bounds):
            found |= self._split(left, right, alarms)
        return found

    def _p_value(self, found: Scan, start: int, end: int, kind: Kind, alarms: float) -> float:
        """The larger of the share of wandering Gaussian series and that of the orders of these values."""
        p = p_value(found.gain[0], end - start, kind)
        if p >= alarms:
            return p
        first = self.kept[start] if start else 0
        last = self.kept[end] if end < len(self.kept) else len(self.whole)
        return max(p, order_p_value(self.whole[first:last], kind))

    def _placed(self, found: dict[int, float]) -> list[tuple[int, float]]:
        """Each cut at its best place between its neighbours; one that these explain is left out."""
        cuts = sorted(found)
        place = 0
        while place < len(cuts):
            start = cuts[place - 1] if place else 0
            end = cuts[place + 1] if place + 1 < len(cuts) else len(self.logs)
            start, end = max(start, cuts[place] - _LEVEL), min(end, cuts[place] + _LEVEL)
            best = start + int(self._scan(start, end, "step").start[0])
            confidence = found[cuts[place]]
            _ratio, low, high = self.ratio(start, best, end)
            if low <= 1 <= high:
                del cuts[place]
                continue
            found[best] = confidence
            cuts[place] = best
            place += 1
        return [(cut, found[cut]) for cut in cuts]

    def _scan(self, start: int, end: int, kind: Kind) -> Scan:
        columns = self.columns[start:end]
        columns = columns[:, columns.any(0)]
        levels = columns if columns.shape[1] > 1 else None
        return scan(self.logs[None, start:end], kind, levels, self.floor)

    def ratio(self, start: int, cut: int, end: int) -> tuple[float, float, float]:
        """Level after over level before, and its interval by generalised least squares."""
        logs, columns = self.logs[start:end], self.columns[start:end]
        columns = columns[:, columns.any(0)]
        phi = self._phi(start, end)
        step = (np.arange(start, end) >= cut).astype(float)
        design = whitened(np.vstack([columns.T, step]), phi).T
        white = whitened(logs[None], phi)[0]
        fit, _rest, rank, _singular = np.linalg.lstsq(design, white, rcond=None)
        freedom = max(1, len(logs) - int(rank) - 1)  # phi is fitted too
        variance = max(float(((white - design @ fit) ** 2).sum()) / freedom, self.floor**2)
        error = MEDIAN_ERROR * float(np.sqrt(variance * np.linalg.pinv(design.T @ design)[-1, -1]))
        level = logs - columns @ fit[:-1]
        shift = float(np.median(level[cut - start :]) - np.median(level[: cut - start]))
        half = float(stdtrit(freedom, 0.5 + _INTERVAL / 2)) * error
        return float(np.exp(shift)), float(np.exp(shift - half)), float(np.exp(shift + half))

    def _phi(self, start: int, end: int) -> float:
        """Autocorrelation beside a step, without the bias of -(2 + 4 phi) / n (Shaman and Stine 1988)."""
        n = end - start
        estimate = float(self._scan(start, end, "step").phi[0])
        return min(max(0.0, (n * estimate + 2) / (n - 4)), PHIS[-1])
