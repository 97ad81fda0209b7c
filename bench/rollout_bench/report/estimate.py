"""A value with its 99 % interval, as asv computes it, and the warnings that go wherever it is shown. Pure.

Times and ratios stay above zero: the interval is that of their logarithms. A ratio's bounds are those of the
two intervals at their farthest from each other, which errs on the side of caution.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from asv_runner.statistics import compute_stats

from ..history.control import link_error
from ..schema.metrics import CONTROL_RATIO
from ..schema.metrics import metric as metric_facts
from ..schema.record import Record
from ..stats.medians import medians
from ..stats.ratios import LEAST_REPLICATES

_99 = 2.576
"""Standard errors that half of a 99 % interval is."""

_MANY = 8
"""Rows of samples from which on all at once take less time than one by one."""

LEAST_SAMPLES = 4
"""With fewer samples a value has no interval."""

ONE_REPLICATE, FEW_REPLICATES = "one-replicate", "few-replicates"
NOT_GATED, FEW_SAMPLES, BUSY_HOST = "not-gated", "few-samples", "busy-host"
OF_COMMIT, OVER_CONTROL = "of-commit", "over-control"
WARNINGS = {
    ONE_REPLICATE: "one engine start only: an interval shows how rollouts differ, not how engine starts do, "
    "so a ratio has none",
    FEW_REPLICATES: "two or three replicates: so few engine starts may all be in one mode, which the "
    f"interval does not show; a firm answer takes {LEAST_REPLICATES}",
    NOT_GATED: "counted without a gated start, so not exact: it depends on when requests arrived",
    OF_COMMIT: "measured at another commit, whose system under test is the same byte for byte",
    OVER_CONTROL: "measured in other sessions than the reference, for lack of room: each is taken over the "
    "control of its own",
    FEW_SAMPLES: f"two or three samples: an interval takes {LEAST_SAMPLES}",
    BUSY_HOST: "a busy host: others used its cores or GPU in some of the rounds, and repeating those gave "
    "too few quiet ones",
}
"""What a reader must know of a value, by the word that stands for it in data."""


@dataclass(frozen=True)
class Estimate:
    """A median and the bounds of its 99 % interval, which are not finite where it has none."""

    middle: float
    low: float
    high: float
    warnings: tuple[str, ...] = ()
    """Of WARNINGS."""
    replicates: int = 1
    """How many it is of."""

    @property
    def has_interval(self) -> bool:
        """Whether there were enough samples for an interval; what is counted exactly has none."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def estimate(samples: Sequence[float], warnings: Sequence[str] = ()) -> Estimate:
    """Median and 99 % interval: asv's, from order statistics or, for few samples, a posterior.

    It is of the logarithms, unless a sample is zero, as a count or a share may be.
    """
    middle = median(samples)
    if len(samples) < LEAST_SAMPLES:
        few = [FEW_SAMPLES] if len(samples) > 1 else []
        return Estimate(middle, -math.inf, math.inf, (*warnings, *few))
    positive = min(samples) > 0
    _middle, stats = compute_stats([math.log(one) for one in samples] if positive else list(samples), 1)
    low, high = stats["ci_99_a"], stats["ci_99_b"]
    low, high = (_exp(low), _exp(high)) if positive else (max(low, 0.0), high)
    return Estimate(middle, low, high, tuple(warnings))


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))


def estimates(rows: Sequence[Sequence[float]]) -> list[Estimate]:
    """`estimate` of each row of samples; of many at once, since a long history has millions of them."""
    if len(rows) < _MANY:
        return [estimate(row) for row in rows]
    found = [Estimate(math.nan, -math.inf, math.inf)] * len(rows)
    by_count: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        by_count.setdefault(len(row), []).append(number)
    for count, numbers in by_count.items():
        samples = np.array([rows[number] for number in numbers], float)
        middle = np.median(samples, axis=1)
        low, high = np.full(len(middle), -np.inf), np.full(len(middle), np.inf)
        if count >= LEAST_SAMPLES:
            positive = samples.min(1) > 0
            bounds = medians(np.log(samples[positive]))[1:]
            low[positive], high[positive] = np.exp(np.minimum(bounds, 700.0))
            _middle, low[~positive], high[~positive] = medians(samples[~positive])
            low = np.maximum(low, 0)
        few = (FEW_SAMPLES,) * (1 < count < LEAST_SAMPLES)
        for number, *row in zip(numbers, middle.tolist(), low.tolist(), high.tolist(), strict=True):
            found[number] = Estimate(row[0], row[1], row[2], few)
    return found


def estimate_of(record: Record, metric: str) -> Estimate | None:
    """A record's value of a metric with its warnings; None where it has none.

    JSON as Python writes it may hold NaN and Infinity: they are no samples.
    """
    samples = record.samples(metric)
    return _of(record, metric, estimate(samples)) if samples else None


def estimates_of(records: Sequence[Record], metric: str) -> list[Estimate | None]:
    """`estimate_of` each record, all at once."""
    rows = [record.samples(metric) for record in records]
    found = iter(estimates([row for row in rows if row]))
    return [
        _of(record, metric, next(found)) if row else None for record, row in zip(records, rows, strict=True)
    ]


def _of(record: Record, metric: str, value: Estimate) -> Estimate:
    """The value with what the record says of it."""
    starts, said = engine_starts(record), tuple(_warnings(record, metric))
    if _is_counted(record, metric):
        return Estimate(value.middle, -math.inf, math.inf, said, starts)
    found = Estimate(value.middle, value.low, value.high, said + value.warnings, starts)
    if metric != CONTROL_RATIO or not (error := link_error(record)) or not found.has_interval:
        return found
    low, high = (math.hypot(math.log(found.middle / bound), _99 * error) for bound in (found.low, found.high))
    return replace(found, low=found.middle * math.exp(-low), high=found.middle * math.exp(high))


def engine_starts(record: Record) -> int:
    """How many engine starts a record is of."""
    return int(record.observed.get("engine_starts") or 1)


def spoilt_rounds(record: Record) -> int:
    """In how many of the rounds that count others spoilt what was measured."""
    return int((record.observed.get("host") or {}).get("spoilt") or 0)


def _is_counted(record: Record, metric: str) -> bool:
    """Whether the value is the same integer at every start."""
    return metric_facts(metric).exact and metric in (record.observed.get("counted") or {})


def _warnings(record: Record, metric: str) -> list[str]:
    found = [OF_COMMIT] if record.provenance.get("of_commit") else []
    if _is_counted(record, metric):
        return found
    found += [NOT_GATED] if metric_facts(metric).exact else []
    found += [ONE_REPLICATE] * (engine_starts(record) == 1)
    return found + [BUSY_HOST] * (spoilt_rounds(record) > 0)


def ratio(value: Estimate, reference: Estimate) -> Estimate | None:
    """One value over another, with the warnings of both; None where the reference is zero.

    There is no interval where one of them has none, or the reference's reaches zero.
    """
    if not reference.middle:
        return None
    low, high = -math.inf, math.inf
    if value.has_interval and reference.has_interval and reference.low > 0:
        low, high = value.low / reference.high, value.high / reference.low
    warnings = tuple(dict.fromkeys(value.warnings + reference.warnings))
    return Estimate(value.middle / reference.middle, low, high, warnings)
