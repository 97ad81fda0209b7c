"""Measures paths side by side: all engines are up at once, and their rollouts are interleaved in rounds.

    records = run_session("qwen2.5-0.5b", ["vllm-mp", "zmq"], fixed("qwen2.5-0.5b", [64]), 20, 3)

A host that others share drifts by more than paths differ, from minute to minute and from one engine
start to another. Two rollouts a second apart see the same host: the ratio of neighbours is what can
be trusted. Sample i of every record comes from round i; every other round goes backwards. Workers of
contestants that wait are stopped: those of vLLM's own executors spin for a second after their last call, and
would take a core from the contestant that generates, or half of one where two threads share it.

The process that measures runs

    PYTHONPATH=bench python -P -m rollout_bench.measure.session < request.json
"""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from ..schema.record import FAILED, MEASURED, Record, read_records
from . import drive, machine, process
from .case import Cases
from .door import Rollout
from .equal_work import check_equal_work
from .process import run_module, signal_all
from .samples import gather, rollout_metrics
from .sequence import case_request, engine_arguments, failed_records
from .supervisor import Keep, end_marked, fork_case, import_vllm, leave, targets_of
from .workload import Workload

_ROLLOUT_DEADLINE_SECONDS = 300.0
_READY = "ready"
_ORDER_BYTES, _END = 4, -1  # an order is the number of a workload


def run_session(
    preset: str,
    paths: Sequence[str],
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
    """One session: one engine start a path, `rounds` timed rollouts of every path at each workload, after
    `warmups` untimed ones.

    `arguments` are added to vLLM's engine arguments; they must leave room for all engines on a GPU. The file
    `keep` gains the records of each workload as soon as its rounds are over, not yet held against each other.
    `options` are those of `case.OPTIONS` that make sense here: `timeline`.
    Every case comes back as a record: measured, absent or failed. A path that breaks leaves the session.
    """
    shared = engine_arguments(workloads) | (arguments or {})
    if machine.gpus():
        shared.setdefault("gpu_memory_utilization", round(0.9 / len(paths), 3))
    requests = [
        case_request(path, preset, workloads, tensor_parallel_size, provenance, shared)
        | {"warmups": warmups, "rollouts": rounds, "options": options}
        for path in paths
    ]
    asked = {"requests": requests, "keep": keep and str(keep)}
    outcome = run_module("rollout_bench.measure.session", asked, say, deadline_seconds)
    records = read_records(outcome.answer)
    found = {(record.path, record.workload["fingerprint"]) for record in records}
    for one in requests:
        left = [load for load in workloads if (one["path"], load.fingerprint()) not in found]
        reason = outcome.reason or "the process left no record of it"
        records += failed_records(one | {"workloads": [vars(load) for load in left]}, reason)
    return check_equal_work(records)


# --- in the process that measures -------------------------------------------------------------------


class _CasesOnDemand(Cases):
    """A contestant's cases: its engine generates a rollout whenever it is asked to."""

    def __init__(self, request: dict[str, Any], keep: Keep, orders: int, answers: TextIO):
        super().__init__(request, keep)
        self._orders, self._answers = orders, answers

    def _answer(self, text: str) -> None:
        print(text, file=self._answers, flush=True)

    async def load(
        self, rollout: Rollout, forced: Callable[[int], Any], watch: drive.Watch, start_seconds: float
    ) -> None:
        """Answer orders, the number of a workload or the end; keep its record when its rounds are over."""
        workloads = list(self.pending)
        samples: list[list[dict[str, float]]] = [[] for _ in workloads]
        warmups, rounds = self.request["warmups"], self.request["rollouts"]
        workers = [worker["pid"] for worker in self.observed["workers"]]
        workers = [pid for pid in workers if pid not in (os.getpid(), watch.engine_pid)]
        signal_all(workers, signal.SIGSTOP)
        try:
            self._answer(_READY)
            # Nobody else runs in this process meanwhile: the event loop need not.
            while (number := int(os.read(self._orders, _ORDER_BYTES) or _END)) != _END:
                workload = workloads[number]
                signal_all(workers, signal.SIGCONT)
                await watch.begin()
                step_seconds, times = await drive.run_rollout(rollout, forced, workload, len(samples[number]))
                samples[number].append(rollout_metrics(step_seconds, times, await watch.end(workload)))
                signal_all(workers, signal.SIGSTOP)
                if len(samples[number]) == warmups + rounds:
                    observed = self.worked(workload, watch, rounds)
                    self.done(MEASURED, metrics=gather(samples[number][warmups:]), observed=observed)
                self._answer(f"{step_seconds:.6f}")
        finally:
            signal_all(workers, signal.SIGCONT)
        self.all_done(FAILED, "the session ended before its last rollout")


class _Contestant:
    """A contestant's process, as the one that runs the session sees it."""

    def __init__(self, request: dict[str, Any], targets: list[str]):
        self.path: str = request["path"]
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()

        def make(keep: Keep) -> Cases:
            os.close(self._orders)
            os.close(self._answers)
            return _CasesOnDemand(request, keep, orders, os.fdopen(answers, "w"))

        self.pid = fork_case(make, targets)
        os.close(orders)
        os.close(answers)
        self._reader = os.fdopen(self._answers)

    def answer(self, deadline_seconds: float) -> str | None:
        """What it says next; None where it has ended, or says nothing in time."""
        ready, _, _ = select.select([self._reader], [], [], deadline_seconds)
        return (self._reader.readline().strip() or None) if ready else None

    def run_rollout(self, workload: int) -> float | None:
        """Have it generate a rollout: its step time in seconds, or None where it has broken."""
        try:
            os.write(self._orders, b"%*d" % (_ORDER_BYTES, workload))
        except BrokenPipeError:
            return None
        answer = self.answer(_ROLLOUT_DEADLINE_SECONDS)
        return None if answer is None else float(answer)

    def end(self) -> None:
        """Order the end, and wait for its records."""
        with suppress(BrokenPipeError):
            os.write(self._orders, b"%*d" % (_ORDER_BYTES, _END))
        os.waitpid(self.pid, 0)


def _run_rounds(requests: list[dict[str, Any]], targets: list[str]) -> None:
    """Start the contestants, run the rounds of one workload after the other, and end them."""
    contestants = [_Contestant(request, targets) for request in requests]
    begin = time.monotonic()
    shared = requests[0]
    deadline, rounds = shared["start_deadline_seconds"], shared["rollouts"]
    ready = [one for one in contestants if one.answer(deadline - time.monotonic() + begin) == _READY]
    process.say(f"{', '.join(one.path for one in ready)} are up after {time.monotonic() - begin:.0f} s")
    for number, workload in enumerate(shared["workloads"]):
        load = f"{workload['name']} {Workload(**workload).batch}"
        for round_number in range(-shared["warmups"], rounds):
            times = []
            for one in list(ready if round_number % 2 == 0 else reversed(ready)):
                seconds = one.run_rollout(number)
                if seconds is None:
                    process.say(f"{one.path} has left the session")
                    ready.remove(one)
                else:
                    times.append(f"{one.path} {seconds:.3f}")
            if round_number >= 0:
                process.say(f"{load}: round {round_number + 1}/{rounds}: {', '.join(times)}")
    for one in contestants:
        one.end()


def main() -> int:
    """Run the session that standard input asks for."""
    asked = json.loads(sys.stdin.readline())
    import_vllm()
    _run_rounds(asked["requests"], targets_of(asked))
    end_marked()
    return 0


if __name__ == "__main__":
    leave(main())
