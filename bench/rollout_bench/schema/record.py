"""What one run of a case leaves: its metrics, what was really there, and where it comes from. Pure.

A record is measured, absent (this commit or machine does not have the case) or failed; absent
and failed ones say why. `measure.labels` and `measure.equal_work` fail a measured record that is not what
its label says, or did not do the same work as its neighbours.
"""

import json
import marshal
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from .metrics import ENGINE_STEP, STEP
from .shape import read_json, surplus, unlike

SCHEMA = 1
"""The version of records that is written and read."""

Status = Literal["measured", "absent", "failed"]
MEASURED: Final = "measured"
ABSENT: Final = "absent"
FAILED: Final = "failed"

REFERENCE = "vllm-mp"
"""The path that the others are compared with."""

LOCAL = "local"
"""The entry that every case has of which no record says another."""


STICKY = "sticky"
"""The routing that keeps what belongs together at a replica."""


def way(path: str, entry: str | None) -> str:
    """A path and the entry before it in a word: "zmq", or "zmq@http" where it is not the local one."""
    return path if entry in (None, LOCAL) else f"{path}@{entry}"


def path_and_entry(way: str) -> tuple[str, str | None]:
    """What `way` has put together."""
    path, _, entry = way.partition("@")
    return path, entry or None


@dataclass(frozen=True)
class WayIn:
    """What a record's entry says: "zmq", or "zmq*2-sticky" where there are several engines behind it."""

    entry: str
    replicas: int
    routing: str | None
    """Of requests to replicas."""

    @classmethod
    def of(cls, entry: str | None) -> "WayIn":
        """What it says; None is the local entry."""
        name, _, several = (entry or LOCAL).partition("*")
        replicas, _, routing = several.partition("-")
        return cls(name, int(replicas or 1), routing or None)

    def __str__(self) -> str:
        return self.entry if self.replicas == 1 else f"{self.entry}*{self.replicas}-{self.routing}"


def is_system(path: str) -> bool:
    """Whether it is no path of ours but another's system, named by its adapter: MODULE:FUNCTION."""
    return ":" in path


def engines(way: str) -> int:
    """How many engines a way has."""
    return WayIn.of(path_and_entry(way)[1]).replicas


def now() -> str:
    """The time, to the second, in UTC, as records hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def minute(text: str | None) -> str:
    """A record's time to the minute, in UTC whatever its zone; empty where it is none."""
    try:
        time = datetime.fromisoformat(text or "")
        return (time.astimezone(UTC) if time.tzinfo else time).isoformat()[:16]
    except (ValueError, OverflowError):
        return ""


@dataclass(frozen=True)
class WorkloadFacts:
    """What every record says of its workload; lengths, prompts and seed stand beside it."""

    name: str
    fingerprint: str
    batch: int


@dataclass(frozen=True)
class MachineFacts:
    """What a record may say of its machine, and is relied on; CPU, kernel and Python stand beside it."""

    gpus: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class HostFacts:
    """What a record of a session says of its host while it was measured, and is relied on."""

    rounds: dict[str, Any] | None = None
    """Values by fact, one for each round, in the order of samples: load, pressure, what others had, GPUs; how
    slow the engine's cores were (`slowness`), and how many times as long that made the rollout (`slowed`)."""
    spoilt: int | None = None
    """How many of these rounds others have spoilt."""
    repeated: int | None = None
    """How many more were run in place of such, and are not among them."""
    pinned: bool | None = None
    """Whether the engine's processes had cores of their own, or the session some of the machine's alone."""


@dataclass(frozen=True)
class ReplicatesFacts:
    """Of which sessions a record of several is: values by fact, one for each, in the order of samples."""

    session: list[str]
    rounds: list[int]
    """How many of the samples are of its rounds."""
    spoilt: list[int]
    """How many of these rounds others have spoilt."""


@dataclass(frozen=True)
class LinkFacts:
    """The control before, where both were there, and the new one's step time over its, by round."""

    commit: str
    lock: str
    ratio: list[float]


