"""Measures cases: sessions one after another, until each case has a record.

    records = measure_cases("nano", ["vllm-mp", "zmq"], fixed("nano", [1, 8]))

is what asv's setup_cache, `rollout-perf measure` and `limit` call. Every case asked for comes back as a
record: measured, absent or failed. Standard library only: asv's own processes do not see what
ASV_PYTHONPATH provides.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..schema.record import ABSENT, FAILED, MEASURED, Record, engines, read_records
from .control import is_control, with_ratios
from .equal_work import check_equal_work
from .saturation import Search
from .session import Contestant, attempt, lost
from .sizing import at_once
from .workload import Workload, unmeasured

ROLLOUTS = 7
"""Timed rollouts of a case: two sets of 6 samples can never differ significantly in asv."""

_WARMUPS = 1
"""Beside the one that is counted."""

CASE_DEADLINE_SECONDS = 900.0


def measure_cases(
    preset: str,
    paths: Sequence[str],
    workloads: Sequence[Workload],
    tensor_parallel_size: int = 1,
    provenance: dict[str, Any] | None = None,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    rollouts: int = ROLLOUTS,
    arguments: dict[str, Any] | None = None,
    deadline_seconds: float = CASE_DEADLINE_SECONDS,
    keep: Path | None = None,
    controls: Sequence[Contestant] = (),
    **options: Any,
) -> list[Record]:
    """Measure every path at every workload, with one engine start a path: in one session all that find room.
    A path may have an entry with it, see `schema.record.way`.

    The file `keep` has the records of each workload as soon as it is done; those that it already has, from a
    run that was broken off, are not measured again. A path whose engine breaks at a workload gets another one
    for those after it. `deadline_seconds` are for each path. `controls` are in each session, and records have
    their ratio to the first, see `control.with_ratios`. The others are as `session.attempt` has them.
    """
    kept = kept_records(keep, preset, tensor_parallel_size, workloads)
    records = [one for one in kept if one.way in paths or is_control(one)]
    left = _left(paths, workloads, records, Search(options.get("until_limit_seconds")))
    room = at_once(preset, tensor_parallel_size, workloads) - len(controls) if left else 1
    most = max(1, room // max(map(engines, paths), default=1))
    while left:
        group = [path for path in paths if left.get(path) == next(iter(left.values()))][:most]
        loads = left[group[0]]
        found, reason = attempt(
            preset,
            [*controls, *map(Contestant, group)],
            loads,
            rollouts,
            _WARMUPS,
            say,
            tensor_parallel_size,
            provenance,
            arguments,
            deadline_seconds * (len(group) + len(controls)),
            keep,
            sized_for=workloads,
            **options,
        )
        records += found
        for path in group:
            own = [one for one in found if one.way == path and not is_control(one)]
            if any(one.status == FAILED for one in own):  # it broke at a workload, and there may be more
                left[path] = unmeasured(loads, own)
            else:
                records += lost(path, preset, tensor_parallel_size, loads, own, provenance or {}, reason)
                left[path] = []
        left = {path: loads for path, loads in left.items() if loads}
    records = with_ratios(records)
    order = {workload.fingerprint(): number for number, workload in enumerate(workloads)}
    records.sort(key=lambda one: (paths.index(one.way), order[one.workload["fingerprint"]]))
    checked = check_equal_work(records)
    for record in checked:
        if record.status != MEASURED:
            reason = (record.reason or "").splitlines()[0]
            load = f"{record.workload['name']} {record.workload['batch']}"
            say(f"{record.way} {preset} {load}: {record.status}: {reason}")
    return checked


def _left(
    paths: Sequence[str], workloads: Sequence[Workload], kept: list[Record], search: Search
) -> dict[str, list[Workload]]:
    """The workloads that each path is still to be measured at; `kept` loses what is measured again.

    A search for the limit begins anew where it has not ended.
    """
    left = {}
    for path in paths:
        missing = unmeasured(workloads, (one for one in kept if one.way == path and not is_control(one)))
        if any(search.covers(load.name) for load in missing):
            missing = [load for load in workloads if load in missing or search.covers(load.name)]
        if missing:
            left[path] = missing
            again = {load.fingerprint() for load in missing}
            kept[:] = [
                one
                for one in kept
                if is_control(one) or (one.way, one.workload["fingerprint"] in again) != (path, True)
            ]
    return left


def kept_records(
    keep: Path | None, preset: str, tensor_parallel_size: int, workloads: Sequence[Workload]
) -> list[Record]:
    """What `keep` has measured, each case's last record, and what a search for the limit did not try."""
    if keep is None or not keep.exists():
        return []
    asked = {workload.fingerprint() for workload in workloads}
    found = {
        (record.way, _control_of(record), record.workload["fingerprint"]): record
        for record in read_records(keep.read_text())
        if (record.preset, record.tensor_parallel_size) == (preset, tensor_parallel_size)
        and record.workload["fingerprint"] in asked
    }
    measured = {case[:2] for case, record in found.items() if record.status == MEASURED}
    return [
        record
        for case, record in found.items()
        if record.status == MEASURED or (record.status == ABSENT and case[:2] in measured)
    ]


def _control_of(record: Record) -> tuple[str, ...]:
    """The session that a record is the control of, and its place there: each session's is kept."""
    return (record.provenance["session"], record.provenance["side"]) if is_control(record) else ()
