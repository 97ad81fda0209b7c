"""Where the time of an engine step goes, for every path alike: stamps of the scheduler and of a worker.

vLLM's scheduler, in the engine's process, notes when it scheduled a step and when it took the output; the
probe in the first worker notes when the step began, when all was launched and when its output was there. Both
read one clock, CLOCK_MONOTONIC. What lies between them, a path carries. Nothing here imports the
system under test.
"""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from ..schema import variables

SCHEDULER = "rollout_bench.measure.timeline.timed_scheduler"
"""What vLLM's `scheduler_cls` is set to."""


def timed_scheduler(vllm_config: Any, *arguments: Any, **named: Any) -> Any:
    """The scheduler that vLLM would have built, with stamps."""
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.core.sched.scheduler import Scheduler

    base = AsyncScheduler if vllm_config.scheduler_config.async_scheduling else Scheduler
    return type("TimedScheduler", (_Stamping, base), {})(vllm_config, *arguments, **named)


class _Stamping:
    """Notes when steps were scheduled and updated: two lists of (begin, end)."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self._scheduled: list[tuple[float, float]] = []
        self._updated: list[tuple[float, float]] = []

    def schedule(self, *arguments: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        output = super().schedule(*arguments, **named)  # type: ignore[misc]
        if output.total_num_scheduled_tokens:
            self._scheduled.append((begin, time.perf_counter()))
        return output

    def update_from_output(self, scheduler_output: Any, *arguments: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        result = super().update_from_output(scheduler_output, *arguments, **named)  # type: ignore[misc]
        if scheduler_output.total_num_scheduled_tokens:
            self._updated.append((begin, time.perf_counter()))
            if not self.requests:  # type: ignore[attr-defined]
                with open(os.environ[variables.TIMELINE], "a") as file:
                    file.write(json.dumps([self._scheduled, self._updated]) + "\n")
                self._scheduled, self._updated = [], []
        return result


class Stamps:
    """Reads what the scheduler has noted, rollout by rollout."""

    def __init__(self, file: Path):
        self._file = file
        self._seen = 0

    def begin(self) -> None:
        """A rollout begins; what was noted before is of others."""
        self._seen = len(self._lines())

    def _lines(self) -> list[str]:
        return self._file.read_text().splitlines() if self._file.exists() else []

    def stage_seconds(self, ran: Sequence[Sequence[float]]) -> dict[str, float]:
        """Median over the steps since `begin` of each stage, by the metric's name, given the worker's stamps.

        Raises ValueError where they are not of the same steps.
        """
        scheduled, updated = [], []
        for line in self._lines()[self._seen :]:  # several where a sample was done before the next one came
            some = json.loads(line)
            scheduled += some[0]
            updated += some[1]
        if not len(scheduled) == len(updated) == len(ran) > 0:
            raise ValueError(f"{len(scheduled)} steps scheduled, {len(updated)} updated and {len(ran)} run")
        found = stages(scheduled, updated, ran)
        return {f"stage_{name}_seconds": median(values) for name, values in found.items() if values}


def stages(
    scheduled: Sequence[Sequence[float]], updated: Sequence[Sequence[float]], ran: Sequence[Sequence[float]]
) -> dict[str, list[float]]:
    """Seconds of each stage of each engine step, from the stamps of all steps in order.

    `scheduled` and `updated` have (begin, end) of what the scheduler did for a step; `ran` has when the
    worker began it, when it had launched it, and when the output was there.
    """
    turnarounds = []
    following = 0  # the first step that was scheduled after the update at hand
    for (_, _, ready), (_, updated_at) in zip(ran, updated, strict=True):
        while following < len(scheduled) and scheduled[following][0] < updated_at:
            following += 1
        if following < len(scheduled):
            turnarounds.append(ran[following][0] - ready)
    return {
        "schedule": [end - begin for begin, end in scheduled],
        "call": [began - end for (_, end), (began, _, _) in zip(scheduled, ran, strict=True)],
        "launch": [launched - began for began, launched, _ in ran],
        "compute": [ready - launched for _, launched, ready in ran],
        "reply": [begin - ready for (_, _, ready), (begin, _) in zip(ran, updated, strict=True)],
        "update": [end - begin for begin, end in updated],
        "turn": turnarounds,
    }
