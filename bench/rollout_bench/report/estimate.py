"""A value with its 99 % interval, as asv computes it, and what is known of it that a reader must know. Pure.

A ratio's bounds are those of the two intervals at their farthest from each other, which errs on the side
of caution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A median and the bounds of its 99 % interval, which are not finite where there is one sample."""

    middle: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Whether there were enough samples for an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def estimate(samples: Sequence[float]) -> Estimate:
    """Median and 99 % interval: asv's, from order statistics or, for few samples, a posterior."""
    from asv_runner.statistics import compute_stats

    middle, stats = compute_stats(list(samples), 1)
    return Estimate(middle, stats["ci_99_a"], stats["ci_99_b"])


def ratio(value: Estimate, reference: Estimate) -> Estimate:
    """One value over another."""
    return Estimate(value.middle / reference.middle, value.low / reference.high, value.high / reference.low)
