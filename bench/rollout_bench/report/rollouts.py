"""Records in, text out: what each path measured, and against a reference of the same sessions. Pure."""

from collections.abc import Sequence
from statistics import median

from ..history.sessions import sessions_of
from ..schema.record import ABSENT, MEASURED, Record
from .estimate import engine_starts, estimate_of
from .footnotes import Footnotes
from .numbers import interval, number, quantity
from .ratios import ratio_in, ratios
from .reasons import first_line, whole_reasons
from .table import table, wrapped

STEP_TIME, ENGINE_STEP = "step_seconds", "engine_step_seconds"


_CAPTION = "rollouts: ratios are of rounds in one session; times of sessions apart are not to be compared"


def rollout_table(records: Sequence[Record], reference: str, metric: str = STEP_TIME) -> str:
    """One row a record: what was measured, and its ratio to `reference`, of rounds of both; or why not.

    What was measured in no session with the reference, as by an older harness, has no ratio.
    """
    value_title = "step time" if metric == STEP_TIME else metric
    ratio_title = f"ratio to {reference} [95 %]"
    titles = ["path", "batch", f"{value_title} [99 %]", "tokens/s", "engine step", ratio_title]
    several = any(engine_starts(record) > 1 for record in records if record.metrics)
    titles += ["replicates"] * several
    sessions = sessions_of(one for one in records if one.provenance.get("session") and one.metrics)
    of = {tuple(map(row.get, _CASE)): ratio_in(row, metric) for row in ratios(sessions, reference, metric)}
    notes = Footnotes()
    rows: list[list[str]] = []
    for record in records:
        start = [record.way, batch(record)]
        if record.status != MEASURED:
            rows.append([*start, f"{record.status}: {first_line(record.reason)}"])
        elif (value := estimate_of(record, metric)) is None:
            rows.append([*start, f"{ABSENT}: this path does not give {metric}"])
        else:
            ratio = of.get(_case(record))
            shown = interval(value, metric) + notes.mark(value)
            against = "" if ratio is None else interval(ratio) + notes.mark(ratio, marked=[value])
            rows.append([*start, shown, *_speed(record), "1" if record.way == reference else against])
            rows[-1] += [str(engine_starts(record))] * several
    lines = [*map(wrapped, notes.lines()), *whole_reasons(records)]
    return "\n".join([table(titles, rows, right=(1, 3, 4, 6), caption=_CAPTION), *lines])


def batch(record: Record) -> str:
    """The batch, and the workload where it is not the fixed one."""
    name, size = record.workload.get("name", "fixed"), record.workload["batch"]
    return str(size) if name == "fixed" else f"{name} {size}"


def _speed(record: Record) -> list[str]:
    """Tokens/s and the engine step, of medians."""
    step_seconds = median(record.metrics[STEP_TIME])
    load = record.workload
    tokens = load["tokens"] if "tokens" in load else load["batch"] * load["output_tokens"]
    engine_step = record.metrics.get(ENGINE_STEP)  # another's system does not tell
    return [number(tokens / step_seconds), quantity(median(engine_step), ENGINE_STEP) if engine_step else ""]


_CASE = ("path", "preset", "tensor_parallel_size", "workload", "batch")


def _case(record: Record) -> tuple[object, ...]:
    load = record.workload
    return record.way, record.preset, record.tensor_parallel_size, load.get("name"), load["batch"]
