"""Sessions that were kept: records that were measured side by side, as `compare --output` leaves them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..measure.equal_work import work
from ..schema.record import Record


@dataclass(frozen=True)
class Session:
    """A file of records; of several replicates, one after the other."""

    machine: str
    records: Sequence[Record]
    source: Path


def read_session_record(line: str) -> Record:
    """The record of a line. Raises ValueError where it does not say what must be equal in a session."""
    record = Record.from_json(line)
    if record.metrics:
        try:
            work(record)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"a record of a session without what each has: {error!r}") from None
    return record
