"""What is shown of records beside their step times: a table for each kind of value that they have. Pure."""

from collections.abc import Sequence

from ..schema.record import Record
from .idle import (
    idle_table,
    interruption_table,
    sleep_table,
    stage_table,
    steady_table,
    tail_table,
    turn_table,
)
from .replicas import replica_table
from .saturation import saturation_table
from .ways import cost_table, way_table

_TABLES = (
    saturation_table,
    tail_table,
    steady_table,
    turn_table,
    interruption_table,
    sleep_table,
    idle_table,
    stage_table,
    way_table,
    cost_table,
    replica_table,
)


def shown(records: Sequence[Record]) -> list[str]:
    """The tables that have something to say of these records."""
    return [text for one in _TABLES if (text := one(records))]
