"""What one run of a cell leaves: its metrics, what was really there, and where it comes from. Pure.

A record is measured, absent (this commit or machine does not have the cell) or failed; absent
and failed ones say why. `check_label` and `check_equal_work` turn a measured record that is not
what its label says, or did not do the same work as its neighbours, into a failed one.
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
    """Everything one run of a cell measured, with its provenance. Samples stay raw."""

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
        """The same cell as a failed one; what was observed is kept, what was measured is not."""
        return replace(self, status=FAILED, reason=reason, metrics={})


def read_records(text: str) -> list[Record]:
    """The records of a file's lines; a line that is damaged, as at a break-off, is passed over."""
    records = []
    for line in text.splitlines():
        with suppress(ValueError):
            records.append(Record.from_json(line))
    return records


@dataclass(frozen=True)
class Label:
    """What a path's name promises of the live processes.

    Modules are held against prefixes, so that files may move inside a package at any commit.
    """

    executor: str
    """"PACKAGE:CLASS" of vLLM's executor: a class of that name in that package."""
    carrier: str
    """Module or package on the worker's stack under which its calls arrive."""
    ray_actor: bool
    channel: str | None = None
    """Beginning of the channel's description, where the executor is ours."""
    baseline: bool = False
    """It blocks: its engine must have async scheduling off, where the others have what vLLM chooses."""

    def is_executor(self, name: str) -> bool:
        """Whether the dotted name of a class is that of the path's executor."""
        package, _, kind = self.executor.partition(":")
        module, _, found = name.rpartition(".")
        return found == kind and _is_within(module, package)


def _is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


_VLLM = "vllm.v1.executor"
_ADAPTER, _BLOCKING = "rollout_perf:TransportExecutor", "rollout_perf:BlockingExecutor"

LABELS: dict[str, Label] = {
    "sync": Label(f"{_VLLM}:UniProcExecutor", f"{_VLLM}.uniproc_executor", False),
    "vllm-mp": Label(f"{_VLLM}:MultiprocExecutor", f"{_VLLM}.multiproc_executor", False),
    "vllm-ray": Label(f"{_VLLM}:RayExecutorV2", f"{_VLLM}.ray_executor_v2", True),
    "zmq": Label(_ADAPTER, "rollout_perf.transports.zeromq", False, "zmq"),
    "ray": Label(_ADAPTER, "rollout_perf.transports.ray_actor", True, "ray actor"),
    "ray-graph": Label(_ADAPTER, "rollout_perf.transports.ray_graph", True, "ray compiled graph"),
    "verl-zmq": Label(_BLOCKING, "rollout_perf.transports.verl_zmq", False, "zmq REQ/REP", baseline=True),
    "verl-ray": Label(
        _BLOCKING, "rollout_perf.transports.verl_ray", True, "ray actor call to every", baseline=True
    ),
}
"""Every path that the ruler measures, in the order in which they are shown."""

REFERENCE = "vllm-mp"
"""The path that the others are compared with."""


def check_label(record: Record) -> Record:
    """Fail a measured record whose live processes are not what its path's name promises."""
    if record.status != MEASURED:
        return record
    label, observed = LABELS[record.path], record.observed
    wrong = []
    if not label.is_executor(observed["executor"]):
        wrong.append(f"executor is {observed['executor']}, not {label.executor}")
    for rank, worker in enumerate(observed["workers"]):
        if not any(_is_within(module, label.carrier) for module in worker["carriers"]):
            wrong.append(f"worker {rank} is called by {' < '.join(worker['carriers'])}, not {label.carrier}")
        if worker["ray_actor"] != label.ray_actor:
            wrong.append(f"worker {rank} is {'' if worker['ray_actor'] else 'not '}a Ray actor")
        if label.baseline and worker["async_scheduling"]:
            wrong.append(f"worker {rank} has async scheduling")
    if label.channel is not None and not str(observed.get("channel", "")).startswith(label.channel):
        wrong.append(f"channel is {observed.get('channel')!r}, not {label.channel}")
    return record.failed(f"not what its label says: {'; '.join(wrong)}") if wrong else record


_MAY_DIFFER = ("kv_cache_blocks",)  # what is left of the memory, far above what the workload needs


_ASYNC = ("async scheduling", "async_scheduling")
"""What a baseline's label says of it, in the words of the workers and of the engine's settings."""


def work(record: Record) -> dict[str, Any]:
    """What must be equal for two measured records to be comparable."""
    observed = record.observed
    workers = observed["workers"]
    return {
        "workload": record.workload["fingerprint"],
        "tokens generated": observed["tokens_generated"],
        "async scheduling": sorted({worker["async_scheduling"] for worker in workers}),
        "torch threads": sorted({worker["torch_threads"] for worker in workers}),
        "OMP_NUM_THREADS": sorted({str(worker["omp_num_threads"]) for worker in workers}),
        "vllm": observed["vllm"],
        **{name: value for name, value in observed["engine"].items() if name not in _MAY_DIFFER},
    }


def check_equal_work(records: list[Record]) -> list[Record]:
    """Fail every measured record that did other work than the reference path at its workload.

    Where the reference was not measured, the first measured path of the workload stands in.
    """
    standards: dict[tuple, Record] = {}
    for record in sorted(records, key=lambda record: record.path != REFERENCE):
        if record.status == MEASURED:
            standards.setdefault(_group(record), record)
    checked = []
    for record in records:
        standard = standards.get(_group(record))
        if record.status == MEASURED and standard is not None:
            mine, its = work(record), work(standard)
            unequal = [
                f"{name} {mine.get(name)!r} against {its.get(name)!r}"
                for name in sorted({*mine, *its})
                if mine.get(name) != its.get(name)
                and not (name in _ASYNC and LABELS[record.path].baseline != LABELS[standard.path].baseline)
            ]
            if unequal:
                record = record.failed(f"other work than {standard.path}: {'; '.join(unequal)}")
        checked.append(record)
    return checked


def _group(record: Record) -> tuple:
    load = record.workload
    return (record.preset, record.tensor_parallel_size, load.get("name"), load["batch"])
