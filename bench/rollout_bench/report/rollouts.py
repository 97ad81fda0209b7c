"""Records in, text out: what each path measured, and against a reference. Pure."""

from collections.abc import Sequence

from ..schema.record import MEASURED, Record
from .estimate import Estimate, estimate, ratio
from .numbers import interval, number, quantity
from .reasons import first_line, whole_reasons
from .table import table

STEP_TIME, ENGINE_STEP = "step_seconds", "engine_step_seconds"


def rollout_table(records: Sequence[Record], reference: str, metric: str = STEP_TIME) -> str:
    """One row a record: what was measured, and against `reference` at the same batch; or why not."""
    value_title = "step time" if metric == STEP_TIME else metric
    titles = ["path", "batch", f"{value_title} [99 %]", "tokens/s", "engine step", f"ratio to {reference}"]
    references = {
        _group(record): estimate(record.metrics[metric])
        for record in records
        if record.path == reference and metric in record.metrics
    }
    rows: list[list[str]] = []
    for record in records:
        start = [record.path, batch(record)]
        if record.status != MEASURED:
            rows.append([*start, f"{record.status}: {first_line(record.reason)}"])
        elif metric not in record.metrics:
            rows.append([*start, f"absent: this path does not give {metric}"])
        else:
            rows.append(start + _measured(record, metric, references.get(_group(record)), reference))
    return "\n".join([table(titles, rows, right=(1, 3, 4)), *whole_reasons(records)])


def batch(record: Record) -> str:
    """The batch, and the workload where it is not the fixed one."""
    name, size = record.workload.get("name", "fixed"), record.workload["batch"]
    return str(size) if name == "fixed" else f"{name} {size}"


def _measured(record: Record, metric: str, base: Estimate | None, reference: str) -> list[str]:
    value = estimate(record.metrics[metric])
    step_seconds = estimate(record.metrics[STEP_TIME]).middle
    load = record.workload
    tokens = load["tokens"] if "tokens" in load else load["batch"] * load["output_tokens"]
    against = "" if base is None else "1" if record.path == reference else interval(ratio(value, base))
    engine_step = quantity(estimate(record.metrics[ENGINE_STEP]).middle, ENGINE_STEP)
    return [interval(value, metric), number(tokens / step_seconds), engine_step, against]


def _group(record: Record) -> tuple[object, ...]:
    load = record.workload
    return record.preset, record.tensor_parallel_size, load.get("name"), load["batch"]
