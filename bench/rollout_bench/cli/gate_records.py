"""What a gate measures: sessions of two builds, every record of which is kept and held against its build."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..gate.verdicts import Question
from ..measure.equal_work import work
from ..measure.process import Interpreter
from ..measure.session import Contestant, run_session
from ..measure.tracked import Tracked
from ..measure.workload import Workload
from ..report.estimate import spoilt_rounds
from ..report.reasons import first_line
from ..schema.metrics import STEP
from ..schema.record import MEASURED
from .checkout import provenance
from .console import say

_ROUNDS, _WARMUPS = 10, 2
"""Of a session. They take about as long as its engines to start."""

_COUNTED = 1, 0
"""Where counts alone are judged: they are of a rollout of their own."""


class Records:
    """Measures both builds by the harness, and keeps every record as soon as its session is over."""

    def __init__(
        self,
        built: Mapping[str, Any],
        engines: Tracked,
        loads: Sequence[Workload],
        question: Question,
        file: Path,
    ) -> None:
        self._built = built
        self._engines = engines
        self._workloads = loads
        self._rounds = (_ROUNDS, _WARMUPS) if question.timings else _COUNTED
        self._timeline = STEP in question.timings
        self._file = file
        self._first: dict[tuple[str, str], Any] = {}
        self._spoilt = 0

    def measure(self, paths: Sequence[str], seconds: float) -> list[Any]:
        """One session of base and head of each path; it may take that many seconds."""
        contestants = [
            Contestant(path, name, Interpreter(build.python, build.variables), {"commit": build.commit})
            for path in paths
            for name, build in self._built.items()
        ]
        records = run_session(
            self._engines.preset,
            contestants,
            self._workloads,
            *self._rounds,
            say,
            self._engines.tensor_parallel_size,
            provenance=provenance(),
            arguments=dict(self._engines.engine_arguments),
            sized_for=self._engines.workloads,
            deadline_seconds=seconds,
            timeline=self._timeline,
        )
        records = [_of_build(record, self._built[record.provenance["side"]]) for record in records]
        with self._file.open("a") as file:
            file.write("".join(f"{record.to_json()}\n" for record in records))
        for record in records:
            side, load = record.provenance["side"], record.workload
            case = f"{record.way} {load['name']} {load['batch']}"
            if record.status == MEASURED:
                self._first.setdefault((side, case), record)
                self._spoilt += spoilt_rounds(record)
            else:
                say(f"{side} {case}: {record.status}: {first_line(record.reason or '')}")
        return records

    def notes(self) -> list[str]:
        """What verdicts are to be read with: a busy host, and builds that differ in more than speed."""
        busy = f"a busy host: others had its cores or GPU in {self._spoilt} of the rounds that were judged"
        return [busy] * (self._spoilt > 0) + self._differences()

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
