"""What explains a change of a case's level: which part of an engine step takes more or less. Pure.

    parts = parts_of("control_ratio", before, after)  # records of the commits at either level

As in a gate (`gate.parts`), with the control in the place of the base: a part's value is the median over
rounds of (its seconds - the control's) / the control's step time, over all engine steps of the rollout, so
that what the host did meanwhile falls out of it, too. What the control does not count, as vLLM's own path the
pipe, is taken whole. Without a control it is the part's seconds. A part has changed by the difference of the
medians of both levels, and its noise is how much it varies from commit to commit at either, or, where the
level before has few commits, from engine start to engine start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log1p
from statistics import median, variance

import numpy as np

from ..measure.pool import replicates_of
from ..schema.metrics import CONTROL_RATIO, ENGINE_STEP, METRICS, PARTS, STEP
from ..schema.record import Record
from ..stats.change_points import MEDIAN_ERROR, NO_NOISE
from ..stats.paired import BETTER, CANNOT_TELL, ERROR, LEAST_PAIRS, THRESHOLD, WORSE, decide, judge_exact
from ..stats.together import half_interval
from .control import control_of

Values = Sequence[float]
"""Of a round: those of `metrics_of`."""


@dataclass(frozen=True)
class Part:
    """What a part contributes to the change of a case's step time."""

    name: str
    change: float
    """As a share of the step time before."""
    interval: tuple[float, float] | None
    verdict: str
    """Whether the contribution lies beyond the threshold of the step time: one of those of `stats.paired`."""


def metrics_of(name: str) -> list[str]:
    """The metrics that a part is made of."""
    plus, minus = PARTS[name]
    return [STEP, ENGINE_STEP, *plus, *minus]


def seconds_of(name: str, values: Values) -> float:
    """What a part takes of a rollout, over all its engine steps."""
    step, engine_step, *parts = values
    plus = len(PARTS[name][0])
    return step / engine_step * (sum(parts[:plus]) - sum(parts[plus:]))


def shown(names: Sequence[str]) -> list[str]:
    """The parts that say something of their own: without a GPU launching is computing."""
    return [name for name in names if not (name == "launch" and "worker" in names)]


def parts_of(metric: str, before: Sequence[Record], after: Sequence[Record]) -> list[Part]:
    """The parts of a change of the step time, or its ratio to the control, with an error of 5 % together.

    Records that were measured with another control than the last one before are left out.
    """
    if metric == CONTROL_RATIO:
        control = control_of(before[-1])
        before, after = ([one for one in of if control_of(one) == control] for of in (before, after))
    if len(before) < LEAST_PAIRS:  # commits; then how engine starts vary is what is known of its noise
        before, after = (
            [start for one in of for start in replicates_of(one) if start.metrics.get(metric)] or of
            for of in (before, after)
        )
    levels = {name: (_values(name, metric, before), _values(name, metric, after)) for name in PARTS}
    names = shown([name for name, both in levels.items() if all(both)])
    step = median(median(one.metrics[metric]) for one in before)
    return [_part(name, *levels[name], step, ERROR / len(names)) for name in names]


def counts_of(before: Sequence[Record], after: Sequence[Record]) -> dict[str, float]:
    """Ratios of the exact metrics, such as bytes and calls, that are others at every commit after."""
    found = {}
    for name, facts in METRICS.items():
        old, new = ([one.metrics[name] for one in of if one.metrics.get(name)] for of in (before, after))
        if facts.exact and old and new:
            finding = judge_exact(old, new)
            if finding.verdict in (WORSE, BETTER) and finding.ratio is not None:
                found[name] = finding.ratio
    return found


def _values(name: str, metric: str, records: Sequence[Record]) -> list[float]:
    """The part's value at each commit whose record has it."""
    if metric != CONTROL_RATIO:
        found = [_seconds(name, record.metrics) for record in records]
    else:
        starts = [replicates_of(record) or [record] for record in records]
        found = [[one for start in of for one in _over_control(name, start)] for of in starts]
    return [median(rounds) for rounds in found if rounds]


def _over_control(name: str, start: Record) -> list[float]:
    """The part's value in each round of an engine start; none where it has no control."""
    own = _seconds(name, start.metrics)
    metrics: Mapping[str, list[float]] = (start.observed.get("control") or {}).get("metrics") or {}
    steps = metrics.get(STEP, ())
    its = _seconds(name, metrics) or [0.0] * len(own)
    if not len(own) == len(its) == len(steps):
        return []
    return [(one - other) / step for one, other, step in zip(own, its, steps, strict=True)]


def _seconds(name: str, metrics: Mapping[str, Sequence[float]]) -> list[float]:
    """The part's seconds of each round; none where any of its metrics is not there, or no number."""
    rounds = zip(*(metrics.get(one, ()) for one in metrics_of(name)), strict=False)
    found = [seconds_of(name, one) for one in rounds if one[1]]
    return found if all(map(isfinite, found)) else []


def _part(name: str, before: Values, after: Values, step: float, error: float) -> Part:
    change = (median(after) - median(before)) / step
    if len(before) < LEAST_PAIRS:
        return Part(name, change, None, CANNOT_TELL)
    freedom = len(before) + len(after) - 2
    squares = sum(variance(of) * (len(of) - 1) for of in (before, after) if len(of) > 1)
    noise = max(squares / freedom / step**2, NO_NOISE**2) * MEDIAN_ERROR**2
    pairs = 1 / (1 / len(before) + 1 / len(after))
    half = half_interval(np.array(noise), np.array(freedom), pairs, error)
    verdict = str(decide(np.array(change), half, log1p(THRESHOLD)))
    return Part(name, change, (change - float(half), change + float(half)), verdict)
