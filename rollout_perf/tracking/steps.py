"""Steps in a series of numbers: where the level changed, by how much, and how sure that is.

Knows numbers only: no commits, no files.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_POINTS = 8
"""With fewer points nothing is said."""
LEAST_LEVEL = 3
"""Points that make a level: two may be two outliers."""


@dataclass(frozen=True)
class Shift:
    """A change of level."""

    index: int
    """The first point at the new level."""
    before: Sequence[int]
    """Points that make the level before, without outliers."""
    after: Sequence[int]
    ratio: float
    """Median after over median before."""
    interval: tuple[float, float]
    """99 % interval of the ratio."""
    confidence: float
    """1 less the share of step-free series in which noise alone looks like this, 0 to 1."""


def find_shifts(
    values: Sequence[float], spreads: Sequence[float] | None = None, groups: Sequence[str] | None = None
) -> list[Shift]:
    """Changes of level in a series of positive values, oldest first.

    `spreads` are standard errors of the values, in their unit; `groups` name the machine of each.
    """
    logs = np.log(np.asarray(values, float))
    if len(logs) < LEAST_POINTS:
        return []
    return _split(logs, 0, len(logs))


def _split(logs: np.ndarray, start: int, end: int) -> list[Shift]:
    best, cut = 0.0, None
    for at in range(start + LEAST_LEVEL, end - LEAST_LEVEL + 1):
        left, right = logs[start:at], logs[at:end]
        spread = np.sqrt((left.var() * len(left) + right.var() * len(right)) / (end - start - 2)) + 1e-9
        score = abs(right.mean() - left.mean()) / spread / np.sqrt(1 / len(left) + 1 / len(right))
        if score > best:
            best, cut, error = score, at, spread * np.sqrt(1 / len(left) + 1 / len(right))
    if cut is None or best < 6:
        return []
    shift = np.median(logs[cut:end]) - np.median(logs[start:cut])
    found = Shift(
        cut,
        range(start, cut),
        range(cut, end),
        float(np.exp(shift)),
        (float(np.exp(shift - 3 * error)), float(np.exp(shift + 3 * error))),
        1.0,
    )
    return [*_split(logs, start, cut), found, *_split(logs, cut, end)]
