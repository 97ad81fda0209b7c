"""What a gate measures: sessions of two builds, every record of which is kept and held against its build."""

import argparse
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..gate.verdicts import Question
from ..measure import machine
from ..measure.alone import Say
from ..measure.equal_work import work
from ..measure.lanes import Lane, in_each, most, split
from ..measure.process import Interpreter
from ..measure.session import Contestant, run_session
from ..measure.tracked import Tracked
from ..measure.workload import Workload
from ..report.estimate import spoilt_rounds
from ..report.reasons import first_line
from ..schema.metrics import STEP
from ..schema.record import MEASURED, engines
from .checkout import provenance
from .console import PASSING, say

_ROUNDS, _MOST_ROUNDS, _WARMUPS = 10, 20, 2
"""Of a session. Beyond ten rounds they take as long as its engines took to start: with 0.5B on a GPU rollouts
differ by more than engines do, so more rounds of a session tell more than more sessions."""

_COUNTED = 1, 1, 0
"""Where counts alone are judged: they are of a rollout of their own."""


def at_once_argument(parser: argparse.ArgumentParser) -> None:
    """Declare what `lanes_of` takes."""
    parser.add_argument(
        "--at-once",
        type=int,
        metavar="N",
        help="sessions that are up at once, each with GPUs of its own and a share of the cores "
        "(default: as many as the GPUs hold; 1 without a GPU)",
    )


def lanes_of(at_once: int | None, engine: Tracked, question: Question) -> list[Lane]:
    """A lane for each session of so many at once, or of as many as have GPUs; counts are known from one.

    Raises UsageError where there is no room for as many.
    """
    stages = int(engine.engine_arguments.get("pipeline_parallel_size", 1))
    each = engine.tensor_parallel_size * stages * max(map(engines, question.paths))
    room, gpus = most(each), len(machine.gpus())
    if at_once is not None and not 1 <= at_once <= room:
        takes = f"each session takes {each} of {gpus} GPUs, and" if gpus else "each session takes"
        raise UsageError(f"--at-once is {at_once}; give 1 to {room}: {takes} a core of its own")
    count = (room if gpus else 1) if at_once is None else at_once
    return split(count if question.timings else 1, each)


class Records:
    """Measures both builds by the harness, and keeps every record as soon as its session is over."""

    def __init__(
        self,
        built: Mapping[str, Any],
        engines: Tracked,
        loads: Sequence[Workload],
        question: Question,
        file: Path,
        lanes: Sequence[Lane],
    ) -> None:
        self._lanes = lanes
        self._lock = threading.Lock()
        self._built = built
        self._engines = engines
        self._workloads = loads
        self._rounds, self._most_rounds, self._warmups = (
            (_ROUNDS, _MOST_ROUNDS, _WARMUPS) if question.timings else _COUNTED
        )
        self._timeline = STEP in question.timings
        self._file = file
        self._first: dict[tuple[str, str], Any] = {}
        self._spoilt = 0
        self._corrected = False

    def measure(self, paths: Sequence[str], seconds: float) -> list[list[Any]]:
        """In each lane one session of base and head of each path; it may take that many seconds."""
        return in_each(self._lanes, lambda lane: self._session(lane, paths, seconds))

    def _session(self, lane: Lane, paths: Sequence[str], seconds: float) -> list[Any]:
        def say_here(text: str) -> None:
            if lane.of == 1:
                say(text)
            elif lane.number == 1 or not text.endswith(PASSING):  # a view shows one of them
                say(f"{lane.name}: {text}")

        contestants = [
            Contestant(path, name, Interpreter(build.python, build.variables), {"commit": build.commit})
            for path in paths
            for name, build in self._built.items()
        ]
        records = run_session(
            self._engines.preset,
            contestants,
            self._workloads,
            self._rounds,
            self._warmups,
            say_here,
            self._engines.tensor_parallel_size,
            provenance={**provenance(), **lane.provenance},
            arguments=dict(self._engines.engine_arguments),
            sized_for=self._engines.workloads,
            deadline_seconds=seconds,
            lane=lane,
            most_rounds=self._most_rounds,
            timeline=self._timeline,
        )
        records = [_of_build(record, self._built[record.provenance["side"]]) for record in records]
        with self._lock:
            self._keep(records, say_here)
        return records

    def _keep(self, records: Sequence[Any], say: Say) -> None:
        with self._file.open("a") as file:
            file.write("".join(f"{record.to_json()}\n" for record in records))
        for record in records:
            side, load = record.provenance["side"], record.workload
            case = f"{record.way} {load['name']} {load['batch']}"
            if record.status == MEASURED:
                self._first.setdefault((side, case), record)
                self._spoilt += spoilt_rounds(record)
                self._corrected |= record.comparable(STEP) != [*record.metrics.get(STEP, ())]
            else:
                say(f"{side} {case}: {record.status}: {first_line(record.reason or '')}")

    def notes(self) -> list[str]:
        """What verdicts are to be read with: a busy host, slower cores, builds that differ beside speed."""
        busy = f"a busy host: others had its cores or GPU in {self._spoilt} of the rounds that were judged"
        slower = "changes of step time are corrected for slower cores, base and head are as measured"
        notes = [(busy, self._spoilt > 0), (slower, self._corrected and self._timeline)]
        return [note for note, holds in notes if holds] + self._differences()

    def _differences(self) -> list[str]:
        """In what the live processes of the two builds differed, other than in speed."""
        found: dict[str, list[str]] = {}
        for (name, case), record in self._first.items():
            other = self._first.get(("head", case))
            if name == "base" and other is not None:
                before, after = work(record), work(other)
                for fact in sorted({*before, *after}):
                    if before.get(fact) != after.get(fact):
                        change = f"{fact} {before.get(fact)!r} -> {after.get(fact)!r}"
                        found.setdefault(change, []).append(case)
        return [f"the engines differ in {change} ({', '.join(cases)})" for change, cases in found.items()]


def _of_build(record: Any, build: Any) -> Any:
    """The record, failed where what it measured did not come from the build's environment."""
    found = record.observed.get("sut")
    if record.status != MEASURED or Path(found).resolve().is_relative_to(build.folder):
        return record
    return record.failed(f"measured {found}, which is not the {build.name}'s environment {build.folder}")
