"""Names for people: what a table or a heading calls a series says all that tells it from others. Pure."""

from typing import NamedTuple

from ..history.results import Key
from ..schema.record import Record


class Group(NamedTuple):
    """What a comparison of paths holds fixed, the batch aside."""

    machine: str
    environment: str
    """Empty where sessions alone have measured it."""
    preset: str
    tensor_parallel_size: int
    workload: str

    def __str__(self) -> str:
        place = ", ".join(filter(None, (self.machine, self.environment)))
        return f"{place}, {work_name(self.preset, self.tensor_parallel_size, self.workload)}"


def group_of(key: Key) -> Group:
    """The group of a series."""
    return Group(key.machine, key.environment, key.preset, key.tensor_parallel_size, key.workload)


def series_name(key: Key) -> str:
    """A series: "h200-1x, virtualenv-py3.12, qwen2.5-0.5b, workload fixed, zmq, batch 64"."""
    return f"{group_of(key)}, {key.path}, batch {key.batch}"


def work_name(preset: str, tensor_parallel_size: int, workload: str) -> str:
    """What was generated with: "qwen2.5-7b, tensor-parallel over 2, workload verl"."""
    size = f", tensor-parallel over {tensor_parallel_size}" * (tensor_parallel_size > 1)
    return f"{preset}{size}, workload {workload}"


def work_of(record: Record) -> str:
    """What a record's case was generated with, but for the batch."""
    return work_name(record.preset, record.tensor_parallel_size, record.workload.get("name", "fixed"))
