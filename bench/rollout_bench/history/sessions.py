"""Sessions that were kept: records that were measured side by side, as `compare --output` leaves them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ..measure.equal_work import work
from ..measure.pool import replicates_of
from ..schema.record import Record

Case = tuple[str, str, int, str]
"""Path with its entry, preset, tensor-parallel size and the workload's fingerprint."""


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
        check_whole(record)
    return record


def check_whole(record: Record) -> None:
    """Raise ValueError where a measured record does not say what must be equal in a session."""
    try:
        work(record)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"a record of a session without what each has: {error!r}") from None


def sessions_of(records: Iterable[Record]) -> list[list[Record]]:
    """A list for each replicate: of the session that records name, and of those that name none, another one
    where a case comes again."""
    sessions: dict[str | int, dict[Case, Record]] = {}
    unnamed = 0
    for one in chain.from_iterable(map(replicates_of, records)):
        name = one.provenance.get("session")
        if name is None and case_of(one) in sessions.get(unnamed, ()):
            unnamed += 1
        sessions.setdefault(unnamed if name is None else name, {})[case_of(one)] = one
    return [list(cases.values()) for cases in sessions.values()]


def case_of(record: Record) -> Case:
    """What a session has one record of."""
    return record.way, record.preset, record.tensor_parallel_size, record.workload["fingerprint"]