@dataclass(frozen=True)
class ControlFacts:
    """The control that a record's ratios are to: its commit, and the hash of its lock."""

    commit: str
    lock: str
    metrics: dict[str, list[float]] | None = None
    """Its step times by round, in the order of the record's samples, and of what explains them."""
    link: Annotated[dict[str, Any], LinkFacts] | None = None
    link_error: float | None = None
    """The standard error of what links have made of the ratios, where they are over another control."""


@dataclass(frozen=True)
class ObservedFacts:
    """What a record may say of the live processes, and is relied on; settings and channel stand beside it."""

    engine_starts: int | None = None
    replicates: Annotated[dict[str, Any], ReplicatesFacts] | None = None
    tokens_generated: int | None = None
    counted: dict[str, Any] | None = None
    absent: dict[str, str] | None = None
    host: Annotated[dict[str, Any], HostFacts] | None = None
    control: Annotated[dict[str, Any], ControlFacts] | None = None


@dataclass(frozen=True)
class LaneFacts:
    """What a session had of its host where others were up at once: its lane, from 1, of how many."""

    number: int
    of: int
    cores: list[int]
    gpus: list[str]
    """As CUDA_VISIBLE_DEVICES names them."""


@dataclass(frozen=True)
class ProvenanceFacts:
    """What a record may say of where it comes from, and is relied on; time and command stand beside it."""

    commit: str | None = None
    measured_at: str | None = None
    command: str | None = None
    method: int | None = None
    session: str | None = None
    sut: str | None = None
    of_commit: str | None = None
    lane: Annotated[dict[str, Any], LaneFacts] | None = None
    versions: dict[str, Any] | None = None
    machine: Annotated[dict[str, Any], MachineFacts] | None = None


@dataclass(frozen=True)
class Record:
    """Everything one run of a case measured, with its provenance. Samples stay raw."""

    path: str
    """The path's name: what carries an engine step; or another's system, by its adapter."""
    preset: str
    """The model's shape, or the name of a local model."""
    tensor_parallel_size: int
    """Ranks that an engine step is spread over."""
    workload: Annotated[dict[str, Any], WorkloadFacts]
    """What was generated: prompts, lengths, seed, and what makes it another than others."""
    status: Status
    """Whether there are values; `absent` and `failed` come with a reason."""
    reason: str | None = None
    """Why there are no values."""
    metrics: dict[str, list[float]] = field(default_factory=dict)
    """Samples by metric, one for each timed rollout; engine_start_seconds and control_ratio have one for each
    replicate, and what is exact one."""
    observed: Annotated[dict[str, Any], ObservedFacts] = field(default_factory=dict)
    """What the live processes had: executor, channel, settings, threads, tokens generated."""
    provenance: Annotated[dict[str, Any], ProvenanceFacts] = field(default_factory=dict)
    """Commit, versions, machine, when, command."""
    entry: str | None = None
    """What carried the requests to how many engines, see WayIn; the local entry to one is not written."""
    schema: int = SCHEMA
    """The version of this schema."""

    @property
    def way(self) -> str:
        """The path, and the entry where it is not the local one."""
        return way(self.path, self.entry)

    def samples(self, metric: str) -> list[float]:
        """Samples of a metric that are numbers; none where it was not measured.

        JSON as Python writes it may hold NaN and Infinity: they are no samples.
        """
        samples = self.metrics.get(metric, ())
        if math.isfinite(sum(samples)):  # nearly always, and this is asked of each record many times
            return [*samples]
        return [sample for sample in samples if math.isfinite(sample)]

    def comparable(self, metric: str) -> list[float]:
        """Samples of a metric as they compare with those of another build of the path in the same session.

        Step times are corrected for slower cores (`stats.rounds.slowed`) where the host's state says by how
        much; everything else is as measured.
        """
        samples = [*self.metrics.get(metric, ())]
        rounds = (self.observed.get("host") or {}).get("rounds") or {}
        longer = rounds.get("slowed") or ()
        if metric not in (STEP, ENGINE_STEP) or len(longer) != len(samples) or not all(longer):
            return samples
        return [sample / one for sample, one in zip(samples, longer, strict=True)]

    def to_json(self) -> str:
        """One line of JSON."""
        content = asdict(self)
        if self.entry is None:
            del content["entry"]
        return json.dumps(content, sort_keys=True)

    @classmethod
    def from_json(cls, line: str, known: dict[bytes, Any] | None = None) -> "Record":
        """The record of a line. Raises ValueError, which says why, where it is not one of this schema.

        Records that are read with the same `known` share the facts that they have in common.
        """
        content = read_json(line)
        if isinstance(content, dict) and content.get("schema") != SCHEMA:
            raise ValueError(f"a record of schema {content.get('schema')}; {SCHEMA} is understood")
        if reason := unlike(content, cls):
            raise ValueError(reason)
        if names := surplus(content, cls):
            raise ValueError(f"a record has no {', '.join(map(repr, names))}")
        if known is not None:
            _share(content["provenance"], ("machine", "versions"), known)
            _share(content, ("workload", "observed", "provenance"), known)
        return cls(**content)

    def failed(self, reason: str) -> "Record":
        """The same case as a failed one; what was observed is kept, what was measured is not."""
        return replace(self, status=FAILED, reason=reason, metrics={})


