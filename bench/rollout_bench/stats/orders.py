"""A permutation test: would the same values, in any order, look as much like a change of level?

Where noise is not Gaussian (two modes of engine starts, few distinct values, a tail), no table of the
scan's gains holds. What holds without a change, if values do not depend on their neighbours, is that every
order of them is as likely as any other. (Of noise that wanders the scan takes care.)
"""

from math import pi, sqrt

import numpy as np

from .scan import LEAST_LEVEL, Kind, places

ORDERS = 999
_FENCE = 1.5  # times the distance of the quartiles
_SHARE = 0.15
_FEW, _NOTHING = 99, 0.1  # where so few show that it is nothing, no more are asked
_SEED = 0
_EULER = 0.5772


def order_p_value(values: np.ndarray, kind: Kind) -> float:
    """Share of the orders of `values`, outliers among them, whose best change explains more than theirs does.

    Where none of ORDERS does it is below that: by Gumbel's distribution with their mean and deviation.
    """
    for count in (_FEW, ORDERS):
        orders = np.random.default_rng(_SEED).permuted(np.tile(values, (1 + count, 1)), axis=1)
        orders[0] = values
        gains = np.max([_gains(np.clip(orders, *bounds), kind) for bounds in _bounds(values)], axis=0)
        own, others = float(gains[0]), gains[1:]
        share = float(np.mean(others > own + 1e-6))
        if share > _NOTHING:
            return share
    if share:
        return share
    scale = max(float(others.std()), 1e-9) * sqrt(6) / pi
    beyond = (own - float(others.mean())) / scale + _EULER
    return min(1 / ORDERS, -float(np.expm1(-np.exp(-beyond))))


def _bounds(values: np.ndarray) -> list[tuple[float, float]]:
    """Within what values are drawn in, so that outliers do not hide a change: loosely, and closely.

    Loosely, by Tukey's fences and to the third from either end, a level of three points still stands out;
    closely, to what a share of the values lie beyond, outliers are gone beside a level of more points.
    """
    in_order = np.sort(values)
    low, lower, upper, high = np.quantile(values, [_SHARE, 0.25, 0.75, 1 - _SHARE])
    reach = _FENCE * (upper - lower) or np.inf  # where most are the same, any other lies beyond
    third, from_end = in_order[LEAST_LEVEL - 1], in_order[-LEAST_LEVEL]
    return [(max(lower - reach, third), min(upper + reach, from_end)), (low, high)]


def _gains(rows: np.ndarray, kind: Kind) -> np.ndarray:
    """Twice the log of the likelihood ratio of the best change in each row, of white noise."""
    n = rows.shape[1]
    starts, ends = places(kind, n)
    centred = rows - rows.mean(axis=1, keepdims=True)
    sums = np.zeros((len(rows), n + 1))
    np.cumsum(centred, axis=1, out=sums[:, 1:])
    lengths = ends - starts
    explained = ((sums[:, ends] - sums[:, starts]) ** 2 * (n / (lengths * (n - lengths)))).max(axis=1)
    total = np.maximum((centred**2).sum(axis=1), 1e-300)
    gains: np.ndarray = -n * np.log(np.maximum(1 - explained / total, 1e-12))
    return gains
