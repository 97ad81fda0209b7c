"""Holds the contestants of a session that are of one build: an engine each, which generates when asked to.

    PYTHONPATH=bench python -P -m rollout_bench.measure.contestants < request.json

`session` starts it with the build's Python and says which rollout comes next. vLLM is imported once, and
each contestant is a fork. The first order of a workload is for the rollout that is counted exactly, the next
ones are for warm-ups, and the others are timed.
"""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from ..schema.record import FAILED, MEASURED
from . import drive
from . import gated as exact
from .case import Cases
from .door import Rollout
from .marked import signal_all
from .samples import gather, rollout_metrics
from .session import END, ORDER_BYTES, READY, WORKLOAD_FAILED
from .supervisor import Keep, fork_case, import_vllm, leave
from .workload import Workload

_STOP_SECONDS = 10.0


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
        """Answer orders until the end; a workload's record is kept when its last rollout is over."""
        workloads = list(self.pending)
        samples: dict[Workload, list[dict[str, float]]] = {}
        workers = [worker["pid"] for worker in self.observed["workers"]]
        workers = [pid for pid in workers if pid not in (os.getpid(), watch.engine_pid)]
        await exact.begin(rollout, forced, workloads[0])
        signal_all(workers, signal.SIGSTOP)
        try:
            self._answer(READY)
            # Nobody else runs in this process meanwhile: the event loop need not.
            while (number := int(os.read(self._orders, ORDER_BYTES) or END)) != END:
                workload = workloads[number]
                signal_all(workers, signal.SIGCONT)
                answer = await self._rollout(rollout, forced, watch, workload, samples)
                signal_all(workers, signal.SIGSTOP)
                timed = samples.get(workload, [])[self.request["warmups"] :]
                if len(timed) == self.request["rollouts"]:
                    metrics, observed = self.worked(workload, watch, len(timed), gather(timed))
                    self.done(MEASURED, metrics=metrics, observed=observed)
                self._answer(answer)
        finally:
            signal_all(workers, signal.SIGCONT)
        self.all_done(FAILED, "the session ended before its last rollout")

    async def _rollout(
        self,
        rollout: Rollout,
        forced: Callable[[int], Any],
        watch: drive.Watch,
        workload: Workload,
        samples: dict[Workload, list[dict[str, float]]],
    ) -> str:
        """Generate the next rollout of a workload; its step time, or that the workload has failed."""
        if workload not in self.pending:
            return WORKLOAD_FAILED
        self.pending.sort(key=lambda load: load != workload)  # what breaks now, breaks at this one
        if reason := self.too_large(workload):
            self.done(FAILED, reason)
            return WORKLOAD_FAILED
        warmups = self.request["warmups"]
        try:
            if workload not in samples:
                begin = time.perf_counter()
                await self.count(rollout, forced, workload, watch, -warmups - 1)
                samples[workload] = []
                return f"{time.perf_counter() - begin:.6f}"
            await watch.begin()
            number = len(samples[workload]) - warmups
            step_seconds, times = await drive.run_rollout(rollout, forced, workload, number)
        except drive.UnequalWork as error:
            self.done(FAILED, str(error))
            return WORKLOAD_FAILED
        samples[workload].append(rollout_metrics(step_seconds, times, await watch.end(workload)))
        return f"{step_seconds:.6f}"


def _fork(request: dict[str, Any], others: list[dict[str, Any]], targets: list[str]) -> int:
    def make(keep: Keep) -> Cases:
        for other in others:  # whose end must be seen when they end
            _close(other)
        return _CasesOnDemand(request, keep, request["orders"], os.fdopen(request["answers"], "w"))

    return fork_case(make, targets)


def _close(request: dict[str, Any]) -> None:
    for descriptor in (request["orders"], request["answers"]):
        os.close(descriptor)


def main() -> int:
    """Hold the contestants that standard input asks for, until each has ended or standard input has."""
    asked = json.loads(sys.stdin.readline())
    requests = asked["requests"]
    for request in requests:
        for descriptor in (request["orders"], request["answers"]):
            os.set_inheritable(descriptor, False)  # an engine that outlives its front must not hold them
    import_vllm()
    running = {}
    for number, request in enumerate(requests):
        pid = _fork(request, requests[number + 1 :], asked["targets"])
        running[os.pidfd_open(pid)] = pid
        _close(request)
    asker = sys.stdin.fileno()
    while running:
        ended, _, _ = select.select([*running, asker], [], [])
        if asker in ended:
            _stop(running)
            return 0
        for one in ended:
            os.waitpid(running.pop(one), 0)
            os.close(one)
    return 0


def _stop(running: dict[int, int]) -> None:
    """End those that are not up any more, or not yet, and so take no order; `running` has pids by pidfd."""
    signal_all(running.values(), signal.SIGINT)
    for one, pid in running.items():
        if not select.select([one], [], [], _STOP_SECONDS)[0]:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    leave(main())
