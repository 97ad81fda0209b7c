"""Traces a few engine steps with torch's profiler, inside a worker."""

from typing import Any


class StepProfile:
    """A torch profile of a few engine steps, started and stopped in the thread that runs them."""

    def __init__(self, first: int, steps: int):
        self._first, self._end = first, first + steps
        self._profile: Any = None
        self._running = False

    def step(self, number: int) -> None:
        """An engine step begins."""
        if number >= self._first and self._profile is None:
            from torch.profiler import profile

            self._profile = profile()  # of the CPU, and of CUDA where it is
            self._profile.start()
            self._running = True
        elif number >= self._end and self._running:
            self._profile.stop()
            self._running = False

    def write(self, file: str) -> dict[str, str]:
        """Write the trace to a file; its name, or why there is none."""
        if self._profile is None:
            return {"untraced": f"the rollout ended before engine step {self._first}"}
        if self._running:
            self._profile.stop()
        self._profile.export_chrome_trace(file)
        return {"trace": file}
