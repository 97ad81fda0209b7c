"""Pools the replicates of a case, each of a session of its own, into one record. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..schema.record import MEASURED, Record


def pool(replicates: Sequence[Sequence[Record]]) -> list[Record]:
    """One record a case: the samples of all replicates that were measured, one after the other.

    Each replicate has the same cases in the same order. A case that none has measured is as the last one left
    it; what failed in some is left out, and observed["replicates_left_out"] says why.
    """
    return [_pooled(records) for records in zip(*replicates, strict=True)]


def _pooled(records: Sequence[Record]) -> Record:
    measured = [record for record in records if record.status == MEASURED]
    if len(records) == 1 or not measured:
        return records[-1]
    first = measured[0]
    observed: dict[str, Any] = {
        "engine_starts": sum(record.observed["engine_starts"] for record in measured),
        "rollouts": sum(record.observed["rollouts"] for record in measured),
    }
    if hosts := [one.observed["host"] for one in measured if "host" in one.observed]:
        observed["host"] = hosts[0] | {
            "rounds": {
                name: [fact for host in hosts for fact in host["rounds"][name]] for name in hosts[0]["rounds"]
            },
            **{name: sum(host[name] for host in hosts) for name in ("spoilt", "repeated")},
        }
    if lost := [record.reason for record in records if record.status != MEASURED]:
        observed["replicates_left_out"] = lost
    if controls := [one.observed["control"] for one in measured if "control" in one.observed]:
        steps = [step for control in controls for step in control["step_seconds"]]
        observed["control"] = controls[0] | {"step_seconds": steps}
    return replace(
        first,
        metrics={
            name: [sample for record in measured for sample in record.metrics.get(name, ())]
            for name in dict.fromkeys(name for record in measured for name in record.metrics)
        },
        observed=first.observed | observed,
    )
