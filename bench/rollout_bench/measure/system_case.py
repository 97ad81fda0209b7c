"""What becomes of the cases of a contestant that is another's system, see `system`.

It is measured from the caller's side alone: what happens within a system, it does not tell.
"""

import asyncio
import os
import time
from typing import cast

from ..schema.record import ABSENT
from . import drive
from .case import Cases, Up
from .door import NoDoor, Rollout, model_arguments
from .gated import Exact
from .samples import caller_metrics
from .submit import Rolled, run_rollout
from .system import NoSystem, Settings, SystemRollout, file_of, load, started
from .workload import Workload

_ROLLOUT_DEADLINES = 2
"""In deadlines of an engine step: how long a system may take for a rollout."""


class SystemCases(Cases):
    """The cases of a system."""

    def run(self) -> None:
        for workload in list(self.pending):
            if reason := _cannot(workload):
                self._turn_to(workload)
                self.done(ABSENT, reason)
        if not self.pending:
            return
        try:
            load(self.path, self.request["folder"])
            asyncio.run(self._measure_system())
        except (NoSystem, NoDoor) as error:
            self.all_done(ABSENT, str(error))
        except Exception as error:
            self._broke(error)

    async def _measure_system(self) -> None:
        begin = time.perf_counter()
        self.say("starting the system …")
        model, arguments = model_arguments(self.request["preset"])
        settings = Settings(
            model,
            self.request["tensor_parallel_size"],
            arguments | self.request["engine_arguments"],
            self.request["start_deadline_seconds"],
        )
        system = await started(self.path, settings, self.request["folder"])
        try:
            start_seconds = time.perf_counter() - begin
            self.say(f"system started in {start_seconds:.1f} s …")
            rollout = SystemRollout(system, _ROLLOUT_DEADLINES * self.request["step_deadline_seconds"])
            self.observed |= {"system": await system.describe(), "adapter": file_of(self.path)}
            first = self.pending[0]
            await rollout.check(first.first_id, first.length - 1)
            self._started = True
            self._pids = drive.descendants(os.getpid())
            await self._take_orders(Up(cast(Rollout, rollout), int, start_seconds, NoSystem), self._pids)
        finally:
            await system.stop()

    async def _count(self, engine: Up, workload: Workload, number: int) -> Exact:
        await run_rollout(engine.rollout, engine.forced, workload, number)
        return Exact()

    async def _timed(self, engine: Up, workload: Workload, number: int) -> tuple[Rolled, dict[str, float]]:
        pids = [os.getpid(), *self._pids]
        drive.forget_peaks(pids)
        cpu = drive.cpu_seconds(os.getpid())
        rolled = await run_rollout(engine.rollout, engine.forced, workload, number)
        cpu = drive.cpu_seconds(os.getpid()) - cpu
        return rolled, caller_metrics(rolled.step_seconds, rolled.samples, cpu, drive.peak_bytes(pids))

    @property
    def absent(self) -> dict[str, str]:
        return {"what happens within": "another's system is measured from the caller's side alone"}


def _cannot(workload: Workload) -> str | None:
    """Why a system is not measured at a workload."""
    if workload.asked:
        return "a system is asked for tokens alone"
    if not workload.is_batch:
        return "a system is given whole batches alone: when a request's first token came, it does not tell"
    return None
