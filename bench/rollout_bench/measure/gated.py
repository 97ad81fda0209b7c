"""Counts what a path carries in a rollout, exactly: the same work gives the same bytes and calls.

Requests reach the engine one by one, and how many of them its first steps find depends on the host.
So the engine is held meanwhile: it waits for a call of its workers, which ends when every request lies
in the engine's queue. With this gated start the engine steps are always the same ones.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .door import Rollout
from .drive import Watch, cpu_seconds
from .probe import GO, HELD
from .samples import Counts
from .submit import run_rollout
from .workload import Workload

_HOLD_SECONDS = 60.0
"""The longest that an engine is held. Its own deadline for a step is longer."""

_LOOK_SECONDS = 0.05
_AT_REST = 0.1
"""Share of the time that they may compute when all its requests have been sent."""

_LEAST_ARRIVAL_SECONDS = 0.2

_LAST_STEP_SECONDS = 0.1
"""For the engine step that carries the last samples' end to the workers: nobody waits for it."""


@dataclass(frozen=True)
class Exact:
    """What a rollout with a gated start carried to and from the workers, and in how many engine steps."""

    totals: dict[str, int] = field(default_factory=dict)
    absent: str | None = None
    """Why there are no totals, where the path counts."""

    @property
    def metrics(self) -> dict[str, list[float]]:
        """The exact metrics: one value each, for an engine step."""
        names = [name for name in self.totals if name != "engine_steps"]
        return {name: [self.totals[name] / self.totals["engine_steps"]] for name in names}


async def begin(rollout: Rollout, sampling: Callable[..., Any], workload: Workload) -> None:
    """Generate a token, so that the front has asked the engine what it asks with its first request."""
    await rollout.generate([[workload.first_id]], [sampling(1)])


async def count(
    rollout: Rollout, sampling: Callable[..., Any], workload: Workload, watch: Watch, number: int
) -> Exact:
    """Run a workload's rollout `number`, with a gated start, and count; only run it where nothing counts.

    Raises UnequalWork where it did not generate exactly what the workload forces.
    """
    await watch.begin()
    if not workload.is_batch:
        await run_rollout(rollout, sampling, workload, number)
        return Exact(absent="requests arrive while others run, and how many a step finds differs each time")
    if watch.elsewhere:
        await run_rollout(rollout, sampling, workload, number)
        return Exact(absent="a worker is on another host, and no file of this one can hold it")
    if not watch.counts_wire:
        await run_rollout(rollout, sampling, workload, number)
        return Exact()
    # In the folder of this process, which whoever asked for it removes in any case.
    with tempfile.TemporaryDirectory(prefix="hold-", dir=Path.cwd(), ignore_cleanup_errors=True) as folder:
        held, go = Path(folder) / HELD, Path(folder) / GO
        go.touch()
        await rollout.call_workers("probe_hold", folder, _HOLD_SECONDS)
        own = await watch.carried()  # by a hold that is over at once: the real one takes as much
        held.unlink()
        go.unlink()
        hold = asyncio.create_task(rollout.call_workers("probe_hold", folder, _HOLD_SECONDS))
        try:
            while not (held.exists() or hold.done()):  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(_LOOK_SECONDS)
            running = asyncio.create_task(run_rollout(rollout, sampling, workload, number))
            try:
                await _until_sent(watch.fronts)
                go.touch()
                await running
            finally:
                running.cancel()
        finally:
            go.touch()
            await asyncio.gather(hold, return_exceptions=True)
        await hold
        await asyncio.sleep(_LAST_STEP_SECONDS)
        counts = await watch.end(workload)
    reason = _not_gated(workload, counts, watch.engine)
    if reason:
        return Exact(absent=reason)
    assert counts.wire_bytes is not None
    assert counts.wire_calls is not None
    return Exact(
        {
            "engine_steps": counts.engine_steps,
            "wire_bytes": round(counts.wire_bytes - 2 * own["bytes"]),
            "wire_calls": round(counts.wire_calls - 2 * own["calls"]),
        }
    )


async def _until_sent(fronts: Sequence[int]) -> None:
    """Return when every request has left these processes and had time to reach the engine's queue.

    Taking one up costs the engine less than sending it costs here.
    """
    begin = time.monotonic()
    while time.monotonic() < begin + _HOLD_SECONDS / 3:
        computed = sum(map(cpu_seconds, fronts))
        await asyncio.sleep(_LOOK_SECONDS)
        if sum(map(cpu_seconds, fronts)) - computed < _AT_REST * _LOOK_SECONDS:
            break
    await asyncio.sleep(max(_LEAST_ARRIVAL_SECONDS, time.monotonic() - begin))


def _not_gated(workload: Workload, counts: Counts, engine: dict[str, Any]) -> str | None:
    """Why a rollout had no gated start: its first step left requests out and had room for them."""
    assert counts.first_step is not None
    requests, tokens = counts.first_step
    room = engine["max_num_batched_tokens"] - tokens
    if requests in (workload.batch, engine["max_num_seqs"]) or room < max(workload.prompt_lengths()):
        return None
    return (
        f"{requests} of {workload.batch} requests were there at the first engine step; the KV cache or "
        "a busy host kept the others out"
    )
