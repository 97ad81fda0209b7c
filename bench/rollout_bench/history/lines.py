"""Reads files of results line by line, those of a long history on all cores. What is damaged is named."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..schema.record import Record
from .forks import over

MANY_BYTES = 20_000_000
"""Bytes of records from which on forks read them."""

Read = TypeVar("Read", Record, dict[str, Any])


@dataclass(frozen=True)
class Damage:
    """A file, or a line of it, that could not be read, and why."""

    source: Path
    line: int | None
    reason: str

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}" if self.line else str(self.source)
        return f"{where}: {self.reason}"


def records_of(files: Sequence[Path], damaged: list[Damage]) -> Iterator[list[Record]]:
    """The records of each file."""
    size = sum(os.path.getsize(file) for file in files if os.path.isfile(file))
    for records, damage in over(_records, files, size > MANY_BYTES):
        damaged += damage
        yield records


def _records(file: Path) -> tuple[list[Record], list[Damage]]:
    """Those of a file, which share what they have in common: a long history would not fit memory."""
    damaged: list[Damage] = []
    known: dict[bytes, Any] = {}
    return list(lines_of(file, lambda line: Record.from_json(line, known), damaged)), damaged


def lines_of(file: Path, read: Callable[[str], Read], damaged: list[Damage]) -> Iterator[Read]:
    """What `read` makes of each line; one that it refuses is damaged."""
    try:
        with file.open("rb") as opened:
            lines = list(opened)
    except OSError as error:
        damaged.append(Damage(file, None, str(error)))
        return
    for number, line in enumerate(lines, 1):
        try:
            yield read(line.decode())
        except ValueError as error:
            damaged.append(Damage(file, number, str(error)))
