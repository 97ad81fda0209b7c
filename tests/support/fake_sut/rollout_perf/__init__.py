"""A fake system under test: the door, and behind it engines that only take time, break, hang or die.

In place of rollout_perf for what measures it: sequence, case, session, the gate's exam. `behaviour` has the
environment variables that steer it. It keeps the contract of rollout_bench.measure.door, which
tests/measure/test_door.py checks.
"""

import asyncio
import os
import signal
import subprocess
import time
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass

from . import behaviour, clock, neighbours
from .speed import BYTES
from .workers import make_worker

PRESETS = ("nano",)


class ConfigurationError(ValueError):
    """A request that cannot be met."""


class EngineError(Exception):
    """The engine has broken."""


@dataclass
class Sampling:
    max_tokens: int
    ignore_eos: bool = False
    logprobs: int | None = None
    session: str | None = None


@dataclass
class Sequence:
    token_ids: list[int]
    first_token_seconds: float
    latency_seconds: float
    done_seconds: float
    logprobs: list[dict[int, float]] | None = None
    way_in_seconds: float = 0.25
    way_back_seconds: float = 0.5


_VLLM, _OURS = "vllm.v1.executor", "rollout_perf.transports"
_ADAPTER = f"{_OURS}.executor.TransportExecutor"


@dataclass
class Row:
    """A path: what its live processes show."""

    name: str
    executor: str
    carrier: str
    channel: str | None = None
    """Where it is a transport's, which counts what it carries."""
    transport: None = None
    """Nothing that could be measured without an engine."""
    in_process: bool = False

    def absent(self, has_gpu: bool) -> str | None:
        return "libnowhere not installed" if behaviour.of(self.name) == "nowhere" else None

    def load(self):
        raise AssertionError(f"the fake has no transport {self.name}")

    def surround(self, folder):
        return nullcontext()


TRANSPORTS = {
    row.name: row
    for row in (
        Row(
            "sync", f"{_VLLM}.uniproc_executor.UniProcExecutor", f"{_VLLM}.uniproc_executor", in_process=True
        ),
        Row("vllm-mp", f"{_VLLM}.multiproc_executor.MultiprocExecutor", f"{_VLLM}.multiproc_executor"),
        Row("zmq", _ADAPTER, f"{_OURS}.zeromq", "zmq ipc"),
        Row("ray", _ADAPTER, f"{_OURS}.ray_actor", "ray actor call"),
        Row("ray-graph", _ADAPTER, f"{_OURS}.ray_graph", "ray compiled graph"),
    )
}


class Entry:
    """What carries requests: here nothing does."""

    def absent(self) -> str | None:
        return None


ENTRIES = {"local": Entry(), "zmq": Entry()}


class Rollout:
    """An engine in this process, and a child that stands for its worker: it can be stopped and found."""

    def __init__(self, row: Row, child: int, entry: str, replicas: int):
        self.row, self.child, self.entry, self.replicas = row, child, entry, replicas
        self.clock = clock.make(row.name)
        self.worker = make_worker(child, row.carrier, behaviour.breaks_at(row.name))
        self.rollouts = self.steps = 0

    async def generate(self, prompts, sampling):
        behaviour.note("rollouts", self.row.name, len(prompts))
        behaviour.note("sessions", *(one.session for one in sampling))
        self.rollouts += 1
        if self.rollouts > 1:  # others may still start at the first one
            await neighbours.wait_until_alone(self.row.name)
        if self.rollouts == behaviour.dies_at(self.row.name):
            os.kill(os.getpid(), signal.SIGKILL)
        steps = max(one.max_tokens for one in sampling)
        begin = time.perf_counter()
        await self.clock.pass_steps(steps)
        try:
            for _ in range(steps):
                self.worker.step(len(prompts))
        except RuntimeError:
            raise EngineError("EngineCore encountered an issue") from None  # and no more, like vLLM
        self.steps += steps
        seconds = time.perf_counter() - begin
        return [
            Sequence(
                [0] * one.max_tokens,
                seconds / steps,
                seconds * one.max_tokens / steps,
                seconds * one.max_tokens / steps,
                None if one.logprobs is None else [{0: -1.0}] * one.max_tokens,
            )
            for one in sampling
        ]

    async def call_workers(self, method, *arguments):
        # In a thread: a worker that is held waits for what this one sends meanwhile.
        return [await asyncio.to_thread(getattr(self.worker, method), *arguments)] * self.replicas

    async def describe(self):
        engine = {"kv_cache_blocks": 100, "block_size": 16, "prefix_caching": False}
        engine |= {"max_num_seqs": 8, "max_num_batched_tokens": 8192}
        facts = {"executor": self.row.executor, "vllm": "none", "engine": engine}
        if self.entry != "local":
            facts |= {"entry_channel": "zmq ROUTER/DEALER", "front_pid": self.child}
            facts |= {"entry_carried": {"sent_bytes": BYTES * self.rollouts, "received_bytes": 0}}
        if self.replicas > 1:
            own = {"requests": 4, "retried": 0, "front_pid": self.child}
            return facts | {
                "channel": self.row.channel,
                "replicas": [dict(own) for _ in range(self.replicas)],
            }
        if self.row.channel is None:
            return facts
        counters = {"sent_bytes": BYTES * self.steps, "received_bytes": 0, "calls": self.steps}
        return facts | {"channel": self.row.channel, "counters": counters}


@asynccontextmanager
async def open_rollout(
    model,
    transport="zmq",
    tensor_parallel_size=1,
    *,
    start_deadline_seconds=600.0,
    step_deadline_seconds=300.0,
    entry="local",
    replicas=1,
    routing="round-robin",
    **engine_arguments,
):
    """Start an engine over a path, or come to no good end, as `behaviour` says."""
    what = behaviour.of(transport)
    if what in ("deaf", "hangs"):
        await _hang(deaf=what == "deaf")
    if what == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "refuses":
        raise ConfigurationError("refused, with a reason")
    behaviour.note("starts", os.getpid())
    child = _sleeper()
    neighbours.add(transport, child.pid)
    try:
        behaviour.note("engines_of", replicas, routing)
        yield Rollout(TRANSPORTS[transport], child.pid, entry, replicas)
        assert neighbours.state(child.pid) != "T", "the worker was left stopped"
    finally:
        child.kill()
        child.wait()


def _sleeper(**options) -> subprocess.Popen:
    return subprocess.Popen(["sleep", "1000"], **options)


async def _hang(deaf: bool) -> None:
    """Wait for nothing, with a child in a session of its own."""
    if deaf:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = _sleeper(start_new_session=True)
    behaviour.note("pids", os.getpid(), child.pid)
    print("waiting for nothing", flush=True)
    while True:
        await asyncio.sleep(1) if not deaf else signal.pause()
