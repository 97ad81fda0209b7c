"""The cases of one of asv's setup_cache: measured, or absent with the reason where they are not tracked here.

benchmarks/rollout.py says which; the track_ methods there look the records up.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..schema.record import ABSENT, Record
from . import asv_records, machine
from .labels import LABELS
from .sequence import measure_cases
from .tracked import TRACKED, Tracked

METHOD = 1
"""Raised when the way of measuring changes, so that asv does not compare before and after."""

Cache = dict[str, list[Record]]
"""Records by path, in the order of the workloads."""


@dataclass(frozen=True)
class Engines:
    """One engine start of each path, and the workloads that are measured with it."""

    tracked: Tracked
    paths: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of `measure_cases`."""

    def version(self, workloads: slice, *more: str) -> str:
        """The version of a benchmark of some of the workloads: it changes with METHOD and `more`, too."""
        fingerprints = [workload.fingerprint() for workload in self.tracked.workloads[workloads]]
        return "-".join([str(METHOD), *fingerprints, *more])

    def measure(self) -> Cache:
        """Records of every path, and a file of them for the commit."""
        provenance = {"commit": asv_records.commit(), "command": "asv run"}
        try:
            on_gpu = bool(machine.gpus())
        except machine.GpusUnknown as error:
            records = self._absent(self.paths, str(error), provenance)
        else:
            if on_gpu == (self.tracked.preset == TRACKED[False]):
                reason = f"{self.tracked.preset} is tracked {'without' if on_gpu else 'with'} a GPU"
                records = self._absent(self.paths, reason, provenance)
            else:
                records = self._measure(on_gpu, provenance)
        return {path: [record for record in records if record.path == path] for path in self.paths}

    def _measure(self, on_gpu: bool, provenance: dict[str, Any]) -> list[Record]:
        target = asv_records.records_file(self.tracked.preset + self.tracked.part)
        # Without a GPU there is nothing to overlap with, and a history of baselines would cost minutes.
        left_out = [path for path in self.paths if LABELS[path].baseline and not on_gpu]
        records = measure_cases(
            self.tracked.preset,
            [path for path in self.paths if path not in left_out],
            self.tracked.workloads,
            self.tracked.tensor_parallel_size,
            provenance=provenance,
            say=asv_records.say,
            keep=None if target is None else asv_records.unfinished(target),
            **self.options,
        )
        records += self._absent(left_out, "baselines are tracked on a GPU", provenance)
        if target is not None:
            asv_records.save(records, target)
        return records

    def _absent(self, paths: Iterable[str], reason: str, provenance: dict[str, Any]) -> list[Record]:
        return [
            Record(
                path,
                self.tracked.preset,
                self.tracked.tensor_parallel_size,
                load.as_dict(),
                ABSENT,
                reason,
                provenance=provenance,
            )
            for path in paths
            for load in self.tracked.workloads
        ]
