"""What becomes of the cases of a contestant that is a path: an engine, with the probe in its workers."""

import asyncio
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..schema import variables
from ..schema.record import ABSENT, FAILED, LOCAL, STICKY, WayIn, way
from . import drive, machine, probe, timeline
from . import gated as exact
from .arrival import TRACE
from .case import Cases, Up
from .door import Door, NoDoor, door_entries, facts, interrupts, lacks, open_door, sleeps, takes_replicas
from .interruption import by_trainer, interruption_metrics, to_sleep, updates
from .samples import rollout_metrics
from .steady import NotSteady, steady_metrics
from .submit import Rolled, run_rollout
from .worker_facts import pids_here
from .workload import Workload


class EngineCases(Cases):
    """The cases of a path."""

    _watch: drive.Watch

    @property
    def absent(self) -> dict[str, str]:
        return self._watch.absent

    def run(self) -> None:
        try:
            door = open_door()
        except NoDoor as error:
            return self.all_done(ABSENT, str(error))
        if reason := why_absent(door, self.request):
            return self.all_done(ABSENT, reason)
        for load in self._workloads:
            if reason := refusal(door, self.path, load):
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
            pids = pids_here(workers)
            elsewhere = len(workers) - len(pids)
            watch = self._watch = drive.Watch(rollout, found, pids, elsewhere)
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
            stopped = [pid for pid in pids if pid not in (os.getpid(), *watch.engine_pids)]
            processes = list(dict.fromkeys([*watch.fronts, *watch.engine_pids, *stopped]))
            await self._take_orders(up, stopped, processes)

    async def _count(self, engine: Up, workload: Workload, number: int) -> exact.Exact:
        if updates(workload.interrupt):
            await engine.rollout.call_workers("probe_prepare_update", by_trainer(workload.interrupt))
        return await exact.count(engine.rollout, engine.forced, workload, self._watch, number)

    async def _timed(self, engine: Up, workload: Workload, number: int) -> tuple[Rolled, dict[str, float]]:
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

    async def _inspected(self, engine: Up, workload: Workload, rollouts: int) -> dict[str, Any]:
        observed: dict[str, Any] = {}
        ahead = (await facts(engine.rollout)).get("counters", {}).get("steps_ahead")
        if ahead is not None:
            observed["steps_ahead"] = ahead
        if self._way_in.replicas > 1:
            observed["replicas"] = await self._watch.replicas()
        if self.options["compare_probe"]:
            observed["probe"] = await drive.compare_probe(
                engine.rollout, engine.forced, workload, self._watch, rollouts, self.say
            )
        if self.options["profile"]:
            prefix = f"{way(self.path, self.entry)}-{self.request['preset']}-{workload.name}-{workload.batch}"
            observed["traces"] = await drive.profile(
                engine.rollout, engine.forced, workload, Path(self.options["profile"]) / Path(prefix).name
            )
        return observed

    def too_large(self, workload: Workload) -> str | None:
        # A batch is to run at once, but where the limit is sought, or samples wait for others anyway.
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


def why_absent(door: Door, request: dict[str, Any]) -> str | None:
    """Why this commit or this machine has none of the cases of a request; None where it has them."""
    path, size = request["path"], request["tensor_parallel_size"]
    way_in = WayIn.of(request.get("entry"))
    try:
        gpus = machine.gpus()
    except machine.GpusUnknown as error:
        return str(error)
    if path not in door.TRANSPORTS:
        return f"this commit has no path {path!r}; it has {', '.join(door.TRANSPORTS)}"
    if request["preset"] not in door.PRESETS and not Path(request["preset"]).is_dir():
        return f"this commit has no preset {request['preset']!r}"
    if gpus and size > len(gpus) and "nodes" not in request["engine_arguments"]:
        return f"a tensor-parallel size of {size} needs as many GPUs; {len(gpus)} can be used here"
    if way_in.replicas > 1 and not takes_replicas(door):
        return "this commit has one engine in a rollout and no replicas"
    if (entry := way_in.entry) != LOCAL:
        entries = door_entries(door)
        if entry not in entries:
            return f"this commit has no entry {entry!r}; it has {', '.join(entries or [LOCAL])}"
        if reason := entries[entry].absent():
            return reason
    return door.TRANSPORTS[path].absent(bool(gpus))


def refusal(door: Door, path: str, load: Workload) -> str | None:
    """Why a workload is not measured over a path of this commit, on this machine; None where it is."""
    if not load.is_batch and door.TRANSPORTS[path].in_process:
        return "it takes a batch at a time: no request can arrive while others run"
    if load.interrupt and not interrupts(door):
        return "this commit's rollouts cannot be interrupted"
    if to_sleep(load.interrupt) and not sleeps(door):
        return "this commit's rollouts cannot sleep"
    if to_sleep(load.interrupt) and not machine.gpus():
        return "vLLM's sleep mode gives a GPU's memory back, and there is none here"
    if by_trainer(load.interrupt) and not machine.gpus():
        return "a trainer hands its weights over in a GPU's memory, and there is none here"
    return lacks(door, load.asked)


def _asked(way_in: WayIn) -> dict[str, Any]:
    """What `open_rollout` is asked for of what older commits do not know."""
    entry = {} if way_in.entry == LOCAL else {"entry": way_in.entry}
    return entry | ({} if way_in.replicas == 1 else {"replicas": way_in.replicas, "routing": way_in.routing})
