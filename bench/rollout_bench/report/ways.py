"""Where the time of a request goes between who submits it and the engine, and what that costs whom. Pure."""

from collections.abc import Sequence

from ..schema.record import Record
from .idle import medians_table
from .numbers import quantity

PARTS = {
    "to_front_seconds": "to front",
    "way_in_seconds": "to queue",
    "in_engine_seconds": "in engine",
    "way_back_seconds": "back",
    "first_seen_p50_seconds": "1st seen",
    "first_seen_p99_seconds": "p99",
}
COSTS = {
    "caller_cpu_seconds": "caller CPU",
    "front_cpu_seconds": "front CPU",
    "caller_lag_seconds": "caller late",
    "front_lag_seconds": "front late",
    "entry_bytes": "bytes",
}


def way_table(records: Sequence[Record]) -> str:
    """One row a measured record, medians: until a request is at the front, and in the engine's queue, how
    long it is in the engine, and back; of what streams when whoever submitted it had its first tokens.

    Nothing where all are behind the local entry, and none streams.
    """
    caption = "the way of a request, medians, since it was submitted; in the engine and back from there"
    return _shown(caption, PARTS, records)


def cost_table(records: Sequence[Record]) -> str:
    """The same of what a request costs whom, and how late their event loops are."""
    return _shown("what a request costs caller and front, and how late they are, medians", COSTS, records)


def _shown(caption: str, titles: dict[str, str], records: Sequence[Record]) -> str:
    """A table of the metrics that any record has."""
    if not any(record.entry or "first_seen_p50_seconds" in record.metrics for record in records):
        return ""
    there = [name for name in titles if any(record.metrics.get(name) for record in records)]

    def cells(values: dict[str, float]) -> list[str]:
        return [quantity(values[name], name) if name in values else "" for name in there]

    return medians_table(caption, ["path", "batch", *(titles[name] for name in there)], records, cells)
