"""The cases of one of asv's setup_cache: measured, or absent with the reason where they are not tracked here.

benchmarks/rollout.py makes asv's classes of tracked.toml; the track_ methods there look the records up.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..schema import variables
from ..schema.record import ABSENT, FAILED, Record, Status, is_system
from . import asv_records, machine
from .asv_process import end_with_asv
from .control import NoControl, find_controls
from .installed import why_not_installed
from .pool import pool
from .sequence import kept_records, measure_cases
from .session import Contestant, without_values
from .shared import absent_records, shared_records, sut_fingerprint, with_kept
from .tracked import DEFAULT_SET, FLAVOURS, Tracked

METHOD = 1
"""Raised when the way of measuring changes: asv does not compare before and after, and what results/ has of
before is measured again."""

Cache = dict[str, list[Record]]
"""Records by path, in the order of the workloads; without the paths that were not to be measured."""


def version(tracked: Tracked, kind: str, *more: str) -> str:
    """The version of one of asv's classes: it changes with METHOD, workloads, engine arguments and `more`."""
    fingerprints = [workload.fingerprint() for workload in tracked.classes[kind].workloads]
    return "-".join([str(METHOD), *fingerprints, *tracked.version, *more])


def measure(tracked: Tracked) -> Cache:
    """Records of the paths of the set that is measured, and of others that the commit's file has.

    What the commit's file has of the set, or another commit of the same system under test, is not measured
    again, nor tried again where it is absent, unless that is asked for: then what is measured is pooled with
    what the file has.
    """
    end_with_asv()  # before the control is built, which takes minutes
    target = asv_records.records_file(tracked.name)
    provenance = {
        "commit": asv_records.commit(),
        "command": "asv run",
        "method": METHOD,
        "sut": sut_fingerprint() if target else None,
    }
    if node := os.environ.get(variables.NODE):
        provenance["node"] = node
    kept = kept_records(target, tracked.preset, tracked.tensor_parallel_size, tracked.workloads)
    counted = Counter(one.way for one in kept)
    known = [
        one
        for one in kept
        if one.provenance.get("method") == METHOD and counted[one.way] == len(tracked.workloads)
    ]
    paths = list(tracked.sets.get(os.environ.get(variables.SET, DEFAULT_SET), ()))
    if variables.AGAIN not in os.environ:
        known += absent_records(target, tracked, provenance)
        paths = _left(paths, known)
    reason, not_installed = _not_here(tracked), why_not_installed(Path(sys.prefix))
    if reason is not None:
        records = _without_values(tracked, paths, ABSENT, reason, provenance)
    elif not_installed is not None:
        records = _without_values(tracked, paths, FAILED, not_installed, provenance)
        if target is not None:
            asv_records.save(records, target)
    else:
        records = _measure(tracked, paths, target, provenance, known) if paths else []
    records += [one for one in known if one.way not in {record.way for record in records}]
    by_path = {path: [one for one in records if one.way == path] for path in tracked.paths}
    return {path: its for path, its in by_path.items() if its}


def _left(paths: Iterable[str], records: Sequence[Record]) -> list[str]:
    there = {record.way for record in records}
    return [path for path in paths if path not in there]


def _not_here(tracked: Tracked) -> str | None:
    """Why this machine does not track something; None where it does."""
    try:
        on_gpu = bool(machine.gpus())
    except machine.GpusUnknown as error:
        return str(error)
    if tracked.flavour == FLAVOURS[on_gpu]:
        return None
    return f"{tracked.preset} is tracked {'without' if on_gpu else 'with'} a GPU"


def _measure(
    tracked: Tracked,
    paths: Sequence[str],
    target: Path | None,
    provenance: dict[str, Any],
    known: Sequence[Record],
) -> list[Record]:
    """Records of paths, each pooled with the one that is `known` where that is as good; the file has them."""
    records: list[Record] = []
    if target is not None and provenance["sut"] and variables.AGAIN not in os.environ:
        ours = [path for path in paths if not is_system(path)]  # another's adapter may have changed
        records = shared_records(target, tracked, ours, provenance)
        for path in dict.fromkeys(record.way for record in records):
            other = next(one.provenance["of_commit"] for one in records if one.way == path)
            asv_records.say(
                f"{path} {tracked.preset}: as at {other[:8]}, whose system under test is the same"
            )
    if left := _left(paths, records):
        records += with_kept(_replicates(tracked, left, target, provenance), known, provenance)
    if target is not None:
        asv_records.save(records, target)
    return records


def _replicates(
    tracked: Tracked, paths: Sequence[str], target: Path | None, provenance: dict[str, Any]
) -> list[Record]:
    """A record a case of as many sessions as are asked for, each with the control."""
    controls, reason = _controls(target and target.parent)
    replicates: list[list[Record]] = []
    for number in range(tracked.replicates):
        replicates.append(
            measure_cases(
                tracked.preset,
                paths,
                tracked.workloads,
                tracked.tensor_parallel_size,
                provenance=provenance,
                say=asv_records.say,
                arguments=dict(tracked.engine_arguments),
                keep=None if target is None else asv_records.unfinished(target, number),
                controls=controls,
                until_limit_seconds=tracked.until_limit_seconds,
                timeline=True,  # scheduler and launch explain a change of the step time
            )
        )
        if all(record.status == ABSENT for record in replicates[-1]):
            break  # another session has none of them either
    records = pool(replicates)
    for record in records if reason else ():
        record.observed.setdefault("absent", {})["control"] = reason
    return records


def _controls(records: Path | None) -> tuple[list[Contestant], str | None]:
    """The contestants that are in each session, or why there are none."""
    folder, commit = os.environ.get("ASV_CONF_DIR"), asv_records.commit()
    if not folder or not commit:
        return [], "asv does not run this"
    try:
        return find_controls(Path(folder), commit, dict(os.environ), asv_records.say, records), None
    except NoControl as error:
        asv_records.say(f"without a control: {error}")
        return [], str(error)


def _without_values(
    tracked: Tracked, paths: Iterable[str], status: Status, reason: str, provenance: dict[str, Any]
) -> list[Record]:
    case = tracked.preset, tracked.tensor_parallel_size, tracked.workloads
    return [one for path in paths for one in without_values(path, *case, status, reason, provenance)]
