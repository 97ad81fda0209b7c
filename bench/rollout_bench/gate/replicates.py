"""The engine starts of a gate in pairs of a base and a head, and what is left out of them. Pure.

A pair is two neighbours in time. A start that failed, or that lacks a metric, takes its own pair out and no
other: the partner of every start is settled before it is measured.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..schema.metrics import metric as metric_facts
from ..schema.record import ABSENT, FAILED, MEASURED, Record

BASE, HEAD = "base", "head"
BUILDS = (BASE, HEAD)

Samples = dict[int, list[float]]
"""The samples of each start by the number of its pair."""


class Case(NamedTuple):
    """What is compared: a path at a workload."""

    path: str
    preset: str
    tensor_parallel_size: int
    workload: str
    batch: int


class Replicates:
    """The record of every engine start, by case, build and pair."""

    def __init__(self, paths: Sequence[str]):
        self._paths = paths
        self._starts: dict[Case, dict[str, dict[int, Record]]] = {}

    def add(self, build: str, pair: int, records: Sequence[Record]) -> None:
        """Take the records of one start of each path."""
        for record in records:
            load = record.workload
            case = Case(record.path, record.preset, record.tensor_parallel_size, load["name"], load["batch"])
            self._starts.setdefault(case, {name: {} for name in BUILDS})[build][pair] = record

    def cases(self) -> list[Case]:
        """Every case seen, in the order of the paths asked for."""
        return sorted(self._starts, key=lambda case: (self._paths.index(case.path), *case[1:]))

    def goes_on(self, case: Case) -> bool:
        """Whether another start may give something: no build lacks the case, or failed twice in a row."""
        ends = ([one.status for one in starts.values()][-2:] for starts in self._starts[case].values())
        return not any(ABSENT in end or end == [FAILED, FAILED] for end in ends)

    def dropped(self, case: Case) -> tuple[str, str] | None:
        """For a case that a build has no measured start of: absent or failed, and why."""
        for build, starts in self._starts[case].items():
            if not any(one.status == MEASURED for one in starts.values()):
                last = next(reversed(starts.values()), None)
                if last is None:
                    return FAILED, f"{build}: the budget ended before its first start"
                return last.status, f"{build}: {last.reason}"
        return None

    def pairs(self, case: Case) -> int:
        """How many pairs of measured starts there are of a case."""
        base, head = (
            {pair for pair, one in starts.items() if one.status == MEASURED}
            for starts in self._starts[case].values()
        )
        return len(base & head)

    def samples(self, build: str, case: Case, metric: str) -> Samples:
        """Samples of a metric, which JSON as Python writes it may give as NaN: that is none."""
        found = {
            pair: [sample for sample in one.metrics.get(metric, ()) if math.isfinite(sample)]
            for pair, one in self._starts[case][build].items()
        }
        return {pair: samples for pair, samples in found.items() if samples}

    def left_out(self, case: Case, metric: str) -> str | None:
        """How many pairs lack a metric, and why the first of them does; None where all have it."""
        lost: dict[int, str] = {}
        for build in BUILDS:
            have = self.samples(build, case, metric)
            missing = self._starts[case][build].keys() - have
            lost |= {pair: f"{build}: {self.why_missing(build, case, metric, pair)}" for pair in missing}
        if not lost:
            return None
        begun = len(set().union(*self._starts[case].values()))
        return f"{len(lost)} of {begun} pairs left out: {lost[min(lost)]}"

    def why_missing(self, build: str, case: Case, metric: str, pair: int | None = None) -> str | None:
        """Why a start of a build, or any of them, lacks a metric, where its record says so."""
        starts = self._starts[case][build]
        for one in starts.values() if pair is None else [starts[pair]]:
            if one.status != MEASURED:
                return one.reason
            if metric_facts(metric).exact and (why := one.observed.get("absent", {}).get("wire")):
                return str(why)
        return None if pair is None else f"it gave no {metric}"
