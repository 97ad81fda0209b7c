"""Measures contestants side by side: all engines are up at once, their rollouts interleaved in rounds.

    contestants = [Contestant("vllm-mp"), Contestant("zmq")]
    records = run_session("qwen2.5-0.5b", contestants, fixed("qwen2.5-0.5b", [64]), 20, 3)

A host that others share drifts by more than paths differ, from minute to minute and from one engine
start to another. Two rollouts a second apart see the same host: the ratio of neighbours is what can
be trusted. Sample i of every record comes from round i; every other round goes backwards. Workers of
contestants that wait are stopped: those of vLLM's own executors spin for a second after their last call, and
would take a core from the contestant that generates, or half of one where two threads share it.

Contestants may be of several builds, such as two commits in an environment each. A process for each build
holds their engines (`contestants`). The one that says which rollout comes next runs

    PYTHONPATH=bench python -P -m rollout_bench.measure.session < request.json
"""

import json
import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ..schema.record import Record, read_records
from . import machine
from .equal_work import check_equal_work
from .process import Interpreter, run_module, say, start_beside
from .sequence import case_request, engine_arguments, failed_records
from .supervisor import end_marked, leave, targets_of
from .workload import Workload

READY, WORKLOAD_FAILED = "ready", "failed"
"""What a contestant answers, beside the step time of a rollout in seconds."""

ORDER_BYTES, END = 4, -1
"""An order is the number of a workload, or the end."""

_ROLLOUT_DEADLINE_SECONDS, _END_SECONDS = 300.0, 60.0


@dataclass(frozen=True)
class Contestant:
    """A path of a build."""

    path: str
    build: str = ""
    """The build's name, where there is more than one: it goes into the record's provenance, as `side`."""
    interpreter: Interpreter | None = None
    """The Python that has the build, where it is not this one."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What is known of the build, such as its commit."""


def run_session(
    preset: str,
    contestants: Sequence[Contestant],
    workloads: Sequence[Workload],
    rounds: int,
    warmups: int,
    say: Callable[[str], None],
    tensor_parallel_size: int = 1,
    provenance: dict[str, Any] | None = None,
    arguments: dict[str, Any] | None = None,
    deadline_seconds: float = 1800.0,
    keep: Path | None = None,
    **options: Any,
) -> list[Record]:
    """One session: one engine start a contestant, `rounds` timed rollouts of each at each workload, after one
    that is counted exactly and `warmups` others.

    `arguments` are added to vLLM's engine arguments; they must leave room for all engines on a GPU. The file
    `keep` gains the records of each workload as soon as its rounds are over, not yet held against each other.
    `options` are those of `case.OPTIONS` that make sense here: `timeline`.
    Every case comes back as a record: measured, absent or failed. A contestant that breaks leaves the
    session. The paths of a build do equal work; what differs between builds is for the caller to say.
    """
    shared = engine_arguments(workloads) | (arguments or {})
    if machine.gpus():
        shared.setdefault("gpu_memory_utilization", round(0.9 / len(contestants), 3))
    requests = []
    for one in contestants:
        known = (provenance or {}) | one.provenance | ({"side": one.build} if one.build else {})
        request = case_request(one.path, preset, workloads, tensor_parallel_size, known, shared)
        request |= {"warmups": warmups, "rollouts": rounds, "options": options, "build": one.build}
        requests.append(request)
    interpreters = {
        one.build: one.interpreter or Interpreter(sys.executable, dict(os.environ)) for one in contestants
    }
    asked = {
        "requests": requests,
        "interpreters": {build: vars(one) for build, one in interpreters.items()},
        "keep": keep and str(keep),
    }
    outcome = run_module("rollout_bench.measure.session", asked, say, deadline_seconds)
    by_build: dict[str, list[Record]] = {one.build: [] for one in contestants}
    for record in read_records(outcome.answer):
        by_build[record.provenance.get("side", "")].append(record)
    for request in requests:
        records = by_build[request["build"]]
        found = {one.workload["fingerprint"] for one in records if one.path == request["path"]}
        left = [load for load in workloads if load.fingerprint() not in found]
        reason = outcome.reason or "the process left no record of it"
        records += failed_records(request | {"workloads": [vars(load) for load in left]}, reason)
    return list(chain.from_iterable(map(check_equal_work, by_build.values())))


