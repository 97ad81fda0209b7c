"""What is read of the processes of an engine before and after each rollout, outside the time that is taken.

Between rollouts nothing is in flight.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .door import Facts, Rollout, facts, loop_lags
from .roofline import Device, device, floor_seconds
from .samples import Counts
from .submit import run_rollout
from .timeline import Stamps
from .workload import Workload

PROFILED_STEPS = 8


_WIRE_SECONDS = ("encode_seconds", "send_seconds", "wait_seconds", "receive_seconds", "decode_seconds")
"""Counters of a transport; older commits do not have all of them."""


class Watch:
    """Reads the processes of one engine: steps, CPU time, memory, bytes on the wire."""

    def __init__(self, rollout: Rollout, found: Facts, worker_pids: list[int], elsewhere: int = 0):
        self._rollout = rollout
        self.engine_pids = _engine_pids()
        own = found.get("replicas", [found])
        self._replicas = len(own)
        self.fronts = list(
            dict.fromkeys(
                [
                    os.getpid(),
                    *(one[name] for one in own for name in ("front_pid", "router_pid") if name in one),
                ]
            )
        )
        """The processes that a request passes before it reaches the engine."""
        self._pids = sorted({*self.fronts, *self.engine_pids, *worker_pids})
        self._leads: list[dict[str, Any]] = []
        self._workers = [pid for pid in worker_pids if pid not in (os.getpid(), *self.engine_pids)]
        self._counts_entry = "entry_carried" in found
        self.elsewhere = elsewhere
        """How many workers are on other hosts, and not among those processes."""
        self.counts_wire = "counters" in found
        self.engine = found["engine"]
        """The engine's resolved settings."""
        self.device: Device | None = None
        self.absent: dict[str, str] = {}
        """Why a kind of metric has no values."""
        if elsewhere:
            self.absent["host memory"] = f"{elsewhere} of the workers are on other hosts"
        self._stamps: Stamps | None = None

    async def look_at_device(self) -> None:
        """Measure what bounds the steps of the slowest worker, for the roofline; once, before the load."""
        found = [json.loads(reply) for reply in await self._rollout.call_workers("probe_device")]
        try:
            for one in found:
                if "unknown" in one:
                    raise ValueError(one["unknown"])
            slowest = min(found, key=lambda one: one["bandwidth_bytes_per_second"])
            self.device = device(**slowest, tensor_parallel_size=len(found))
        except ValueError as error:
            self.absent["roofline"] = str(error)

    async def note_stages(self, file: Path) -> None:
        """Take the stages of engine steps from now on; the scheduler notes its stamps in the file."""
        await self._rollout.call_workers("probe_stamp")
        self._stamps = Stamps(file)

    async def begin(self) -> None:
        """Start counting anew."""
        if self._stamps is not None:
            self._stamps.begin()
        await self._rollout.call_workers("probe_begin")
        forget_peaks(self._pids)
        self._wire = await self._counters()
        await loop_lags(self._rollout, True)
        self._carried = await self._entry_bytes()
        self._cpu = sum(map(cpu_seconds, self.engine_pids))
        self._workers_cpu = sum(map(cpu_seconds, self._workers))
        self._fronts_cpu = [*map(cpu_seconds, self.fronts)]

    async def end(self, workload: Workload) -> Counts:
        """What was counted since `begin`, during one rollout of a workload."""
        caller, *fronts = (
            cpu_seconds(pid) - cpu for pid, cpu in zip(self.fronts, self._fronts_cpu, strict=True)
        )
        cpu = sum(map(cpu_seconds, self.engine_pids)) - self._cpu
        workers_cpu = sum(map(cpu_seconds, self._workers)) - self._workers_cpu
        entry_bytes = await self._entry_bytes()
        lags = await loop_lags(self._rollout, False)
        wire = await self.carried()
        wants_steps = [] if workload.is_batch else [True]
        replies = await self._rollout.call_workers("probe_end", *wants_steps)
        workers = [json.loads(reply) for reply in replies]
        gpu = [worker["gpu_peak_bytes"] for worker in workers if worker["gpu_peak_bytes"] is not None]
        self._leads = workers[:: len(workers) // self._replicas]
        steps = round(sum(lead["engine_steps"] for lead in self._leads) / self._replicas)
        for worker in workers:
            if worker["untimed"]:
                self.absent["idle"] = worker["untimed"]
        return Counts(
            engine_steps=steps,
            engine_cpu_seconds=cpu,
            caller_cpu_seconds=caller,
            front_cpu_seconds=sum(fronts) if fronts else None,
            worker_cpu_seconds=workers_cpu if self._workers else None,
            entry_bytes=None if entry_bytes is None else entry_bytes - (self._carried or 0),
            caller_lag_seconds=lags and lags[0],
            front_lag_seconds=max(lags[1], default=None) if lags else None,
            host_peak_bytes=None if self.elsewhere else peak_bytes(self._pids),
            gpu_peak_bytes=sum(gpu) if gpu else None,
            wire_bytes=wire.get("bytes"),
            wire_calls=wire.get("calls"),
            wire_seconds={f"wire_{name}": value for name, value in wire.items() if name in _WIRE_SECONDS},
            gpu_busy_seconds=_mean([worker["gpu_busy_seconds"] for worker in workers]),
            worker_busy_seconds=_mean([worker["worker_busy_seconds"] for worker in workers]),
            preemptions=self._sum("preemptions"),
            prompt_tokens=self._sum("prompt_tokens"),
            first_step=(workers[0]["first_step_requests"], workers[0]["first_step_tokens"]),
            cached_tokens=self._sum("cached_tokens") if self.engine["prefix_caching"] else None,
            stage_seconds=self._stage_seconds(workers[0]),
            block_tokens=self.engine["block_size"],
            steps=[worker["steps"] for worker in workers if worker.get("steps")],
            floor_seconds=None if self.device is None else floor_seconds(workload, steps, self.device),
        )

    def _sum(self, name: str) -> int | None:
        """A count over the replicas; None where one does not have it."""
        counts = [lead[name] for lead in self._leads]
        return None if None in counts else sum(counts)

    async def replicas(self) -> list[dict[str, Any]]:
        """Of each replica what it has had; of the last rollout its steps and its prefix cache's hits."""
        counted = ("engine_steps", "prompt_tokens", "cached_tokens")
        found = (await facts(self._rollout))["replicas"]
        last = [{name: lead[name] for name in counted} for lead in self._leads]
        return [one | {"last_rollout": its} for one, its in zip(found, last, strict=True)]

    def _stage_seconds(self, worker: dict[str, Any]) -> dict[str, float]:
        if self._stamps is None:
            return {}
        try:
            return self._stamps.stage_seconds(worker["stamps"])
        except ValueError as error:
            self.absent["timeline"] = str(error)
            return {}

    async def remove(self) -> None:
        """Take the probe out of the workers, until the next `begin`."""
        await self._rollout.call_workers("probe_remove")

    async def carried(self) -> dict[str, float]:
        """What the path has carried and spent since `begin`, by name; nothing where it does not count."""
        return {name: value - self._wire[name] for name, value in (await self._counters()).items()}

    async def _entry_bytes(self) -> int | None:
        return sum((await facts(self._rollout))["entry_carried"].values()) if self._counts_entry else None

    async def _counters(self) -> dict[str, float]:
        if not self.counts_wire:
            return {}
        counters = (await facts(self._rollout))["counters"]
        spent = {name: float(value) for name, value in counters.items() if name in _WIRE_SECONDS}  # type: ignore[arg-type]
        return spent | {
            "bytes": counters["sent_bytes"] + counters["received_bytes"],
            "calls": counters["calls"],
        }


async def compare_probe(
    rollout: Rollout,
    sampling: Callable[..., Any],
    workload: Workload,
    watch: Watch,
    rollouts: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Step times with and without the probe, `rollouts` of each, alternating; and the probe's own time.

    One engine start, and pairs that begin with either: what drifts or differs by start falls out. What
    noise still hides, the probe's own time for each engine step shows.
    """
    seconds: dict[str, list[float]] = {"on_step_seconds": [], "off_step_seconds": []}
    for number in range(rollouts):
        for name in sorted(seconds, reverse=bool(number % 2)):
            await (watch.begin() if name == "on_step_seconds" else watch.remove())
            seconds[name].append((await run_rollout(rollout, sampling, workload, number)).step_seconds)
        say(f"{workload.name} {workload.batch}: with and without the probe {number + 1}/{rollouts} …")
    await watch.begin()
    costs = [json.loads(reply) for reply in await rollout.call_workers("probe_cost")]
    return {**seconds, "seconds_for_each_step": max(costs)}


async def profile(
    rollout: Rollout, sampling: Callable[..., Any], workload: Workload, prefix: Path
) -> list[dict[str, str]]:
    """Trace some engine steps in the middle of one more rollout: for each worker a file, or a reason."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    middle = sum(workload.output_lengths()) // workload.batch // 2
    await rollout.call_workers("probe_profile_begin", max(1, middle), PROFILED_STEPS)
    await run_rollout(rollout, sampling, workload, 0)
    return [json.loads(reply) for reply in await rollout.call_workers("probe_profile_end", str(prefix))]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _engine_pids() -> list[int]:
    """The processes in which engines run: descendants that vLLM has titled so, or this one."""
    found = []
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"VLLM::EngineCore"):
                found.append(pid)
    return found or [os.getpid()]


def descendants(ancestor: int) -> list[int]:
    """Processes that one has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found = list(children.get(ancestor, ()))
    for pid in found:  # it grows meanwhile
        found += children.get(pid, ())
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process, those that have ended included, to the nanosecond."""
    return time.clock_gettime(((~pid) << 3) | 2)  # the clock id of another process, clock_getcpuclockid(3)


def forget_peaks(pids: Iterable[int]) -> None:
    """Have the peaks of resident memory begin anew."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_bytes(pids: Iterable[int]) -> int:
    """Peaks of resident memory, summed."""
    return sum(map(_peak_resident_bytes, pids))


def _peak_resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
