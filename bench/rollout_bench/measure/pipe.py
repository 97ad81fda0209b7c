"""The pipe alone, without a model: round trips of a payload to one worker that echoes it.

The subject's transports are measured beside the bare libraries in one process, in rounds: in
each, every path carries every payload in turn, so that what disturbs the machine disturbs all.
The workers of paths that do not have their turn are stopped: those of a compiled graph spin while
they wait, and would take the cores from the others.
`run_pipe` asks for a measurement in a fresh process, which runs this module:

    PYTHONPATH=bench python -P -m rollout_bench.measure.pipe < request.json

Round trips are the same in number for every path, since a 99th percentile depends on it.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ..schema.record import now
from . import asv_records as history
from . import machine
from .labels import LABELS
from .process import run_module, say, signal_all, take_request
from .samples import percentile

METHOD = 2
"""Raised when the way of measuring changes."""

BARE: dict[str, str] = {"bare-zmq": "zmq", "bare-ray": "ray", "bare-ray-graph": "ray"}
"""Paths without the subject, the floors of the others, and the module that each needs."""

PATHS = ("zmq", "ray", "ray-graph", *BARE)
"""The paths that are tracked."""

ROUND_TRIPS: dict[int, int] = {64: 100, 1024: 100, 16384: 100, 262144: 40, 1048576: 20}
"""Round trips in a block, by the bytes of the payload: 0.3 s at most at Ray's speed."""

BLOCKS = 9
"""Blocks that are timed: two sets of 6 samples can never differ significantly in asv."""

FEWEST_BLOCKS = 7
DEADLINE_SECONDS = 600.0
_START_DEADLINE_SECONDS = 120.0
_CALL_DEADLINE_SECONDS = 30.0
_COPY_BELOW_BYTES = 64 * 1024  # pyzmq's own threshold

RoundTrip = Callable[[bytes], Any]
"""Send a payload to the worker, wait, and return what came back, as bytes or a view of them."""

_UNTIMED = 3  # round trips that wake a path's worker up


def run_pipe(
    paths: Sequence[str] = PATHS,
    blocks: int = BLOCKS,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    round_trips: dict[int, int] | None = None,
    provenance: dict[str, Any] | None = None,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> dict[str, Any]:
    """Measure the paths in a process of their own: seconds a round trip, by path and payload bytes.

    Every path asked for is under "paths", "absent" or "failed", the latter two with the reason.
    Raises ValueError where `blocks` is below FEWEST_BLOCKS.
    """
    if blocks < FEWEST_BLOCKS:
        raise ValueError(f"blocks is {blocks}; it must be at least {FEWEST_BLOCKS} to be comparable in asv")
    request = {
        "paths": list(paths),
        "blocks": blocks,
        "round_trips": list((round_trips or ROUND_TRIPS).items()),
        "provenance": {"measured_at": now(), **(provenance or {})},
    }
    outcome = run_module("rollout_bench.measure.pipe", request, say, deadline_seconds)
    if outcome.reason is not None:
        reasons = dict.fromkeys(paths, outcome.reason)
        return {"paths": {}, "absent": {}, "failed": reasons, "provenance": request["provenance"]}
    return json.loads(outcome.answer)


def save(result: dict[str, Any]) -> None:
    """Leave a result for the commit that asv measures, beside its records; nothing outside asv.

    One line in results/MACHINE/pipe/COMMIT-ENVIRONMENT.jsonl: asv takes any .json there for its own.
    """
    target = history.records_file("pipe")
    if target is not None:
        target = target.parent.with_name("pipe") / f"{target.stem.removesuffix('-pipe')}.jsonl"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(result) + "\n")


