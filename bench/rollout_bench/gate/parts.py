"""What explains a change of the step time: which part of an engine step takes more or less. Pure.

A part's contribution in a round is (head's seconds - base's) / base's step time, over all engine steps of the
rollout; in a replicate the median over rounds. It is judged as the step time is, with its own noise, which is
far less: a host that is busy makes a step wait, and hardly a scheduler compute longer. Parts overlap, and
engine CPU has what scheduler and pipe compute in it, so they do not add up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from statistics import median
from sys import float_info

from ..stats.paired import ERROR
from ..stats.together import Timing, judge_together
from .replicates import Case, Replicates

STEP = "step_seconds"
_ENGINE_STEP = "engine_step_seconds"

_PARTS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "GPU": ((_ENGINE_STEP,), ("gpu_idle_seconds",)),
    "worker": ((_ENGINE_STEP,), ("worker_idle_seconds",)),
    "scheduler": (("stage_schedule_seconds", "stage_update_seconds"), ()),
    "launch": (("stage_launch_seconds",), ()),
    "pipe": (
        ("wire_encode_seconds", "wire_send_seconds", "wire_receive_seconds", "wire_decode_seconds"),
        (),
    ),
    "engine CPU": (("engine_cpu_seconds",), ()),
}
"""The metrics, of an engine step, that a part is the sum of, and those that are taken off."""


@dataclass(frozen=True)
class Part:
    """What a part contributes to the change of a case's step time."""

    name: str
    change: float
    """As a share of the base's step time."""
    interval: tuple[float, float] | None
    verdict: str
    """Whether the contribution lies beyond the threshold of the step time: one of those of `stats.paired`."""


def parts_of(replicates: Replicates, cases: Sequence[Case], threshold: float) -> dict[Case, list[Part]]:
    """The parts of each case, judged together; those of which no replicate says anything are left out."""
    timings = {
        (case, name): Timing(found, case.path, name, threshold)
        for case in cases
        for name in _PARTS
        if (found := _contributions(replicates, case, name))
    }
    for case in cases:
        if (case, "worker") in timings:  # without a GPU launching is computing
            timings.pop((case, "launch"), None)
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
    plus, minus = _PARTS[name]
    signs = [1.0] * len(plus) + [-1.0] * len(minus)
    found = []
    for rounds in replicates.rounds(case, (STEP, _ENGINE_STEP, *plus, *minus)).values():
        shares = []
        for builds in rounds:
            base, head = (
                step / engine_step * sum(sign * one for sign, one in zip(signs, values, strict=True))
                for step, engine_step, *values in builds
            )
            shares.append((head - base) / builds[0][0])
        found.append(median(shares))
    return found
