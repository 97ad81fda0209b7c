"""The sessions of a gate: what base and head of a case gave in each, and what is left out. Pure.

A replicate is one session: a fresh engine start of the base and one of the head, whose rollouts were
interleaved. Sample i of both is of round i, so that what the host did meanwhile falls out of their ratio. A
record that failed, or that lacks a metric, takes its own replicate out and no other.
"""

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

from ..schema.metrics import metric as metric_facts
from ..schema.record import ABSENT, FAILED, MEASURED, Record
from ..stats.rounds import hodges_lehmann

BASE, HEAD = "base", "head"
BUILDS = (BASE, HEAD)

Samples = dict[int, list[float]]
"""The samples of each engine start by the number of its replicate."""

Values = tuple[float, ...]


class Case(NamedTuple):
    """What is compared: a path at a workload."""

    path: str
    preset: str
    tensor_parallel_size: int
    workload: str
    batch: int


class Replicates:
    """The record of every engine start, by case, build and the number of its replicate."""

    def __init__(self, paths: Sequence[str], at_once: int = 1):
        self._paths = paths
        self._at_once = at_once
        self._starts: dict[Case, dict[str, dict[int, Record]]] = {}

    def add(self, replicate: int, records: Sequence[Record]) -> None:
        """Take the records of a session, of both builds."""
        for record in records:
            load = record.workload
            case = Case(record.way, record.preset, record.tensor_parallel_size, load["name"], load["batch"])
            starts = self._starts.setdefault(case, {name: {} for name in BUILDS})
            starts[record.provenance["side"]][replicate] = record

    def cases(self) -> list[Case]:
        """Every case seen, in the order of the paths asked for."""
        return sorted(self._starts, key=lambda case: (self._paths.index(case.path), *case[1:]))

    def goes_on(self, case: Case) -> bool:
        """Whether another start may give something: no build lacks the case, or failed twice in a row, and
        in all sessions that were up at once."""
        last = max(2, self._at_once)
        ends = ([one.status for one in starts.values()][-last:] for starts in self._starts[case].values())
        return not any(ABSENT in end or end == [FAILED] * last for end in ends)

    def dropped(self, case: Case) -> tuple[str, str] | None:
        """For a case that a build has no measured start of: absent or failed, and why."""
        for build, starts in self._starts[case].items():
            if not any(one.status == MEASURED for one in starts.values()):
                last = next(reversed(starts.values()))
                return last.status, f"{build}: {last.reason}"
        return None

    def samples(self, build: str, case: Case, metric: str) -> Samples:
        """Samples of a metric, which JSON as Python writes it may give as NaN: that is none."""
        return {
            number: samples
            for number, one in self._starts[case][build].items()
            if (samples := list(filter(math.isfinite, one.metrics.get(metric, ()))))
        }

    def rounds(self, case: Case, metrics: Sequence[str]) -> dict[int, list[tuple[Values, Values]]]:
        """By replicate the metrics' values in each round, of base and head, where all of them are numbers."""
        return self._rounds(case, lambda record: [record.metrics.get(metric, ()) for metric in metrics])

    def _rounds(
        self, case: Case, samples: Callable[[Record], Sequence[Sequence[float]]]
    ) -> dict[int, list[tuple[Values, Values]]]:
        base, head = (self._starts[case][build] for build in BUILDS)
        found = {}
        for number in sorted(base.keys() & head.keys()):
            both = (zip(*samples(one[number]), strict=False) for one in (base, head))
            rounds = [pair for pair in zip(*both, strict=False) if all(map(math.isfinite, chain(*pair)))]
            if rounds:
                found[number] = rounds
        return found

    def logs(self, case: Case, metric: str) -> dict[int, float]:
        """By replicate the Hodges-Lehmann estimate of log(head / base); infinite where but one is zero."""
        return {
            number: hodges_lehmann([_log_ratio(base, head) for (base,), (head,) in rounds])
            for number, rounds in self._rounds(case, lambda record: [record.comparable(metric)]).items()
        }

    def left_out(self, case: Case, metric: str) -> str | None:
        """How many replicates lack a metric, and why the first of them does; None where all have it."""
        lost: dict[int, str] = {}
        for build in BUILDS:
            have = self.samples(build, case, metric)
            missing = self._starts[case][build].keys() - have
            lost = {
                number: f"{build}: {self.why_missing(build, case, metric, number)}" for number in missing
            } | lost
        if not lost:
            return None
        begun = len(set().union(*self._starts[case].values()))
        return f"{len(lost)} of {begun} sessions left out: {lost[min(lost)]}"

    def why_missing(self, build: str, case: Case, metric: str, replicate: int | None = None) -> str | None:
        """Why a start of a build, or any of them, lacks a metric, where its record says so."""
        starts = self._starts[case][build]
        for one in starts.values() if replicate is None else [starts[replicate]]:
            if one.status != MEASURED:
                return one.reason
            if metric_facts(metric).exact and (why := one.observed.get("absent", {}).get("wire")):
                return str(why)
        return None if replicate is None else f"it gave no {metric}"


def _log_ratio(base: float, head: float) -> float:
    if base == head:
        return 0.0
    if min(base, head) <= 0:
        return math.copysign(math.inf, head - base)
    return math.log(head / base)
