"""Takes what sessions send home into results/, as `track` would have left it there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..measure.asv_records import write_whole
from .plan import Session, files_of


class Home:
    """A folder of results that sessions of several nodes fill."""

    def __init__(self, results: Path, environment: str) -> None:
        self.results, self._environment = results, environment

    def machine(self, entry: Mapping[str, str]) -> dict[str, str]:
        """asv's entry for a machine: that of its results where there is one, since it is part of a series."""
        file = self.results / entry["machine"] / "machine.json"
        if not file.exists():
            return dict(entry)
        known = json.loads(file.read_text())
        return {name: value for name, value in known.items() if name != "version"}

    def along(self, session: Session) -> dict[str, str]:
        """What a session gets of what is there: it goes on from that, and shares what is measured."""
        machine = self.results / session.machine
        found = {}
        for commit in (*session.commits, *session.alike):
            values, records = files_of(machine, commit, self._environment, session.table)
            for file in (values, records):
                if file.exists():
                    found[str(file.relative_to(self.results))] = file.read_text()
        return found

    def is_values(self, path: str) -> bool:
        """Whether a file is asv's of a commit."""
        name = Path(path).name
        return name.endswith(".json") and name not in ("machine.json", "benchmarks.json")

    def has_records(self, session: Session) -> bool:
        """Whether there are records of each commit of a session."""
        machine = self.results / session.machine
        return all(
            files_of(machine, commit, self._environment, session.table)[1].exists()
            for commit in session.commits
        )

    def take(self, files: Mapping[str, str]) -> None:
        """Write what a session has sent, each file whole or not at all.

        asv has one file for all tables of a commit: values of others, which may have come meanwhile, stay.
        """
        for path, text in files.items():
            file = self.results / path
            if not file.resolve().is_relative_to(self.results.resolve()) or file.suffix not in _KEPT:
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.name == "machine.json" and file.exists():
                continue
            if file.exists() and self.is_values(path):
                text = _merged(json.loads(file.read_text()), json.loads(text))
            write_whole(file, text)


_KEPT = (".json", ".jsonl")


def _merged(known: dict[str, Any], new: dict[str, Any]) -> str:
    """asv's values of a commit, the new ones in the place of those that are known."""
    for of_each in ("results", "durations"):
        new[of_each] = known.get(of_each, {}) | new.get(of_each, {})
    return json.dumps(new)
