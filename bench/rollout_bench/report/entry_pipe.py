"""The entries alone as text: a row an entry and number of requests in flight. Pure."""

from collections.abc import Mapping
from typing import Any

from ..schema.record import ABSENT, FAILED
from .numbers import number
from .reasons import first_line
from .table import GAP, table, wrapped

_TITLES = ["entry", "in flight", "requests/s", "tokens/s", "caller CPU, µs per request", "front CPU"]

_CAPTION = "entries alone, medians over blocks, before an engine without a model, whose time is not in it"


def entry_table(result: Mapping[str, Any]) -> str:
    """Medians over blocks; and why an entry has none."""
    tokens = result.get("work", {}).get("output_tokens", 0)
    rows = [
        [
            name,
            size,
            number(one["requests_per_second"]),
            number(one["requests_per_second"] * tokens),
            number(one["caller_cpu_seconds"] * 1e6),
            number(one["front_cpu_seconds"] * 1e6) if "front_cpu_seconds" in one else "",
        ]
        for name, by_size in result["entries"].items()
        for size, one in by_size.items()
    ]
    lines = [table(_TITLES, rows, right=range(1, len(_TITLES)), caption=_CAPTION)] if rows else []
    for status in (ABSENT, FAILED):
        for name, reason in (result.get(status) or {}).items():
            lines.append(wrapped(f"{name}{GAP}{status}: {first_line(reason)}"))
    return "\n".join(lines)
