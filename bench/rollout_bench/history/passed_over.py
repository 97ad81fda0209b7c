"""What asv passes over with --skip-existing, though it was never measured: paths that another set left out.

asv takes the value that says so for one that is there.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from ..measure.tracked import Tracked
from ..schema.record import read_records
from .results import Commit


def passed_over(
    machine: Path, commits: Sequence[Commit], tracked: Mapping[str, Tracked], chosen: str
) -> tuple[list[Commit], list[str]]:
    """Commits of which a machine's results lack a path of the set or a workload of it, and their classes.

    A commit of which asv has no value at all, as where it cannot be built, is none of them.
    """
    lacking: dict[Commit, set[str]] = {}
    for commit in commits:
        for file in machine.glob(f"{commit.hash[:8]}-*.json"):
            values = json.loads(file.read_bytes()).get("results", {}).values()
            if not any(value and value[0] is not None for value in values):
                continue
            for name, one in tracked.items():
                records = machine / "records" / f"{file.stem}-{name}.jsonl"
                known = read_records(records.read_text()) if records.exists() else []
                wanted = product(one.sets.get(chosen, ()), (load.fingerprint() for load in one.workloads))
                if {*wanted} - {(record.way, record.workload["fingerprint"]) for record in known}:
                    lacking.setdefault(commit, set()).update(one.classes)
    return list(lacking), sorted({name for names in lacking.values() for name in names})
