"""Which sessions a campaign has, and which of them results/ has already.

What is done is read from results/ alone: the same command goes on wherever another one ended.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import git
from ..history.results import Commit
from ..measure.tracked import FLAVOURS, Tracked
from ..schema.record import read_records
from .file import Campaign
from .kinds import Node, fits

_LOCKS = {FLAVOURS[False]: "cpu", FLAVOURS[True]: "cuda"}


@dataclass(frozen=True)
class Session:
    """A task: a table of tracked.toml, at commits of one system under test, on a kind of nodes.

    The first of them is measured, and the others share what was measured (`measure.shared`).
    """

    table: str
    kind: str
    machine: str
    """The kind's name in results/."""
    commits: tuple[Commit, ...]
    """Those that are left, newest first."""
    alike: tuple[Commit, ...] = ()
    """Others of the same system under test, which results/ has."""

    def __str__(self) -> str:
        more = f" and {len(self.commits) - 1} like it" if len(self.commits) > 1 else ""
        return f"{self.table} at {self.commits[0]}{more}"


def environment_name(settings: Mapping[str, Any]) -> str:
    """What asv calls its environment of this Python, which is also that of the nodes: Ray sees to that."""
    return f"{settings.get('environment_type', 'virtualenv')}-py{sys.version_info[0]}.{sys.version_info[1]}"


def plan(
    root: Path,
    results: Path,
    environment: str,
    commits: Sequence[Commit],
    campaign: Campaign,
    names: Mapping[str, str],
    nodes: Sequence[Node],
) -> tuple[list[Session], int]:
    """The sessions that are left, newest commits first, and how many commits x tables x kinds are done."""
    left: list[Session] = []
    done = 0
    place = {commit: number for number, commit in enumerate(commits)}
    for kind, machine in names.items():
        some = next(node for node in nodes if node.kind == kind)
        for name, table in campaign.tables.items():
            if not fits(table, some):
                continue
            for group in _alike(root, commits, _LOCKS[table.flavour]):
                lacking = [
                    one
                    for one in group
                    if not is_done(results / machine, one, environment, name, table, campaign.set)
                ]
                done += len(group) - len(lacking)
                if lacking:
                    alike = tuple(one for one in group if one not in lacking)
                    left.append(Session(name, kind, machine, tuple(lacking), alike))
    left.sort(key=lambda one: place[one.commits[0]])
    return left, done


def files_of(machine: Path, commit: Commit, environment: str, table: str) -> tuple[Path, Path]:
    """Where a machine's results of a commit lie: asv's values, and a table's records."""
    stem = f"{commit.hash[:8]}-{environment}"
    return machine / f"{stem}.json", machine / "records" / f"{stem}-{table}.jsonl"


def is_done(machine: Path, commit: Commit, environment: str, name: str, table: Tracked, chosen: str) -> bool:
    """Whether results/ has a table at a commit: records of each path of the set, and asv's values of them.

    A commit that could not be built has values that say so, and no record: it is not tried again.
    """
    values, records = files_of(machine, commit, environment, name)
    try:
        known = json.loads(values.read_bytes())["results"]
        mine = [known[key] for key in known if key.split(".")[1] in table.classes]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    if not mine:
        return False
    if not records.exists():
        return not any(isinstance(value, list) and value and value[0] is not None for value in mine)
    ways = {record.way for record in read_records(records.read_text(errors="replace"))}
    return not {*table.sets.get(chosen, ())} - ways


def _alike(root: Path, commits: Sequence[Commit], lock: str) -> Iterator[list[Commit]]:
    """The commits by what is measured at them: the package, what builds it, and the lock.

    One that has none of these is alike to no other.
    """
    names = ("rollout_perf", "setup.py", f"requirements/{lock}.lock")
    asked = "".join(f"{commit.hash}:{name}\n" for commit in commits for name in names)
    said = git.answer(root, "cat-file", "--batch-check=%(objectname)", data=asked)
    lines = said.splitlines() if said is not None else asked.splitlines()
    groups: dict[tuple[str, ...], list[Commit]] = {}
    for number, commit in enumerate(commits):
        identity = [
            "" if line.endswith(" missing") else line
            for line in lines[number * len(names) : (number + 1) * len(names)]
        ]
        known = tuple(identity) if any(identity) else (commit.hash,)
        groups.setdefault(known, []).append(commit)
    yield from groups.values()
