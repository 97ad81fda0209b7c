"""Whether records that are compared did the same work; one that did not has failed. Pure."""

from typing import Any

from ..schema.record import MEASURED, REFERENCE, Record, is_system
from .labels import LABELS

_MAY_DIFFER = ("kv_cache_blocks",)  # what is left of the memory, far above what the workload needs


_ASYNC = ("async scheduling", "async_scheduling")
"""What a baseline's label says of it, in the words of the workers and of the engine's settings."""


def work(record: Record) -> dict[str, Any]:
    """What must be equal for two measured records to be comparable; of another's system less is known."""
    observed = record.observed
    if is_system(record.path):
        told = {"vllm": observed["system"]["vllm"]} if "vllm" in observed["system"] else {}
        return told | _generated(record)
    workers = observed["workers"]
    return _generated(record) | {
        "async scheduling": sorted({worker["async_scheduling"] for worker in workers}),
        "torch threads": sorted({worker["torch_threads"] for worker in workers}),
        "OMP_NUM_THREADS": sorted({str(worker["omp_num_threads"]) for worker in workers}),
        "vllm": observed["vllm"],
        "nodes": sorted(observed.get("nodes", {}).get("workers", [])),
        **{name: value for name, value in observed["engine"].items() if name not in _MAY_DIFFER},
    }


def _generated(record: Record) -> dict[str, Any]:
    tokens = record.observed["tokens_generated"]
    return {"workload": record.workload["fingerprint"], "tokens generated": tokens}


def check_equal_work(records: list[Record]) -> list[Record]:
    """Fail every measured record that did other work than the reference path at its workload.

    Where the reference was not measured, the first measured path of the workload stands in.
    """
    standards: dict[tuple[Any, ...], Record] = {}
    for record in sorted(records, key=lambda record: (record.way != REFERENCE, is_system(record.path))):
        if record.status == MEASURED:
            standards.setdefault(_group(record), record)
    checked = []
    for record in records:
        standard = standards.get(_group(record))
        if record.status == MEASURED and standard is not None:
            mine, its = work(record), work(standard)
            unequal = [
                f"{name} {mine.get(name)!r} against {its.get(name)!r}"
                for name in sorted(_told(record, standard, mine, its))
                if mine.get(name) != its.get(name)
                and not (name in _ASYNC and _is_baseline(record) != _is_baseline(standard))
            ]
            if unequal:
                record = record.failed(f"other work than {standard.way}: {'; '.join(unequal)}")
        checked.append(record)
    return checked


def _told(record: Record, standard: Record, mine: dict[str, Any], its: dict[str, Any]) -> set[str]:
    """What is compared: all that either says, or both where one is a system."""
    systems = is_system(record.path) or is_system(standard.path)
    return {*mine} & {*its} if systems else {*mine} | {*its}


def _is_baseline(record: Record) -> bool:
    return record.path in LABELS and LABELS[record.path].baseline


def _group(record: Record) -> tuple[Any, ...]:
    load = record.workload
    return (record.preset, record.tensor_parallel_size, load.get("name"), load["batch"])
