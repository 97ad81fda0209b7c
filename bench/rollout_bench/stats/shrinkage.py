"""How much replicates vary, told from few of them: variances shrunken towards what others show. Pure.

Four replicates say little of their own variance. So it is taken for a draw from a distribution whose middle
and width come from the variances of all cases of a gate and of gates before it, and the case's own is drawn
towards the middle, the more the narrower that is (Smyth 2004, doi:10.2202/1544-6115.1027; squeezeVar in
limma). It then has the degrees of freedom of both. What is not as there:

- Cases that share engine starts have errors in common, and variances that look alike for that alone. The
  width is estimated as if all variances of the same starts were one, and no case gets more degrees of freedom
  than all starts together have.
- A host that is busier today than it ever was makes history too quiet. Where the replicates of a gate, or of
  one path in it, vary beyond what history allows (an F test), only what was measured today counts for them.
- No variance is below what the case's own history typically shows, shrunken like the others. (Not its mean:
  one wild day would blind the gates after it, and in simulation no gate is less often wrong for that.)

Arrays have cases, or variances of history, along the last axis; axes before it are gates, judged apart.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, fdtri, polygamma

_NO_NOISE = 1e-6  # the standard deviation of a metric that repeats exactly
_AS_EVER = 0.9  # of gates as noisy as their history are taken for such
_ENDLESS = 1e9  # degrees of freedom, where all variances are alike


@dataclass(frozen=True)
class Variances:
    """Variances of replicates of cases, shape (..., n), and what they rest on, shapes (n,)."""

    values: np.ndarray
    freedom: np.ndarray
    starts: np.ndarray
    """Numbers: those with the same one rest on the same engine starts."""

    def mean(self, of: np.ndarray) -> np.ndarray:
        """The mean of those that `of` marks, each with its degrees of freedom as its weight."""
        mean: np.ndarray = (self.values[..., of] * self.freedom[of]).sum(-1) / self.freedom[of].sum()
        return mean

    def typical(self, of: np.ndarray) -> np.ndarray:
        """The middle of those that `of` marks, on a scale of logarithms: one wild one hardly moves it."""
        logs, weight = self.logs()
        typical: np.ndarray = np.exp((logs[..., of] * weight[of]).sum(-1) / weight[of].sum())
        return typical

    def logs(self) -> tuple[np.ndarray, np.ndarray]:
        """Estimates of the logarithm of each true variance, without bias, and how much each is worth."""
        half = self.freedom / 2
        return np.log(self.values) - digamma(half) + np.log(half), 1 / polygamma(1, half)

    def independent(self, of: np.ndarray) -> float:
        """Degrees of freedom of all starts together, of those that `of` marks."""
        return float(sum(self.freedom[of & (self.starts == one)].max() for one in np.unique(self.starts[of])))


def shrunken(own: Variances, history: Variances, case_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The variance of each case and its degrees of freedom, shapes (..., C).

    `own` are the gate's, of C cases with one degree of freedom or more. `case_of` says of which case each of
    `history` is; its engine starts are others than the gate's, whatever their numbers.
    """
    own, history = (
        Variances(np.maximum(one.values, _NO_NOISE**2), one.freedom, one.starts) for one in (own, history)
    )
    today = _squeezed(own, own, *_distribution(own))
    if not len(case_of):
        return today
    both = Variances(
        np.concatenate([own.values, history.values], axis=-1),
        np.concatenate([own.freedom, history.freedom]),
        np.concatenate([own.starts, history.starts + own.starts.max() + 1]),
    )
    middle, width = _distribution(both)
    busier = _busier(own, history, case_of)
    ever = _squeezed(own, both, middle, width)
    variance, freedom = (np.where(busier, *pair) for pair in zip(today, ever, strict=True))
    for case in np.unique(case_of):
        mine = case_of == case
        shown = _towards(middle, width, history.typical(mine), history.freedom[mine].sum())
        variance[..., case] = np.maximum(variance[..., case], shown)
    return variance, freedom


def _squeezed(
    own: Variances, given: Variances, middle: np.ndarray, width: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    middle, width = middle[..., None], width[..., None]
    most = given.independent(np.ones(len(given.starts), bool))
    return _towards(middle, width, own.values, own.freedom), np.minimum(width + own.freedom, most)


def _towards(middle: np.ndarray, width: np.ndarray, variance: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """A variance that is drawn towards the middle of a distribution with `width` degrees of freedom."""
    drawn: np.ndarray = (width * middle + freedom * variance) / (width + freedom)
    return drawn


def _distribution(given: Variances) -> tuple[np.ndarray, np.ndarray]:
    """Middle and degrees of freedom of the scaled inverse chi-square distribution that variances come from.

    By the moments of their logarithms, each weighted by how well it is known.
    """
    logs, worth = given.logs()
    weight, chance = worth / worth.sum(), 1 / worth
    middle = (weight * logs).sum(-1)
    found = (weight * (logs - middle[..., None]) ** 2).sum(-1)
    _names, at = np.unique(given.starts, return_inverse=True)
    of_starts = np.bincount(at, weight)
    apart = 1 - (of_starts**2).sum()
    if apart < _NO_NOISE:  # of the same starts all
        return np.exp(middle), np.zeros_like(middle)
    by_chance = (weight * chance).sum() - (of_starts * np.bincount(at, weight * chance)).sum()
    beyond = (found - by_chance) / apart
    freedom = 2 * _inverse_trigamma(np.maximum(beyond, 1 / _ENDLESS))
    wide = np.exp(middle + digamma(freedom / 2) - np.log(freedom / 2))
    return np.where(beyond > 0, wide, given.mean(np.ones(len(at), bool))), freedom


def _busier(own: Variances, history: Variances, case_of: np.ndarray) -> np.ndarray:
    """Where the cases of the same starts, or of the whole gate, vary more than history allows."""
    cases = np.arange(len(own.starts))
    busier: np.ndarray = np.zeros(own.values.shape, bool)
    for group in (cases, *(cases[own.starts == one] for one in np.unique(own.starts))):
        known = np.intersect1d(group, case_of)
        if len(known):
            times = [own.values[..., case] / history.mean(case_of == case) for case in known]
            today, ever = own.independent(np.isin(cases, known)), history.independent(np.isin(case_of, known))
            busier[..., group] |= (np.mean(times, axis=0) > fdtri(today, ever, _AS_EVER))[..., None]
    return busier


def _inverse_trigamma(values: np.ndarray) -> np.ndarray:
    """By Newton's method on 1 / trigamma, which is nearly straight (Smyth 2004, appendix)."""
    found = 0.5 + 1 / values
    for _ in range(8):
        there = polygamma(1, found)
        found = found + there * (1 - there / values) / polygamma(2, found)
    return found
