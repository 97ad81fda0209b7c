"""Records in, text out: tables that fit WIDTH columns. Reads and starts nothing.

A value stands with its 99 % interval, as asv computes it. A ratio's bounds are those of the two
intervals at their farthest from each other, which errs on the side of caution.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ..schema.record import Record

WIDTH = 100
_GAP = "  "
_REASON_LINES = 15
_BINARY = ((3, "GiB"), (2, "MiB"))


Value = tuple[float, float, float]
"""Median, and the lower and the upper bound of its 99 % interval."""


def estimate(samples: Sequence[float]) -> Value:
    """Median and 99 % interval: asv's, from order statistics or, for few samples, a posterior."""
    from asv_runner.statistics import compute_stats

    middle, stats = compute_stats(list(samples), 1)
    return middle, stats["ci_99_a"], stats["ci_99_b"]


def ratio(value: Value, reference: Value) -> Value:
    """One value over another."""
    return value[0] / reference[0], value[1] / reference[2], value[2] / reference[1]


def number(value: float) -> str:
    """At most three significant digits, and none of the integer part is lost."""
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}"


def scale(value: float, name: str) -> tuple[float, str]:
    """Divisor and sign of the unit that reads best for `value`, in the base unit that `name` ends with."""
    if name.endswith("_seconds"):
        return (1.0, "s") if value >= 1 else (1e-3, "ms") if value >= 1e-3 else (1e-6, "µs")
    if name.endswith("_bytes"):
        return next(((1024.0**n, unit) for n, unit in _BINARY if value >= 1024.0**n), (1024.0, "KiB"))
    if name.endswith("_share"):
        return 0.01, "%"
    return 1.0, ""


def quantity(value: float, name: str) -> str:
    """A value with its unit: "12.3 ms"."""
    divisor, unit = scale(value, name)
    return f"{number(value / divisor)} {unit}".rstrip()


def interval(value: Value, name: str = "") -> str:
    """A value with its unit and its interval: "12.3 ms [12.1 .. 12.9]"; a lone sample has no interval."""
    if not all(map(math.isfinite, value)):
        return quantity(value[0], name)
    divisor, _unit = scale(value[0], name)
    low, high = (number(bound / divisor) for bound in value[1:])
    return f"{quantity(value[0], name)} [{low} .. {high}]"


def rollout_table(records: Sequence[Record], reference: str, metric: str = "step_seconds") -> str:
    """One row a record: what was measured, and against `reference` at the same batch; or why not."""
    value_title = "step time" if metric == "step_seconds" else metric
    titles = ["path", "batch", f"{value_title} [99 %]", "tokens/s", "engine step", f"ratio to {reference}"]
    references = {
        _group(record): estimate(record.metrics[metric])
        for record in records
        if record.path == reference and metric in record.metrics
    }
    rows: list[list[str]] = []
    for record in records:
        start = [record.path, batch(record)]
        if record.status != "measured":
            rows.append([*start, f"{record.status}: {_first_line(record.reason)}"])
        elif metric not in record.metrics:
            rows.append([*start, f"absent: this path does not give {metric}"])
        else:
            rows.append(start + _measured(record, metric, references.get(_group(record)), reference))
    return "\n".join([*aligned(titles, rows, right=(1, 3, 4)), *_reasons(records)])


def batch(record: Record) -> str:
    """The batch, and the workload where it is not the fixed one."""
    name, size = record.workload.get("name", "fixed"), record.workload["batch"]
    return str(size) if name == "fixed" else f"{name} {size}"


def _measured(record: Record, metric: str, base: Value | None, reference: str) -> list[str]:
    value = estimate(record.metrics[metric])
    step_seconds = estimate(record.metrics["step_seconds"])[0]
    load = record.workload
    tokens = load["tokens"] if "tokens" in load else load["batch"] * load["output_tokens"]
    against = "" if base is None else "1" if record.path == reference else interval(ratio(value, base))
    engine_step = f"{estimate(record.metrics['engine_step_seconds'])[0] * 1e3:.2f} ms"
    return [interval(value, metric), f"{tokens / step_seconds:.0f}", engine_step, against]


