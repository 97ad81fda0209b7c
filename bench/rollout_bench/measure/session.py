"""Measures contestants side by side: all engines are up at once, their rollouts interleaved in rounds.

    contestants = [Contestant("vllm-mp"), Contestant("zmq")]
    records = run_session("qwen2.5-0.5b", contestants, fixed("qwen2.5-0.5b", [64]), 20, 3)

A host that others share drifts by more than paths differ, from minute to minute and from one engine
start to another. Two rollouts a second apart see the same host: the ratio of neighbours is what can
be trusted. Sample i of every record comes from round i. Workers of
contestants that wait are stopped: those of vLLM's own executors spin for a second after their last call, and
would take a core from the contestant that generates, or half of one where two threads share it.

Contestants may be of several builds, such as two commits in an environment each. Standard library only: asv's
own processes do not see what ASV_PYTHONPATH provides.
"""

import os
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..schema.record import FAILED, Record, Status, engines, now, path_and_entry, read_records
from .equal_work import check_equal_work
from .lanes import Lane
from .process import Interpreter, run_module
from .sizing import session_arguments
from .workload import Workload, unmeasured

_START_DEADLINE_SECONDS = 600.0
_STEP_DEADLINE_SECONDS = 120.0

REPEAT_SHARE = 0.5
"""At most so many more rounds, as a share of those of a workload, come in place of those that others spoilt:
a burst passes, and what lasts is to be told, not waited for."""


@dataclass(frozen=True)
class Contestant:
    """A path of a build, behind an entry; or another's system."""

    way: str
    """Its path, with the entry before it as `schema.record.way` has it."""
    build: str = ""
    """The build's name, where there is more than one: it goes into the record's provenance, as `side`."""
    interpreter: Interpreter | None = None
    """The Python that has the build, where it is not this one."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What is known of the build, such as its commit."""


def run_session(
    preset: str,
    contestants: Sequence[Contestant],
    workloads: Sequence[Workload],
    rounds: int,
    warmups: int,
    say: Callable[[str], None],
    tensor_parallel_size: int = 1,
    **more: Any,
) -> list[Record]:
    """One session: one engine start a contestant, `rounds` timed rollouts of each at each workload, after one
    that is counted exactly and `warmups` others. `more` is of `attempt`.

    Every case comes back as a record: measured, absent or failed. A contestant that breaks leaves the
    session. The paths of a build do equal work; what differs between builds is for the caller to say.
    """
    records, reason = attempt(
        preset, contestants, workloads, rounds, warmups, say, tensor_parallel_size, **more
    )
    found = []
    for build in dict.fromkeys(one.build for one in contestants):
        own = [record for record in records if record.provenance.get("side", "") == build]
        for one in contestants:
            if one.build == build:
                known = (more.get("provenance") or {}) | _provenance(one)
                own += lost(one.way, preset, tensor_parallel_size, workloads, own, known, reason)
        found += check_equal_work(own)
    return found


def attempt(
    preset: str,
    contestants: Sequence[Contestant],
    workloads: Sequence[Workload],
    rounds: int,
    warmups: int,
    say: Callable[[str], None],
    tensor_parallel_size: int = 1,
    provenance: dict[str, Any] | None = None,
    arguments: dict[str, Any] | None = None,
    deadline_seconds: float = 1800.0,
    keep: Path | None = None,
    most_rounds: int = 0,
    repeat_share: float = REPEAT_SHARE,
    sized_for: Sequence[Workload] | None = None,
    lane: Lane | None = None,
    **options: Any,
) -> tuple[list[Record], str]:
    """A session's records as they came, not held against each other, and why others did not.

    `provenance` is what the caller knows of where this runs; `arguments` are added to vLLM's engine
    arguments of every contestant. The records' provenance names the session. Progress goes to `say`, a line
    at a time. The file `keep` gains the records of each workload as soon as its rounds are over. `options`
    are those of `case.OPTIONS`. Where timed rounds take less time than the engines took to start, there are
    more of them, up to `most_rounds` of each workload. Rounds that others on the host have spoilt come again,
    up to `repeat_share` of those that were asked for; records hold the host's state by round, and mark those
    that count nevertheless. Engines are as large as `sized_for` needs, where that is more than the workloads.
    The session has the cores and GPUs of the lane, where there is one, and not the whole host.
    """
    up = sum(engines(one.way) for one in contestants)
    sizing = preset, tensor_parallel_size, sized_for or workloads, up
    shared = session_arguments(*sizing, arguments or {})
    known = (provenance or {}) | {"session": uuid.uuid4().hex[:12]}
    requests = [
        {
            **dict(zip(("path", "entry"), path_and_entry(one.way), strict=True)),
            "build": one.build,
            "folder": os.environ.get("ASV_CONF_DIR") or os.getcwd(),
            "preset": preset,
            "tensor_parallel_size": tensor_parallel_size,
            "workloads": [vars(workload) for workload in workloads],
            "warmups": warmups,
            "rollouts": rounds,
            "options": options,
            "start_deadline_seconds": min(_START_DEADLINE_SECONDS, deadline_seconds),
            "step_deadline_seconds": _STEP_DEADLINE_SECONDS,
            "engine_arguments": shared,
            "provenance": known | _provenance(one),
        }
        for one in contestants
    ]
    here = Interpreter(sys.executable, os.environ)
    interpreters = {one.build: _in_lane(one.interpreter or here, lane) for one in contestants}
    asked = {
        "requests": requests,
        "interpreters": {build: vars(interpreter) for build, interpreter in interpreters.items()},
        "keep": keep and str(keep.resolve()),
        "most_rounds": most_rounds,
        "repeats": int(rounds * repeat_share),
    }
    orders = "rollout_bench.measure.rounds"
    outcome = run_module(orders, asked, say, deadline_seconds, _in_lane(here, lane), lane)
    return read_records(outcome.answer), outcome.reason or "the process left no record of it"


def lost(
    way: str,
    preset: str,
    tensor_parallel_size: int,
    workloads: Sequence[Workload],
    found: Sequence[Record],
    provenance: dict[str, Any],
    reason: str,
) -> list[Record]:
    """A failed record of a way at every workload that `found` has no record of.

    Of a reason with what the session's process said last, the line about this very contestant comes first.
    """
    name = " ".join(filter(None, (provenance.get("side"), way)))
    about = [line for line in reason.splitlines() if line.startswith(f"{name} did not ")]
    left = unmeasured(workloads, (record for record in found if record.way == way))
    return without_values(
        way, preset, tensor_parallel_size, left, FAILED, "\n".join([*about[:1], reason]), provenance
    )


def without_values(
    way: str,
    preset: str,
    tensor_parallel_size: int,
    workloads: Sequence[Workload],
    status: Status,
    reason: str,
    provenance: dict[str, Any],
) -> list[Record]:
    """An absent or failed record of a path at every workload."""
    path, entry = path_and_entry(way)
    provenance = provenance | {"measured_at": now()}
    return [
        Record(
            path,
            preset,
            tensor_parallel_size,
            load.as_dict(),
            status,
            reason,
            provenance=provenance,
            entry=entry,
        )
        for load in workloads
    ]


def _in_lane(interpreter: Interpreter, lane: Lane | None) -> Interpreter:
    return replace(interpreter, variables={**interpreter.variables, **(lane.variables if lane else {})})


def _provenance(one: Contestant) -> dict[str, Any]:
    return one.provenance | ({"side": one.build} if one.build else {})
