"""What one run of a case leaves: its metrics, what was really there, and where it comes from. Pure.

A record is measured, absent (this commit or machine does not have the case) or failed; absent
and failed ones say why. `measure.labels` and `measure.equal_work` fail a measured record that is not what
its label says, or did not do the same work as its neighbours.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

SCHEMA = 1


def now() -> str:
    """The time, to the second, in UTC, as records hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


MEASURED, ABSENT, FAILED = "measured", "absent", "failed"


@dataclass(frozen=True)
class Record:
    """Everything one run of a case measured, with its provenance. Samples stay raw."""

    path: str
    preset: str
    tensor_parallel_size: int
    workload: dict[str, Any]
    status: str
    reason: str | None = None
    metrics: dict[str, list[float]] = field(default_factory=dict)
    """Samples by metric, one for each timed rollout; engine_start_seconds has one."""
    observed: dict[str, Any] = field(default_factory=dict)
    """What the live processes had: executor, channel, settings, threads, tokens generated."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Commit, versions, machine, when, command."""
    schema: int = SCHEMA

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> "Record":
        """The record of a line. Raises ValueError where it is not one of this schema."""
        content = json.loads(line)
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"not a record of schema {SCHEMA}")
        try:
            return cls(**content)
        except TypeError as error:
            raise ValueError(f"not a record: {error}") from None

    def failed(self, reason: str) -> "Record":
        """The same case as a failed one; what was observed is kept, what was measured is not."""
        return replace(self, status=FAILED, reason=reason, metrics={})


def read_records(text: str) -> list[Record]:
    """The records of a file's lines; a line that is damaged, as at a break-off, is passed over."""
    records = []
    for line in text.splitlines():
        with suppress(ValueError):
            records.append(Record.from_json(line))
    return records
