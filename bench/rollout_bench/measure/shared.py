"""Measurements of a system under test that is the same byte for byte, in the same environment, are as good.

Commits share them: a record that a commit has of another names it, as `of_commit`, and in a series all that
share one are a point. What is measured again is pooled with what is kept.
"""

import hashlib
import importlib.util
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from ..schema.record import ABSENT, MEASURED, Record, measured_at, read_records
from . import machine
from .equal_work import check_equal_work
from .pool import pool
from .sequence import kept_records
from .tracked import Tracked

_OWN = ("rollout-perf", "rollout-bench")


def sut_fingerprint() -> str | None:
    """Twelve hex digits of the installed system under test and the packages beside it; None without one."""
    found = importlib.util.find_spec("rollout_perf")
    if found is None or not found.submodule_search_locations:
        return None
    content = hashlib.sha256()
    folder = Path(found.submodule_search_locations[0])
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix != ".pyc":
            content.update(
                f"{file.relative_to(folder)}\0{file.stat().st_size}\0".encode() + file.read_bytes()
            )
    # What ASV_PYTHONPATH names is seen by the processes that measure, and by asv's own it is not.
    folders = [*sys.path, *filter(None, os.environ.get("ASV_PYTHONPATH", "").split(os.pathsep))]
    packages = {f"{one.name}=={one.version}" for one in distributions(path=folders) if one.name not in _OWN}
    content.update("\n".join(sorted(packages)).encode())
    return content.hexdigest()[:12]


def shared_records(
    target: Path, tracked: Tracked, paths: Collection[str], provenance: Mapping[str, Any]
) -> list[Record]:
    """What other commits' files beside `target` have of these paths, of the same system under test, way of
    measuring and machine: as this commit's, the newest where there are several that have every workload."""
    found: dict[str, list[Record]] = {}
    for file in {*target.parent.glob(f"*-{target.name.partition('-')[2]}")} - {target}:
        alike: dict[str, list[Record]] = {}
        for one in kept_records(file, tracked.preset, tracked.tensor_parallel_size, tracked.workloads):
            if one.way in paths and _is_as_good(one, provenance):
                its = one.provenance
                own = its | {"commit": provenance["commit"], "of_commit": its["commit"]}
                alike.setdefault(one.way, []).append(replace(one, provenance=own))
        complete = {path: its for path, its in alike.items() if len(its) == len(tracked.workloads)}
        for path, records in complete.items():
            if path not in found or measured_at(records[0]) > measured_at(found[path][0]):
                found[path] = records
    return [record for records in found.values() for record in records]


def absent_records(target: Path | None, tracked: Tracked, provenance: Mapping[str, Any]) -> list[Record]:
    """What a commit's file has of paths that the very same system under test could not take on this machine:
    as little can it now, and nothing needs to be made ready to ask it again."""
    if target is None or not target.exists():
        return []
    wanted = [load.fingerprint() for load in tracked.workloads]
    found: dict[str, dict[str, Record]] = {}
    for one in read_records(target.read_text()):
        if (one.preset, one.tensor_parallel_size) == (tracked.preset, tracked.tensor_parallel_size):
            found.setdefault(one.way, {})[one.workload["fingerprint"]] = one
    complete = [its for its in found.values() if its.keys() >= {*wanted}]
    absent = [its for its in complete if all(_is_absent(its[one], provenance) for one in wanted)]
    return [its[one] for its in absent for one in wanted]


def _is_absent(record: Record, provenance: Mapping[str, Any]) -> bool:
    return record.status == ABSENT and _is_as_good(record, provenance)


def with_kept(
    measured: Sequence[Record], kept: Sequence[Record], provenance: Mapping[str, Any]
) -> list[Record]:
    """Records that were measured again, each pooled with what is kept of its case, where that is as good.

    It is not where it did other work, as with other engine arguments, or has ratios to another control.
    """
    known = {_case(one): one for one in kept if _is_as_good(one, provenance)}
    found = []
    for one in measured:
        other = known.get(_case(one))
        found += [one] if other is None or not _may_pool(other, one) else pool([[other], [one]])
    return found


def _is_as_good(record: Record, provenance: Mapping[str, Any]) -> bool:
    """Whether it is of this system under test, way of measuring and machine, and of the commit's own."""
    wanted = {"sut": provenance["sut"], "method": provenance["method"], "machine": machine.facts()}
    its = record.provenance
    return "of_commit" not in its and all(its.get(fact) == value for fact, value in wanted.items())


def _may_pool(kept: Record, again: Record) -> bool:
    if again.status != MEASURED:
        return True
    controls = [one.observed.get("control") or {} for one in (kept, again)]
    same = len({(control.get("commit"), control.get("lock")) for control in controls}) == 1
    return same and check_equal_work([kept, again])[1].status == MEASURED


def _case(record: Record) -> tuple[str, str]:
    return record.way, record.workload["fingerprint"]
