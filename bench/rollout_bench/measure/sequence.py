"""Measures cases, one path after another: a fresh process for each, a deadline, and nothing left after it.

    records = measure_cases("nano", ["vllm-mp", "zmq"], fixed("nano", [1, 8]))

is what asv's setup_cache and `rollout-perf measure` call. Every case asked for comes back as a
record: measured, absent or failed. Standard library only: asv's own processes do not see what
ASV_PYTHONPATH provides.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..schema.record import ABSENT, FAILED, MEASURED, Record, now, read_records
from . import machine
from .equal_work import check_equal_work
from .process import Interpreter, run_module
from .workload import Workload, unmeasured

ROLLOUTS = 7
"""Timed rollouts of a case: two sets of 6 samples can never differ significantly in asv."""

WARMUPS = 2
CASE_DEADLINE_SECONDS = 900.0
_START_DEADLINE_SECONDS = 600.0
_STEP_DEADLINE_SECONDS = 120.0

CONCURRENCY = 1024
"""Sequences of a long-tailed workload that run at once; the others wait (verl's rollout.max_num_seqs)."""

_GRAPHS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Batches for which CUDA graphs are captured where the batch shrinks as samples are done."""


def engine_arguments(workloads: Sequence[Workload]) -> dict[str, Any]:
    """vLLM's engine arguments, the same for every path: sized for the workloads, nothing left to defaults
    that vLLM chooses by the way it is called."""
    tailed = [workload for workload in workloads if workload.name != "fixed"]
    batches = {workload.batch for workload in workloads if workload.name == "fixed"}
    most = max([*batches, *(min(workload.batch, CONCURRENCY) for workload in tailed)])
    arguments: dict[str, Any] = {
        "seed": 0,
        "max_model_len": max(workload.length for workload in workloads),
        "max_num_seqs": most,
        "max_num_batched_tokens": max(8192, *(workload.length for workload in workloads)),
        # As RL has it, where samples share a prompt; real prompts would be found from rollout to rollout.
        "enable_prefix_caching": any(workload.grouped and workload.ids is None for workload in tailed),
    }
    if machine.gpus():
        graphs = batches | {size for size in _GRAPHS if tailed and size <= most}
        return arguments | {"dtype": "bfloat16", "cudagraph_capture_sizes": sorted(graphs)}
    return arguments | {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 512 * 1024 * 1024}


def measure_cases(
    preset: str,
    paths: Sequence[str],
    workloads: Sequence[Workload],
    tensor_parallel_size: int = 1,
    provenance: dict[str, Any] | None = None,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    rollouts: int = ROLLOUTS,
    arguments: dict[str, Any] | None = None,
    deadline_seconds: float = CASE_DEADLINE_SECONDS,
    keep: Path | None = None,
    interpreter: Interpreter | None = None,
    **options: Any,
) -> list[Record]:
    """Measure every path at every workload, one engine start a path, one path after the other.

    `provenance` is what the caller knows of where this runs; `arguments` are added to the engine
    arguments of every path. Progress goes to `say`, a line at a time. The file `keep` has the
    records of each path as soon as it is done; paths that it already has, from a run that was
    broken off, are not measured again. `interpreter` is the Python that has the system under
    test, where it is not this one; `options` are those of `case.OPTIONS`.
    """
    kept = _kept(keep, preset, tensor_parallel_size, workloads)
    records = [record for record in kept if record.path in paths]
    shared = engine_arguments(workloads) | (arguments or {})
    requests = [
        case_request(path, preset, workloads, tensor_parallel_size, provenance, shared)
        | {"rollouts": rollouts, "options": options, "deadline_seconds": deadline_seconds}
        for path in paths
        if path not in {record.path for record in records}
    ]
    while requests:
        # One process for all of them, until one breaks it; then a new one for those that are left.
        limit = deadline_seconds * len(requests) + min(_START_DEADLINE_SECONDS, deadline_seconds)
        asked = {"requests": requests, "keep": keep and str(keep)}
        outcome = run_module("rollout_bench.measure.case", asked, say, limit, interpreter)
        found = read_records(outcome.answer)
        left = []
        for request in requests:
            own = [one for one in found if one.path == request["path"]]
            request["workloads"] = unmeasured(request["workloads"], own)
            left += [request] if request["workloads"] else []
        requests = left
        if requests:
            found += failed_records(requests.pop(0), outcome.reason or "the process left no record of it")
        records += found
    order = {workload.fingerprint(): number for number, workload in enumerate(workloads)}
    records.sort(key=lambda one: (paths.index(one.path), order[one.workload["fingerprint"]]))
    checked = check_equal_work(records)
    for record in checked:
        if record.status != MEASURED:
            reason = (record.reason or "").splitlines()[0]
            load = f"{record.workload['name']} {record.workload['batch']}"
            say(f"{record.path} {preset} {load}: {record.status}: {reason}")
    return checked


def case_request(
    path: str,
    preset: str,
    workloads: Sequence[Workload],
    tensor_parallel_size: int,
    provenance: dict[str, Any] | None,
    arguments: dict[str, Any],
) -> dict[str, Any]:
    """What a process is asked that measures a path; `arguments` are vLLM's engine arguments."""
    return {
        "path": path,
        "preset": preset,
        "tensor_parallel_size": tensor_parallel_size,
        "workloads": [vars(workload) for workload in workloads],
        "warmups": WARMUPS,
        "rollouts": ROLLOUTS,
        "options": {},
        "start_deadline_seconds": _START_DEADLINE_SECONDS,
        "step_deadline_seconds": _STEP_DEADLINE_SECONDS,
        "deadline_seconds": CASE_DEADLINE_SECONDS,
        "engine_arguments": arguments,
        "provenance": provenance or {},
    }


def _kept(
    keep: Path | None, preset: str, tensor_parallel_size: int, workloads: Sequence[Workload]
) -> list[Record]:
    """Records of the paths that `keep` has measured at every one of the workloads, up to their limit if it
    was sought."""
    if keep is None or not keep.exists():
        return []
    asked = {workload.fingerprint() for workload in workloads}
    by_path: dict[str, dict[str, Record]] = {}
    for record in read_records(keep.read_text()):
        if (record.preset, record.tensor_parallel_size) == (preset, tensor_parallel_size):
            by_path.setdefault(record.path, {})[record.workload["fingerprint"]] = record
    return [
        record
        for records in by_path.values()
        if records.keys() == asked
        and {MEASURED} <= {record.status for record in records.values()} <= {MEASURED, ABSENT}
        for record in records.values()
    ]


def failed_records(request: dict[str, Any], reason: str) -> list[Record]:
    """A failed record of every workload of a request."""
    return [
        Record(
            path=request["path"],
            preset=request["preset"],
            tensor_parallel_size=request["tensor_parallel_size"],
            workload=Workload(**workload).as_dict(),
            status=FAILED,
            reason=reason,
            provenance=request["provenance"] | {"measured_at": now()},
        )
        for workload in request["workloads"]
    ]
