"""What people have decided of regressions, by their names: triage.json in results/, to be committed.

    {"88e583f6..c9ff6fe7": {"state": "fixed", "fixed_by": "1a2b3c4d", "note": "a copy", "on": "2026-11-26"}}

`rollout-perf triage` writes it. `history.findings` has what is named.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from ..errors import UsageError
from ..measure.asv_records import write_whole
from ..schema.shape import read_json, unlike

FILE = "triage.json"
State = Literal["acknowledged", "expected", "fixed"]
"""Known, and still to be seen to; a price that is paid; gone since a commit."""


@dataclass(frozen=True)
class Decision:
    """What was decided of one."""

    state: State
    on: str
    """The day."""
    note: str | None = None
    fixed_by: str | None = None
    """A commit."""


def read_triage(folder: Path) -> dict[str, Decision]:
    """The decisions by name; none where there is no file.

    Raises UsageError where it holds something else, in a line that names it.
    """
    file = folder / FILE
    if not file.is_file():
        return {}
    try:
        content = read_json(file.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{file}: not an object")
    return {name: _decision(given, f"{file}: {name!r}") for name, given in content.items()}


def write_triage(folder: Path, decisions: Mapping[str, Decision]) -> None:
    """Write the file, or leave what was there; fields that are not given are left out."""
    kept = {
        name: {field: value for field, value in asdict(one).items() if value is not None}
        for name, one in sorted(decisions.items())
    }
    write_whole(folder / FILE, f"{json.dumps(kept, indent=1, ensure_ascii=False)}\n")


def _decision(given: object, where: str) -> Decision:
    known = [field.name for field in fields(Decision)]
    if reason := unlike(given, Decision):
        raise UsageError(f"{where}: {reason}")
    assert isinstance(given, dict)
    if others := [name for name in given if name not in known]:
        raise UsageError(f"{where}: unknown key {others[0]!r}; known: {', '.join(known)}")
    return Decision(**given)
