"""The pipe alone as text: rows are payloads, columns paths. Pure."""

from collections.abc import Mapping
from typing import Any

from ..schema.record import ABSENT, FAILED
from .numbers import payload, quantity
from .reasons import first_line, indented
from .table import GAP, table, width, wrapped

_CAPTION = "the pipe alone, a call and its reply without a model; not what of it shows in an engine step"


def pipe_table(result: Mapping[str, Any]) -> str:
    """Median and 99th percentile of a round trip, by payload and path; and why a path has none."""
    paths: Mapping[str, Mapping[str, Any]] = result["paths"]
    lines = [wrapped(_CAPTION)] if paths else []
    sizes = sorted({int(size) for by_size in paths.values() for size in by_size})
    columns = [
        [path, *(_median_and_tail(by_size[str(size)]) for size in sizes)] for path, by_size in paths.items()
    ]
    if columns:
        first = ["p50 / p99", *(payload(size) for size in sizes)]
        for block in _fitting(first, columns):
            titles, *rows = (list(row) for row in zip(first, *block, strict=True))
            lines += [""] * (len(lines) > 1) + [table(titles, rows, right=range(1, len(titles)))]
    for status in (ABSENT, FAILED):
        for path, reason in (result.get(status) or {}).items():
            lines += [""] * bool(lines)
            lines.append(wrapped(f"{path}{GAP}{status}: {first_line(reason)}"))
            if "\n" in reason:
                lines += indented(reason)
    return "\n".join(lines)


def _median_and_tail(measured: Mapping[str, Any]) -> str:
    return " / ".join(quantity(measured[name], name) for name in ("p50_seconds", "p99_seconds"))


def _fitting(first: list[str], columns: list[list[str]]) -> list[list[list[str]]]:
    """Columns in blocks that fit beside the first one."""
    blocks: list[list[list[str]]] = [[]]
    used = start = max(map(len, first))
    for column in columns:
        wide = len(GAP) + max(map(len, column))
        if blocks[-1] and used + wide > width():
            blocks.append([])
            used = start
        blocks[-1].append(column)
        used += wide
    return blocks
