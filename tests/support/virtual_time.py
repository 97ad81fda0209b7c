"""An event loop whose time passes when it would wait, so that tests of waiting take none and are exact.

virtual_time.run(coroutine, monkeypatch)
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest


class Loop(asyncio.SelectorEventLoop):
    """Whatever waits for the next moment at which something is due has it at once."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def run(coroutine: Coroutine[Any, Any, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a coroutine; its perf_counter is the loop's time, from 0."""
    with asyncio.Runner(loop_factory=Loop) as runner, monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", runner.get_loop().time)
        return runner.run(coroutine)
