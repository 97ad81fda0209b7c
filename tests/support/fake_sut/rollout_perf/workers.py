"""What answers the probe's calls: the harness's own probe around a worker that sleeps, or figures alone."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

from rollout_bench.measure.probe import Probe

STEP_SECONDS = 0.001
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 20.00 GiB"


class Counting:
    """Answers with figures: it counts engine steps and times nothing."""

    def __init__(self, pid: int, carrier: str, breaks_at: int):
        self.pid, self.carrier, self.breaks_at = pid, carrier, breaks_at
        self.steps = self.batch = 0

    def step(self, batch: int) -> None:
        """An engine step of a batch."""
        if batch == self.breaks_at:
            raise RuntimeError(OUT_OF_MEMORY)
        self.steps, self.batch = self.steps + 1, batch

    def probe_facts(self) -> str:
        return json.dumps(_facts(self.pid, self.carrier))

    def probe_device(self) -> str:
        return json.dumps({"unknown": "no such device"})

    def probe_begin(self) -> str:
        self.steps = 0
        return "{}"

    def probe_end(self) -> str:
        counted = {"engine_steps": self.steps, "preemptions": 0, "prompt_tokens": 1, "cached_tokens": 0}
        counted |= {"first_step_requests": self.batch, "first_step_tokens": 0}
        return json.dumps(
            counted
            | dict.fromkeys(("gpu_peak_bytes", "gpu_busy_seconds", "worker_busy_seconds", "untimed"))
            | {"stamps": []}
        )

    def probe_stamp(self) -> str:
        return "{}"

    def probe_hold(self, folder: str, seconds: float) -> str:
        (Path(folder) / "held").touch()  # whatever is submitted is there at once
        return "{}"


class Probed(Probe):
    """A worker with the harness's own probe in it; what it computes is a sleep."""

    rank = 0

    def __init__(self, pid: int, carrier: str, breaks_at: int):
        self.pid, self.carrier, self.breaks_at = pid, carrier, breaks_at

    def step(self, batch: int) -> None:
        """An engine step of a batch."""
        self.execute_model(
            SimpleNamespace(
                total_num_scheduled_tokens=batch,
                batch=batch,
                preempted_req_ids=set(),
                scheduled_new_reqs=[],
            )
        )
        self.sample_tokens(None)

    def execute_model(self, scheduler_output):
        if scheduler_output.batch == self.breaks_at:
            raise RuntimeError(OUT_OF_MEMORY)

    def sample_tokens(self, grammar_output):
        time.sleep(STEP_SECONDS)

    def probe_facts(self) -> str:
        return json.dumps(_facts(self.pid, self.carrier))

    def probe_device(self) -> str:
        return json.dumps({"unknown": "no such device"})


def make_worker(pid: int, carrier: str, breaks_at: int) -> Counting | Probed:
    """The worker of an engine, with the process id that stands for it."""
    kind = Probed if os.environ.get("FAKE_PROBE") == "real" else Counting
    return kind(pid, carrier, breaks_at)


def _facts(pid: int, carrier: str) -> dict[str, object]:
    return {
        "pid": pid,
        "carriers": [carrier],
        "ray_actor": carrier.startswith("rollout_perf.transports.ray"),
        "async_scheduling": True,
        "torch_threads": 1,
        "omp_num_threads": "1",
    }
