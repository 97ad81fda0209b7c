"""Why there is no value: in the line of a table, and whole below it. Pure."""

from collections.abc import Iterable

from ..schema.record import MEASURED, Record
from .table import width, wrapped

_MOST_LINES = 30


def first_line(reason: str | None) -> str:
    """The first line of a reason, which a row can hold."""
    return (reason or "no reason was given").splitlines()[0]


def whole_reasons(records: Iterable[Record]) -> list[str]:
    """Whole reasons, where a row cannot hold them; each once."""
    lines: list[str] = []
    shown: set[str] = set()
    for record in records:
        reason = record.reason or ""
        if record.status != MEASURED and reason not in shown:
            shown.add(reason)
            if "\n" in reason:
                lines += ["", f"{record.way} {record.status}:", *indented(reason)]
    return lines


def indented(reason: str) -> list[str]:
    """A reason's lines, set in and wrapped."""
    parts = [part for line in reason.splitlines() for part in wrapped(line, width() - 4).splitlines() or [""]]
    return [f"    {line}".rstrip() for line in parts[:_MOST_LINES]]
