"""Sessions that were kept: records that were measured side by side, as `compare --output` leaves them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..measure.equal_work import work
from ..schema.record import Record

Case = tuple[str, str, int, str]
"""Path, preset, tensor-parallel size and the workload's fingerprint."""


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


def sessions_of(records: Sequence[Record]) -> list[list[Record]]:
    """The records of a file, a list for each replicate: where a case comes again, another begins."""
    sessions: list[dict[Case, Record]] = []
    for one in records:
        if not sessions or case_of(one) in sessions[-1]:
            sessions.append({})
        sessions[-1][case_of(one)] = one
    return [list(cases.values()) for cases in sessions]


def case_of(record: Record) -> Case:
    """What a session has one record of."""
    return record.path, record.preset, record.tensor_parallel_size, record.workload["fingerprint"]
