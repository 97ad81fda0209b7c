"""The likelihood-ratio scan: is a change of level better believed than autocorrelated noise alone?

Noise is a stationary AR(1) process, x[t] = phi x[t-1] + e[t]. A slow wander looks like a step, so phi
is fitted anew under each hypothesis, by exact likelihood: what wandering explains is no step. Two kinds
of change are scanned for: a step (a new level up to the end) and a bump (a new level and back again).

The gain's distribution without a change depends on phi; `p_value` takes the phi that makes large gains
likeliest. So no estimate of phi can raise the false alarms.

Shapes: S series of n points, K places of a change.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

Kind = Literal["step", "bump"]

LEAST_LEVEL = 3
"""Points that make a level: two may be two outliers."""
PHIS = tuple(round(0.1 * tenth, 1) for tenth in range(-3, 10))
"""Autocorrelations that are tried. A series that wanders more than 0.9 says nothing about its level."""
NULL: dict[Kind, dict[int, float]] = {
    "step": {8: 13.2, 12: 14.0, 64: 14.1},
    "bump": {9: 7.6, 10: 10.0, 12: 12.6, 16: 15.0, 24: 16.6, 32: 17.5, 48: 18.7, 64: 19.4},
}
"""Gain that 5 % of series of n points without a change exceed, at the worst phi from 0 to 0.9."""
NULL_SCALE = 2.8
"""Beyond it the gain falls off exponentially: this much for each factor of e."""


@dataclass(frozen=True)
class Scan:
    """The best place in each series; arrays of shape (S,)."""

    gain: np.ndarray
    """Twice the log of the likelihood ratio."""
    start: np.ndarray
    """First point of the new level."""
    end: np.ndarray
    """First point after it; n for a step."""
    phi: np.ndarray
    """Autocorrelation beside the change."""


def scan(series: np.ndarray, kind: Kind, levels: np.ndarray | None = None, floor: float = 0.0) -> Scan:
    """Where a change of level explains most, in each of `series`, shape (S, n).

    `levels` has a column of ones and zeros for each group of points with a level of its own, shape
    (n, groups). `floor` is the least standard deviation that noise can have.
    """
    count, n = series.shape
    starts, ends = places(kind, n)
    least = n * max(floor, 1e-12) ** 2
    rows = np.arange(count)
    without = np.full(count, -np.inf)
    best, place, phi_there = without.copy(), np.zeros(count, int), np.zeros(count)
    for phi in PHIS:
        basis, lengths = _geometry(kind, n, phi) if levels is None else _geometry_of(levels, kind, phi)
        white = whitened(series, phi)
        white -= (white @ basis) @ basis.T
        explained = _products(white, starts, ends, phi) ** 2 / lengths
        at = explained.argmax(1)
        total = (white**2).sum(1)
        rest = total - explained[rows, at]
        constant = np.log(1 - phi**2) - n * np.log(np.maximum([total, rest], least))
        without = np.maximum(without, constant[0])
        better = constant[1] > best
        best[better], place[better], phi_there[better] = constant[1][better], at[better], phi
    return Scan(best - without, starts[place], ends[place], phi_there)


def p_value(gain: float, n: int, kind: Kind) -> float:
    """Share of series of n points without a change whose gain is at least this, at the worst phi."""
    sizes = NULL[kind]
    limit = float(np.interp(np.log(n), np.log(list(sizes)), list(sizes.values())))
    return min(1.0, 0.05 * float(np.exp((limit - gain) / NULL_SCALE)))


def whitened(series: np.ndarray, phi: float) -> np.ndarray:
    """Series, shape (S, n), whose noise is white where that of `series` is AR(1) with this phi."""
    white = np.empty(series.shape)
    white[:, 1:] = series[:, 1:] - phi * series[:, :-1]
    white[:, 0] = series[:, 0] * np.sqrt(1 - phi**2)
    return white


@lru_cache(maxsize=256)
def places(kind: Kind, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of the changes that n points can show, shapes (K,)."""
    starts = np.arange(LEAST_LEVEL, n - LEAST_LEVEL + 1)
    if kind == "step":
        return starts, np.full(len(starts), n)
    first, last = (grid.ravel() for grid in np.meshgrid(starts, starts, indexing="ij"))
    fitting = last - first >= LEAST_LEVEL
    return first[fitting], last[fitting]


@lru_cache(maxsize=4096)
def _geometry(kind: Kind, n: int, phi: float) -> tuple[np.ndarray, np.ndarray]:
    return _geometry_of(np.ones((n, 1)), kind, phi)


def _geometry_of(levels: np.ndarray, kind: Kind, phi: float) -> tuple[np.ndarray, np.ndarray]:
    """An orthonormal basis of the whitened levels, and the squared length of each change beside them."""
    n = len(levels)
    starts, ends = places(kind, n)
    basis = np.linalg.qr(whitened(levels.T, phi).T)[0]
    lengths = 1 + (ends - starts - 1) * (1 - phi) ** 2 + np.where(ends < n, phi**2, 0.0)
    lengths = lengths - (_products(basis.T, starts, ends, phi) ** 2).sum(0)
    lengths[lengths < 1e-9] = np.inf  # the levels of the groups are such a change themselves
    return basis, lengths


def _products(white: np.ndarray, starts: np.ndarray, ends: np.ndarray, phi: float) -> np.ndarray:
    """Products of each whitened row with each whitened change of level, shape (S, K)."""
    n = white.shape[1]
    sums = np.zeros((len(white), n + 1))
    np.cumsum(white, axis=1, out=sums[:, 1:])
    # 1 where it starts, 1 - phi up to its end, and -phi one point later
    entry = white - (1 - phi) * sums[:, 1:]
    leaving = (1 - phi) * sums
    leaving[:, :n] -= phi * white
    return entry[:, starts] + leaving[:, ends]
