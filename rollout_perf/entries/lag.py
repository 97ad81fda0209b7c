"""How late an event loop is: what has to wait while it does something else."""

import asyncio
import time

_EVERY_SECONDS = 0.01


class LoopLag:
    """Watches the event loop that runs, from `begin` to `end`, with a timer that is due every 10 ms."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Watch from now on; what was seen before is forgotten."""
        self.end()
        self._late_seconds: list[float] = []
        self._set()

    def _set(self) -> None:
        self._due = time.monotonic() + _EVERY_SECONDS
        self._timer = asyncio.get_running_loop().call_later(_EVERY_SECONDS, self._look)

    def _look(self) -> None:
        self._late_seconds.append(self._late())
        self._set()

    def _late(self) -> float:
        return max(0.0, time.monotonic() - self._due)  # a loop may be early by what its clock resolves

    def end(self) -> float:
        """How late the timer was, mean in seconds, one that is late now counted; 0.0 where none was due."""
        if self._timer is None:
            return 0.0
        self._timer.cancel()
        self._timer = None
        late = [*self._late_seconds, *filter(None, [self._late()])]
        return sum(late) / len(late) if late else 0.0
