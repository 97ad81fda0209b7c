"""Commits whose system under test is the same byte for byte, in the same environment, share measurements.

A record that a commit has of another names it, as `of_commit`: in a series all that share one are a point.
"""

import hashlib
import importlib.util
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from ..schema.record import Record, measured_at
from . import machine
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
    measuring and machine: as this commit's, the newest where there are several."""
    wanted = {"sut": provenance["sut"], "method": provenance["method"], "machine": machine.facts()}
    found: dict[str, list[Record]] = {}
    for file in sorted(target.parent.glob(f"*-{target.name.partition('-')[2]}")):
        alike: dict[str, list[Record]] = {}
        for one in kept_records(file, tracked.preset, tracked.tensor_parallel_size, tracked.workloads):
            its = one.provenance
            same = all(its.get(fact) == value for fact, value in wanted.items())
            if one.path in paths and same and "of_commit" not in its:
                own = its | {"commit": provenance["commit"], "of_commit": its["commit"]}
                alike.setdefault(one.path, []).append(replace(one, provenance=own))
        for path, records in alike.items():
            if path not in found or measured_at(records[0]) > measured_at(found[path][0]):
                found[path] = records
    return [record for records in found.values() for record in records]