def summarise(blocks: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Median and tail of a path at a payload, from the seconds of the round trips of each block."""
    samples = {
        "p50_seconds": [percentile(block, 0.5) for block in blocks],
        "p99_seconds": [percentile(block, 0.99) for block in blocks],
    }
    return {**{name: median(values) for name, values in samples.items()}, "samples": samples}


# --- in the process that measures ----------------------------------------------------------------


class Absent(Exception):
    """A path does not exist at this commit or on this machine."""


class Echo:
    """The host that the subject's transports run in their worker: answers a message with itself.

    `payload` is the file in which it leaves its process id.
    """

    def __init__(self, rank: int, payload: bytes):
        Path(os.fsdecode(payload)).write_text(str(os.getpid()))

    def call(self, message: Any) -> Any:
        return message

    def close(self) -> None:
        pass


@dataclass
class Pipes:
    """The open paths, what was timed on each, and why others are not open."""

    round_trips: list[tuple[int, int]]
    folder: Path
    stack: contextlib.ExitStack
    open: dict[str, RoundTrip] = field(default_factory=dict)
    workers: dict[str, int] = field(default_factory=dict)
    """Process ids."""
    times: dict[str, dict[int, list[list[float]]]] = field(default_factory=dict)
    observed: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def start(self, path: str) -> None:
        """Open a path, or note why it is not open."""
        say(f"starting {path}")
        try:
            self.open[path] = self._bare(path) if path in BARE else self._subject(path)
            for payload_bytes, _count in self.round_trips:
                self._block(self.open[path], payload_bytes, _UNTIMED)
            self._stop(path)
        except Absent as reason:
            self.absent[path] = str(reason)
        except Exception as error:
            self._give_up(path, error)

    def measure(self, rounds: int) -> None:
        """Time a block of every open path at every payload, `rounds` times, after one untimed round."""
        self.times = {path: {size: [] for size, _count in self.round_trips} for path in self.open}
        for number in range(-1, rounds):
            say("warming up" if number < 0 else f"round {number + 1}/{rounds}")
            paths = list(self.open)
            first = number % max(1, len(paths))  # so that no path always follows the same one
            for path in paths[first:] + paths[:first]:
                try:
                    os.kill(self.workers[path], signal.SIGCONT)
                    for payload_bytes, count in self.round_trips:
                        self._block(self.open[path], payload_bytes, _UNTIMED)
                        block = self._block(self.open[path], payload_bytes, count)
                        if number >= 0:
                            self.times[path][payload_bytes].append(block)
                    self._stop(path)
                except Exception as error:
                    self._give_up(path, error)

    def _stop(self, path: str) -> None:
        os.kill(self.workers[path], signal.SIGSTOP)

    def wake(self) -> None:
        """Have every worker go on, to be closed."""
        signal_all(self.workers.values(), signal.SIGCONT)

    def result(self) -> dict[str, Any]:
        """What `run_pipe` returns, without the provenance."""
        paths = {
            path: {str(size): summarise(blocks) for size, blocks in self.times[path].items()}
            for path in self.open
        }
        return {"paths": paths, "absent": self.absent, "failed": self.failed, "observed": self.observed}

    def _give_up(self, path: str, error: Exception) -> None:
        self.open.pop(path, None)
        self.failed[path] = f"{type(error).__name__}: {error}"
        say(f"{path} failed: {self.failed[path].splitlines()[0]}")

    @staticmethod
    def _block(round_trip: RoundTrip, payload_bytes: int, count: int) -> list[float]:
        """Seconds of each of `count` round trips. Raises RuntimeError unless the payload came back."""
        payload = os.urandom(payload_bytes)
        times = []
        for _ in range(count):
            begin = time.perf_counter()
            echoed = round_trip(payload)
            times.append(time.perf_counter() - begin)
        if echoed != payload:
            raise RuntimeError(f"{len(echoed)} other bytes came back for {payload_bytes}")
        return times

    def _subject(self, path: str) -> RoundTrip:
        row = _row(path)
        if row is None or row.transport is None:
            raise Absent(f"this commit has no transport {path!r}")
        reason = row.absent(bool(machine.gpus()))
        if reason:
            raise Absent(reason)
        noted = self.folder / f"{path}.pid"
        base = importlib.import_module("rollout_perf.transports.base")
        spec = base.HostSpec("rollout_bench.measure.pipe:Echo", os.fsencode(noted))
        self.stack.enter_context(row.surround(self.folder))
        transport = row.load()(1, self.folder)
        self.stack.callback(transport.close)
        transport.start(spec, _START_DEADLINE_SECONDS)
        self.workers[path] = int(noted.read_text())
        self.observed[path] = transport.describe()
        label, channel = LABELS.get(path), str(self.observed[path].get("channel"))
        if label is not None and label.channel is not None and not channel.startswith(label.channel):
            raise RuntimeError(f"not what its label says: channel is {channel!r}, not {label.channel}")
        return lambda payload: transport.send([payload], [0], _CALL_DEADLINE_SECONDS).result()[0][0]

    def _bare(self, path: str) -> RoundTrip:
        opener = {"bare-zmq": self._bare_zmq, "bare-ray": self._bare_ray, "bare-ray-graph": self._bare_graph}
        return opener[path]()

    def _bare_zmq(self) -> RoundTrip:
        zmq = _library("zmq")
        socket = self.stack.enter_context(zmq.Context()).socket(zmq.PAIR)
        self.stack.callback(socket.close, linger=0)
        socket.rcvtimeo = socket.sndtimeo = int(_CALL_DEADLINE_SECONDS * 1000)
        endpoint = f"ipc://{self.folder}/bare-zmq"
        socket.bind(endpoint)
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from rollout_bench.measure.pipe import echo; echo({endpoint!r})"],
            stdin=subprocess.DEVNULL,
        )
        self.stack.callback(child.wait)
        self.stack.callback(child.kill)
        self.workers["bare-zmq"] = child.pid
        self.observed["bare-zmq"] = {"channel": "zmq PAIR ipc", "pyzmq": zmq.__version__}

        def round_trip(payload: bytes) -> Any:
            copy = len(payload) < _COPY_BELOW_BYTES
            socket.send(payload, copy=copy)
            return socket.recv() if copy else socket.recv(copy=False).buffer

        return round_trip

    def _bare_ray(self) -> RoundTrip:
        ray, actor = self._bare_actor("bare-ray")
        self.observed["bare-ray"] = {"channel": "ray actor call", "ray": ray.__version__}
        return lambda payload: ray.get(actor.echo.remote(payload), timeout=_CALL_DEADLINE_SECONDS)

    def _bare_graph(self) -> RoundTrip:
        ray, actor = self._bare_actor("bare-ray-graph")
        dag = importlib.import_module("ray.dag")
        with dag.InputNode() as payload:
            graph = actor.echo.bind(payload).experimental_compile()
        self.stack.callback(graph.teardown)
        self.observed["bare-ray-graph"] = {"channel": "ray compiled graph", "ray": ray.__version__}
        return lambda payload: ray.get(graph.execute(payload), timeout=_CALL_DEADLINE_SECONDS)

    def _bare_actor(self, path: str) -> tuple[Any, Any]:
        """Ray, joined, and an actor that echoes."""
        row = _row("ray")
        if row is not None and row.absent(bool(machine.gpus())) is None:
            # Ray reads how it may be joined when it is imported: within the surroundings alone.
            self.stack.enter_context(row.surround(self.folder))
        ray = _library("ray")
        if not ray.is_initialized():
            address = os.environ.get("RAY_ADDRESS", "local")
            ray.init(address=address, configure_logging=False, include_dashboard=False)
            self.stack.callback(ray.shutdown)
        actor = ray.remote(num_cpus=0)(_EchoActor).remote()
        self.stack.callback(ray.kill, actor)
        self.workers[path] = ray.get(actor.pid.remote(), timeout=_START_DEADLINE_SECONDS)
        return ray, actor


class _EchoActor:
    """The worker of bare-ray and bare-ray-graph."""

    def echo(self, payload: bytes) -> bytes:
        return payload

    def pid(self) -> int:
        return os.getpid()


def echo(endpoint: str) -> None:
    """The worker of bare-zmq."""
    zmq = _library("zmq")
    socket = zmq.Context().socket(zmq.PAIR)
    socket.connect(endpoint)
    while True:
        message = socket.recv(copy=False)
        socket.send(message, copy=len(message) < _COPY_BELOW_BYTES)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = "pyzmq" if name == "zmq" else name
        raise Absent(f"{package} not installed (pip install {package})") from error


def _row(path: str) -> Any:
    """The subject's row of a path, or None where this commit has none."""
    try:
        return importlib.import_module("rollout_perf").TRANSPORTS.get(path)
    except (ImportError, AttributeError):
        return None


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("rollout-perf", "pyzmq", "ray"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def main() -> int:
    """Measure what standard input asks for and write the result."""
    request = take_request()
    with contextlib.ExitStack() as stack:
        pipes = Pipes([tuple(pair) for pair in request["round_trips"]], Path.cwd(), stack)
        try:
            for path in request["paths"]:
                pipes.start(path)
            pipes.measure(request["blocks"])
        finally:
            pipes.wake()
        result = pipes.result()
    provenance = request["provenance"] | {"versions": _versions(), "machine": machine.facts()}
    Path(request["output"]).write_text(json.dumps({**result, "provenance": provenance}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
