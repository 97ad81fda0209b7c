"""Records in, text out: what each path measured, and against a reference. Pure."""

from collections.abc import Sequence
from statistics import median

from ..schema.record import ABSENT, MEASURED, Record
from .estimate import Estimate, estimate_of, ratio
from .footnotes import Footnotes
from .numbers import interval, number, quantity
from .reasons import first_line, whole_reasons
from .table import table, wrapped

STEP_TIME, ENGINE_STEP = "step_seconds", "engine_step_seconds"


def rollout_table(records: Sequence[Record], reference: str, metric: str = STEP_TIME) -> str:
    """One row a record: what was measured, and against `reference` at the same batch; or why not."""
    value_title = "step time" if metric == STEP_TIME else metric
    titles = ["path", "batch", f"{value_title} [99 %]", "tokens/s", "engine step", f"ratio to {reference}"]
    references = {
        _group(record): value
        for record in records
        if record.path == reference and (value := estimate_of(record, metric)) is not None
    }
    notes = Footnotes()
    rows: list[list[str]] = []
    for record in records:
        start = [record.path, batch(record)]
        if record.status != MEASURED:
            rows.append([*start, f"{record.status}: {first_line(record.reason)}"])
        elif (value := estimate_of(record, metric)) is None:
            rows.append([*start, f"{ABSENT}: this path does not give {metric}"])
        else:
            base = None if record.path == reference else references.get(_group(record))
            shown = interval(value, metric) + notes.mark(value)
            rows.append([*start, shown, *_speed(record), _against(value, base, notes)])
            if record.path == reference:
                rows[-1][-1] = "1"
    lines = [*map(wrapped, notes.lines()), *whole_reasons(records)]
    return "\n".join([table(titles, rows, right=(1, 3, 4)), *lines])


def batch(record: Record) -> str:
    """The batch, and the workload where it is not the fixed one."""
    name, size = record.workload.get("name", "fixed"), record.workload["batch"]
    return str(size) if name == "fixed" else f"{name} {size}"


def _speed(record: Record) -> list[str]:
    """Tokens/s and the engine step, of medians."""
    step_seconds = median(record.metrics[STEP_TIME])
    load = record.workload
    tokens = load["tokens"] if "tokens" in load else load["batch"] * load["output_tokens"]
    return [number(tokens / step_seconds), quantity(median(record.metrics[ENGINE_STEP]), ENGINE_STEP)]


def _against(value: Estimate, base: Estimate | None, notes: Footnotes) -> str:
    against = base and ratio(value, base)
    return "" if against is None else interval(against) + notes.mark(against, marked=[value])


def _group(record: Record) -> tuple[object, ...]:
    load = record.workload
    return record.preset, record.tensor_parallel_size, load.get("name"), load["batch"]
