"""Times what an engine step computes, inside the worker and without waiting for the GPU in a step.

Both clocks are opened when a step is handed to the worker and closed when it has been sampled.
`GpuClock` puts a CUDA event before the first launch of the forward pass and one behind the last of
sampling, and asks for the time between them only when the rollout is over. It must not begin where
the step is handed over: the GPU passes an event there at once, and what the host then takes to
prepare the inputs would count as work of the GPU. Preparing on the GPU itself, some tens of
microseconds, therefore counts as idle. `HostClock` takes the time of the calls, where no GPU is.
"""

import time
from collections.abc import Callable
from typing import Any


class HostClock:
    """Time that the worker spends in its steps, by the wall."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        """Seconds of each step of the last reading."""
        self._seconds: list[float] = []
        self._begin: float | None = None

    def attach(self) -> None:
        """There is nothing to attach to."""

    def detach(self) -> None:
        """There is nothing to detach from."""

    def open(self) -> None:
        """A step begins."""
        self._begin = time.perf_counter()

    def launch(self) -> None:
        """Nothing is launched where no GPU is."""

    def close(self) -> None:
        """It has ended."""
        if self._begin is not None:
            self._seconds.append(time.perf_counter() - self._begin)
            self._begin = None

    def read(self) -> tuple[float | None, str | None]:
        """Seconds in all since the last reading, and why there are none."""
        self.steps, self._seconds = self._seconds, []
        return sum(self.steps), None


class NoClock(HostClock):
    """Takes the place of a clock that could not be made, and says why."""

    def __init__(self, reason: str):
        super().__init__()
        self._reason = reason

    def read(self) -> tuple[float | None, str | None]:
        """No seconds, and the reason."""
        return None, self._reason


class GpuClock:
    """Time that the GPU spends in steps, between pairs of CUDA events on the stream that runs them.

    `cuda` is torch.cuda. The forward pass is seen to begin where `model` is called or a CUDA graph
    is replayed, whichever comes first: vLLM replays full graphs without calling the model.
    """

    def __init__(self, cuda: Any, model: Any):
        self.steps: list[float] = []
        """Seconds of each step of the last reading."""
        self._cuda = cuda
        self._model = model
        self._free: list[Any] = []
        self._pairs: list[tuple[Any, Any]] = []
        self._begin: Any = None
        self._stream: Any = None  # on which the step under way runs: to look it up takes as long as an event
        self._open = False
        self._unseen = 0

    def attach(self) -> None:
        """See from now on when the model is called and when a graph is replayed."""
        self._hook = self._model.register_forward_pre_hook(lambda *_call: self.launch())
        self._restore_replay = _before(self._cuda.CUDAGraph, "replay", self.launch)

    def detach(self) -> None:
        """Take everything out of the model and of CUDA graphs again."""
        self._hook.remove()
        self._restore_replay()

    def open(self) -> None:
        """A step begins; its first launch is still to come."""
        self._open = True

    def launch(self) -> None:
        """Something is about to be launched; the first of a step marks its beginning."""
        if self._open and self._begin is None:
            self._stream = self._cuda.current_stream()  # of this thread, which runs the step
            self._begin = self._mark()

    def close(self) -> None:
        """All of the step has been launched."""
        if not self._open:
            return
        self._open = False
        if self._begin is None:
            self._unseen += 1
        else:
            self._pairs.append((self._begin, self._mark()))
            self._begin = None

    def read(self) -> tuple[float | None, str | None]:
        """Seconds in all since the last reading, and why there are none. Waits for the last step."""
        pairs, self._pairs = self._pairs, []
        unseen, self._unseen = self._unseen, 0
        self.steps = []
        if unseen:
            return None, f"the forward pass of {unseen} engine steps was not seen to begin"
        try:
            if pairs:
                pairs[-1][1].synchronize()
            self.steps = [begin.elapsed_time(end) / 1e3 for begin, end in pairs]
        except RuntimeError as error:  # of CUDA, about events
            return None, f"the GPU's events have no time: {error}"
        self._free += [event for pair in pairs for event in pair]
        return sum(self.steps), None

    def _mark(self) -> Any:
        event = self._free.pop() if self._free else self._cuda.Event(enable_timing=True)
        event.record(self._stream)
        return event


def _before(owner: Any, name: str, act: Callable[[], None]) -> Callable[[], None]:
    """Have `act` called before every call of a method; returns what undoes it."""
    original = getattr(owner, name)

    def call(*arguments: Any) -> Any:
        act()
        return original(*arguments)

    setattr(owner, name, call)
    return lambda: setattr(owner, name, original)