# --- in the process that says which rollout comes next ----------------------------------------------


class _Channel:
    """What leads to a contestant: orders go out, answers come back."""

    def __init__(self, request: dict[str, Any]):
        self.name = " ".join(filter(None, (request["build"], request["path"])))
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        self.request = request | {"orders": orders, "answers": answers}
        self.theirs = (orders, answers)
        self._reader = os.fdopen(self._answers)

    def answer(self, deadline_seconds: float) -> str | None:
        """What it says next; None where it has ended, or says nothing in time."""
        ready, _, _ = select.select([self._reader], [], [], deadline_seconds)
        return (self._reader.readline().strip() or None) if ready else None

    def order(self, number: int) -> None:
        """Order a rollout of a workload, or the end."""
        with suppress(BrokenPipeError):
            os.write(self._orders, b"%*d" % (ORDER_BYTES, number))

    def run_rollout(self, workload: int) -> str | None:
        """Have it generate a rollout: its step time, or WORKLOAD_FAILED; None where it has broken."""
        self.order(workload)
        return self.answer(_ROLLOUT_DEADLINE_SECONDS)


class _Rounds:
    """Rounds of the contestants that are up, each of which generates while the others wait."""

    def __init__(self, channels: Sequence[_Channel]):
        self.up = list(channels)
        self._number = 0

    def run(self, workload: int, title: str) -> None:
        """One round of a workload; every other one goes backwards."""
        self._number += 1
        times = []
        for one in list(self.up if self._number % 2 else reversed(self.up)):
            answer = one.run_rollout(workload)
            if answer is None:
                say(f"{one.name} has left the session")
                self.up.remove(one)
            elif answer != WORKLOAD_FAILED:
                times.append(f"{one.name} {float(answer):.3f}")
        say(f"{title}: {', '.join(times)}")


def _start(asked: dict[str, Any], channels: Sequence[_Channel]) -> list[Any]:
    """A process for each build, with the contestants of that build."""
    processes = []
    for build, interpreter in asked["interpreters"].items():
        own = [channel for channel in channels if channel.request["build"] == build]
        request = {"requests": [channel.request for channel in own], "targets": targets_of(asked)}
        descriptors = [*chain.from_iterable(channel.theirs for channel in own)]
        processes.append(
            start_beside(
                "rollout_bench.measure.contestants", request, Interpreter(**interpreter), descriptors
            )
        )
        for descriptor in descriptors:
            os.close(descriptor)
    return processes


def _run(asked: dict[str, Any]) -> None:
    """Start the contestants, run the rounds of one workload after the other, and end them."""
    begin = time.monotonic()
    channels = [_Channel(request) for request in asked["requests"]]
    processes = _start(asked, channels)
    shared = asked["requests"][0]
    end = begin + shared["start_deadline_seconds"]
    rounds = _Rounds(
        [channel for channel in channels if channel.answer(max(0.0, end - time.monotonic())) == READY]
    )
    say(f"{', '.join(one.name for one in rounds.up)} are up after {time.monotonic() - begin:.0f} s")
    loads = [f"{one['name']} {Workload(**one).batch}" for one in shared["workloads"]]
    for number, load in enumerate(loads):
        rounds.run(number, f"{load}: with a gated start, counted")
    for number, load in enumerate(loads):
        for _ in range(shared["warmups"]):
            rounds.run(number, f"{load}: warm-up")
        for done in range(shared["rollouts"]):
            rounds.run(number, f"{load}: round {done + 1}/{shared['rollouts']}")
    for one in channels:
        one.order(END)
    end = time.monotonic() + _END_SECONDS
    for one in rounds.up:
        one.answer(max(0.0, end - time.monotonic()))  # none: it has ended
    for process in processes:
        process.communicate()  # the end of its input has it end whoever is left


def main() -> int:
    """Run the session that standard input asks for."""
    try:
        _run(json.loads(sys.stdin.readline()))
    finally:
        end_marked()
    return 0


if __name__ == "__main__":
    leave(main())