def pipe_table(result: Mapping[str, Any]) -> str:
    """Rows are payloads, columns paths: median and 99th percentile of a round trip."""
    paths: Mapping[str, Mapping[str, Any]] = result["paths"]
    lines: list[str] = []
    sizes = sorted({int(size) for cells in paths.values() for size in cells})
    columns = [
        [path, *(_median_and_tail(cells[str(size)]) for size in sizes)] for path, cells in paths.items()
    ]
    if columns:
        first = ["p50 / p99", *(payload(size) for size in sizes)]
        for block in _fitting(first, columns):
            titles, *rows = (list(row) for row in zip(first, *block, strict=True))
            lines += [""] * bool(lines) + aligned(titles, rows, right=range(1, len(titles)))
    for status in ("absent", "failed"):
        for path, reason in result.get(status, {}).items():
            lines += [""] * bool(lines)
            lines.append(_clipped(f"{path}{_GAP}{status}: {_first_line(reason)}"))
            if "\n" in reason or len(lines[-1]) == WIDTH:
                lines += _indented(reason)
    return "\n".join(lines)


def payload(size: int) -> str:
    """A payload's size: "64 B", "16 KiB", "1 MiB"."""
    if size < 1024:
        return f"{size} B"
    return f"{size / 1024:g} KiB" if size < 1024**2 else f"{size / 1024**2:g} MiB"


def _median_and_tail(cell: Mapping[str, Any]) -> str:
    return f"{quantity(cell['p50_seconds'], 'p50_seconds')} / {quantity(cell['p99_seconds'], 'p99_seconds')}"


def _fitting(first: list[str], columns: list[list[str]]) -> list[list[list[str]]]:
    """Columns in blocks that fit beside the first one."""
    blocks: list[list[list[str]]] = [[]]
    used = start = max(map(len, first))
    for column in columns:
        width = len(_GAP) + max(map(len, column))
        if blocks[-1] and used + width > WIDTH:
            blocks.append([])
            used = start
        blocks[-1].append(column)
        used += width
    return blocks


def _group(record: Record) -> tuple:
    load = record.workload
    return record.preset, record.tensor_parallel_size, load.get("name"), load["batch"]


def aligned(titles: list[str], rows: list[list[str]], right: Sequence[int]) -> list[str]:
    """Lines of a table, the columns `right` set to the right.

    A row with fewer cells than titles ends with free text, which may run on.
    """
    table = [titles, *rows]
    aligned = [row if len(row) == len(titles) else row[:-1] for row in table]
    widths = [max(len(row[i]) for row in aligned if i < len(row)) for i in range(len(titles))]
    lines = []
    for row, cells in zip(table, aligned, strict=True):
        placed = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=False))
        ]
        lines.append(_clipped(_GAP.join([*placed, *row[len(cells) :]]).rstrip()))
    return lines


def _reasons(records: Sequence[Record]) -> list[str]:
    """Whole reasons, where a row cannot hold them; each once."""
    lines: list[str] = []
    told: set[str] = set()
    for record in records:
        reason = record.reason or ""
        if record.status != "measured" and reason not in told:
            told.add(reason)
            if "\n" in reason or len(reason) > WIDTH * 2 // 3:
                lines += ["", f"{record.path} {record.status}:", *_indented(reason)]
    return lines


def _indented(reason: str) -> list[str]:
    wrapped = [
        part
        for line in reason.splitlines()
        for part in textwrap.wrap(line, WIDTH - 4, subsequent_indent="  ") or [""]
    ]
    return [f"    {line}".rstrip() for line in wrapped[: _REASON_LINES * 2]]


def _first_line(reason: str | None) -> str:
    return (reason or "no reason was given").splitlines()[0]


def _clipped(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"
