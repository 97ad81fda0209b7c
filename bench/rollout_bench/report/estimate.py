"""A value with its 99 % interval, as asv computes it, and the warnings that go wherever it is shown. Pure.

A ratio's bounds are those of the two intervals at their farthest from each other, which errs on the side
of caution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from asv_runner.statistics import compute_stats

from ..schema.metrics import metric as metric_facts
from ..schema.record import Record

ONE_REPLICATE, NOT_GATED = "one-replicate", "not-gated"
WARNINGS = {
    ONE_REPLICATE: "one engine start only: intervals hold what differs from rollout to rollout, "
    "not from start to start",
    NOT_GATED: "counted without a gated start, so no exact count: it differs with when requests arrived",
}
"""What a reader must know of a value, by the word that stands for it in data."""


@dataclass(frozen=True)
class Estimate:
    """A median and the bounds of its 99 % interval, which are not finite where there is one sample."""

    middle: float
    low: float
    high: float
    warnings: tuple[str, ...] = ()
    """Of WARNINGS."""

    @property
    def has_interval(self) -> bool:
        """Whether there were enough samples for an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def estimate(samples: Sequence[float], warnings: Sequence[str] = ()) -> Estimate:
    """Median and 99 % interval: asv's, from order statistics or, for few samples, a posterior."""
    middle, stats = compute_stats(list(samples), 1)
    return Estimate(middle, stats["ci_99_a"], stats["ci_99_b"], tuple(warnings))


def estimate_of(record: Record, metric: str) -> Estimate | None:
    """A record's value of a metric with its warnings; None where it has none.

    JSON as Python writes it may hold NaN and Infinity: they are no samples.
    """
    samples = [sample for sample in record.metrics.get(metric, ()) if math.isfinite(sample)]
    return estimate(samples, _warnings(record, metric)) if samples else None


def engine_starts(record: Record) -> int:
    """How many engine starts a record is of."""
    return int(record.observed.get("engine_starts", 1))


def _warnings(record: Record, metric: str) -> list[str]:
    exact = metric_facts(metric).exact
    if exact and metric in (record.observed.get("counted") or {}):
        return []  # the same integer at every start
    found = [NOT_GATED] if exact else []
    return [*found, *[ONE_REPLICATE] * (engine_starts(record) == 1)]


def ratio(value: Estimate, reference: Estimate) -> Estimate:
    """One value over another, with the warnings of both."""
    return Estimate(
        value.middle / reference.middle,
        value.low / reference.high,
        value.high / reference.low,
        tuple(dict.fromkeys(value.warnings + reference.warnings)),
    )