def _share(facts: dict[str, Any], names: Sequence[str], known: dict[bytes, Any]) -> None:
    for name in names:
        if facts.get(name):
            facts[name] = known.setdefault(marshal.dumps(facts[name], 2), facts[name])


def measured_at(record: Record) -> str:
    """When, to the minute and in UTC, so that later is greater; nothing where that is not kept."""
    return minute(record.provenance.get("measured_at"))


_SIZE_DIGITS = 16


@dataclass(frozen=True)
class RoundTripFacts:
    """What is measured of a payload over a path of the pipe."""

    p50_seconds: float
    p99_seconds: float
    samples: dict[str, list[float]] | None = None


@dataclass(frozen=True)
class PipeRunFacts:
    """What every run of the pipe alone says, and is relied on."""

    paths: dict[str, dict[str, Annotated[dict[str, Any], RoundTripFacts]]]
    """By path and the bytes of the payload."""
    absent: dict[str, str] | None = None
    failed: dict[str, str] | None = None
    observed: dict[str, dict[str, Any]] | None = None
    provenance: Annotated[dict[str, Any], ProvenanceFacts] | None = None


@dataclass(frozen=True)
class VerdictFacts:
    """What a gate's verdict of a metric says, and is relied on."""

    verdict: str
    ratio: float | None = None
    interval: list[float] | None = None
    detectable: float | None = None
    path: str | None = None
    preset: str | None = None
    tensor_parallel_size: int | None = None
    workload: str | None = None
    batch: int | None = None
    metric: str | None = None
    logs: list[float] | None = None
    """Of a timing, the log of head over base in each replicate."""


@dataclass(frozen=True)
class GateFacts:
    """What every gate says, and is relied on."""

    base: str
    head: str
    verdicts: list[dict[str, Any]]
    measured_at: str | None = None
    command: str | None = None
    at_once: int | None = None
    """How many of its sessions were up at once."""


def read_gate(text: str) -> dict[str, Any]:
    """What a gate left, from its text. Raises ValueError, which says why, where it is none."""
    content = read_json(text)
    if reason := unlike(content, GateFacts):
        raise ValueError(reason)
    for verdict in content["verdicts"]:
        if reason := unlike(verdict, VerdictFacts, "a verdict's "):
            raise ValueError(reason)
    return dict(content)


def read_pipe_run(line: str) -> dict[str, Any]:
    """A run of the pipe alone from its line. Raises ValueError, which says why, where it is none."""
    content = read_json(line)
    if reason := unlike(content, PipeRunFacts):
        raise ValueError(reason)
    for size in (size for by_size in content["paths"].values() for size in by_size):
        if not (size.isascii() and size.isdecimal() and len(size) < _SIZE_DIGITS):
            raise ValueError(f"{size!r} is no number of bytes")
    return dict(content)


def read_records(text: str) -> list[Record]:
    """The records of a file's lines; a line that is damaged, as at a break-off, is passed over."""
    records = []
    for line in text.split("\n"):  # str.splitlines would split at U+2028 within JSON
        with suppress(ValueError):
            records.append(Record.from_json(line))
    return records
