"""What explains a change of the step time: which part of an engine step takes more or less. Pure.

A part's contribution in a round is (head's seconds - base's) / base's step time, over all engine steps of the
rollout; in a replicate the median over rounds. It is judged as the step time is, with its own noise, which is
far less: a host that is busy makes a step wait, and hardly a scheduler compute longer.
"""

from collections.abc import Sequence
from math import log
from statistics import median
from sys import float_info

from ..history.parts import Part, metrics_of, seconds_of, shown
from ..schema.metrics import PARTS
from ..stats.paired import ERROR
from ..stats.together import Timing, judge_together
from .replicates import Case, Replicates


def parts_of(replicates: Replicates, cases: Sequence[Case], threshold: float) -> dict[Case, list[Part]]:
    """The parts of each case, judged together; those of which no replicate says anything are left out."""
    found = {
        case: {name: logs for name in PARTS if (logs := _contributions(replicates, case, name))}
        for case in cases
    }
    timings = {
        (case, name): Timing(logs[name], case.path, name, threshold)
        for case, logs in found.items()
        for name in shown([*logs])
    }
    parts: dict[Case, list[Part]] = {case: [] for case in cases}
    for (case, name), finding in zip(timings, judge_together([*timings.values()], ERROR), strict=True):
        assert finding.ratio is not None
        low, high = map(_log, finding.interval or (0.0, 0.0))
        interval = (low, high) if finding.interval else None
        parts[case].append(Part(name, _log(finding.ratio), interval, finding.verdict))
    return parts


def _log(ratio: float) -> float:
    """What was judged as the log of a ratio, again; an interval without bounds has finite ones."""
    return log(max(ratio, float_info.min))


def _contributions(replicates: Replicates, case: Case, name: str) -> list[float]:
    """Of each replicate, which are as small as logs of ratios, and are judged as such."""
    return [
        median((seconds_of(name, head) - seconds_of(name, base)) / base[0] for base, head in rounds)
        for rounds in replicates.rounds(case, metrics_of(name)).values()
    ]
