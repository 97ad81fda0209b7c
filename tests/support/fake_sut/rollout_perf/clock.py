"""How time passes in the fake: by the wall, or on a clock that its engine moves.

The second is for exams of statistics: a busy machine does not disturb it, and its noise is known.
"""

import asyncio
import os
import random
import time
from typing import ClassVar

from . import behaviour
from .speed import SLOWDOWN

IDLE_SECONDS = 0.1  # of a rollout by the wall, before its engine steps
STEP_NOISE = 0.002


class Wall:
    """Real time."""

    async def pass_steps(self, steps: int) -> None:
        await asyncio.sleep(IDLE_SECONDS)


class Moved:
    """In place of time.perf_counter, which the harness reads."""

    now: ClassVar[float] = time.perf_counter()

    def __call__(self) -> float:
        return self.now


class Known:
    """Engine steps as long as speed.py and the locked exam-engine say, with noise by start and by rollout."""

    def __init__(self, path: str):
        from exam_engine import STEP_SECONDS

        time.perf_counter = Moved()
        start = behaviour.note("engines", path)
        self._noise = random.Random(f"{os.environ['FAKE_SEED']} {start}")
        of_start = self._noise.gauss(1, float(os.environ["FAKE_NOISE"]))
        self._step_seconds = STEP_SECONDS * SLOWDOWN.get(path, 1) * of_start

    async def pass_steps(self, steps: int) -> None:
        Moved.now += steps * self._step_seconds * self._noise.gauss(1, STEP_NOISE)


def make(path: str) -> Wall | Known:
    """The clock of an engine of a path."""
    return Known(path) if "FAKE_NOISE" in os.environ else Wall()
