"""The pipe alone, without a model: round trips of a payload to one worker that echoes it.

The transports of the system under test are measured beside the bare libraries (`pipe_contenders`) in one
process, in rounds: in each, every path carries every payload once, so that what disturbs the machine disturbs
all. The workers of paths that wait are stopped: those of a compiled graph spin meanwhile, and would take the
cores from the others.
`run_pipe` asks for a measurement in a fresh process, which runs this module:

    PYTHONPATH=bench python -P -m rollout_bench.measure.pipe < request.json

Round trips are the same in number for every path, since a 99th percentile depends on it.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ..schema.record import now
from . import asv_records, machine
from .installed import why_not_installed
from .marked import signal_all
from .pipe_contenders import BARE, Absent, Contender, open_contender
from .process import run_module, say
from .samples import percentile

METHOD = 2
"""Raised when the way of measuring changes."""

PATHS = ("zmq", "ray", "ray-graph", *BARE)
"""The paths that are tracked."""

ROUND_TRIPS: dict[int, int] = {64: 100, 1024: 100, 16384: 100, 262144: 40, 1048576: 20}
"""Round trips in a block, by the bytes of the payload: 0.3 s at most at Ray's speed."""

BLOCKS = 9
"""Blocks that are timed: two sets of 6 samples can never differ significantly in asv."""

FEWEST_BLOCKS = 7
DEADLINE_SECONDS = 600.0
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
    reason = why_not_installed(Path(sys.prefix))
    if reason is None:
        outcome = run_module("rollout_bench.measure.pipe", request, say, deadline_seconds)
        if outcome.reason is None:
            result: dict[str, Any] = json.loads(outcome.answer)
            return result
        reason = outcome.reason
    reasons = dict.fromkeys(paths, reason)
    return {"paths": {}, "absent": {}, "failed": reasons, "provenance": request["provenance"]}


def save(result: dict[str, Any]) -> None:
    """Leave a result for the commit that asv measures, beside its records; nothing outside asv.

    One line in results/MACHINE/pipe/COMMIT-ENVIRONMENT.jsonl: asv takes any .json there for its own.
    """
    target = asv_records.records_file("pipe")
    if target is not None:
        target = target.parent.with_name("pipe") / f"{target.stem.removesuffix('-pipe')}.jsonl"
        target.parent.mkdir(parents=True, exist_ok=True)
        asv_records.write_whole(target, json.dumps(result) + "\n")


def summarise(blocks: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Median and tail of a path at a payload, from the seconds of the round trips of each block."""
    samples = {
        "p50_seconds": [percentile(block, 0.5) for block in blocks],
        "p99_seconds": [percentile(block, 0.99) for block in blocks],
    }
    return {**{name: median(values) for name, values in samples.items()}, "samples": samples}


# --- in the process that measures ----------------------------------------------------------------


@dataclass
class Pipes:
    """The open contenders, what was timed on each, and why others are not open."""

    round_trips: list[tuple[int, int]]
    folder: Path
    stack: contextlib.ExitStack
    open: dict[str, Contender] = field(default_factory=dict)
    opened: dict[str, Contender] = field(default_factory=dict)
    """Those that have failed since among them: their workers must go on to be closed."""
    times: dict[str, dict[int, list[list[float]]]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def start(self, path: str) -> None:
        """Open a path, or note why it is not open."""
        say(f"starting {path} …")
        try:
            self.add(path, open_contender(path, self.folder, self.stack))
            for payload_bytes, _count in self.round_trips:
                self._block(path, payload_bytes, _UNTIMED)
            self.stop(path)
        except Absent as reason:
            self.absent[path] = str(reason)
        except Exception as error:
            self._give_up(path, error)

    def add(self, path: str, contender: Contender) -> None:
        """Take a contender that is open; its worker runs."""
        self.open[path] = self.opened[path] = contender

    def measure(self, rounds: int) -> None:
        """Time a block of every open path at every payload, `rounds` times, after one untimed round."""
        self.times = {path: {size: [] for size, _count in self.round_trips} for path in self.open}
        for number in range(-1, rounds):
            say("warming up …" if number < 0 else f"round {number + 1}/{rounds} …")
            paths = list(self.open)
            first = number % max(1, len(paths))  # so that no path always follows the same one
            for path in paths[first:] + paths[:first]:
                try:
                    os.kill(self.open[path].worker, signal.SIGCONT)
                    for payload_bytes, count in self.round_trips:
                        self._block(path, payload_bytes, _UNTIMED)
                        block = self._block(path, payload_bytes, count)
                        if number >= 0:
                            self.times[path][payload_bytes].append(block)
                    self.stop(path)
                except Exception as error:
                    self._give_up(path, error)

    def stop(self, path: str) -> None:
        """Stop a path's worker, until the next block."""
        os.kill(self.open[path].worker, signal.SIGSTOP)

    def wake(self) -> None:
        """Have every worker go on, to be closed."""
        signal_all([contender.worker for contender in self.opened.values()], signal.SIGCONT)

    def result(self) -> dict[str, Any]:
        """What `run_pipe` returns, without the provenance."""
        paths = {
            path: {str(size): summarise(blocks) for size, blocks in self.times[path].items()}
            for path in self.open
        }
        observed = {path: contender.facts for path, contender in self.opened.items()}
        return {"paths": paths, "absent": self.absent, "failed": self.failed, "observed": observed}

    def _give_up(self, path: str, error: Exception) -> None:
        self.open.pop(path, None)
        self.failed[path] = f"{type(error).__name__}: {error}"
        say(f"{path} failed: {self.failed[path].splitlines()[0]}")

    def _block(self, path: str, payload_bytes: int, count: int) -> list[float]:
        """Seconds of each of `count` round trips. Raises RuntimeError unless the payload came back."""
        round_trip = self.open[path].round_trip
        payload = os.urandom(payload_bytes)
        times = []
        for _ in range(count):
            begin = time.perf_counter()
            echoed = round_trip(payload)
            times.append(time.perf_counter() - begin)
        if echoed != payload:
            raise RuntimeError(f"{len(echoed)} other bytes came back for {payload_bytes}")
        return times


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("rollout-perf", "pyzmq", "ray"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def main() -> int:
    """Measure what standard input asks for and write the result."""
    request = json.loads(sys.stdin.readline())
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
