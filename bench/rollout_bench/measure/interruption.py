"""A rollout that is interrupted in its middle: samples aborted, an engine paused, asleep, renewed.

    abort:0.5    pause:keep    update:keep    sleep:1

What is aborted is sent again with the tokens that it had, as partial rollouts are. A pause is that of a
weight update that takes no time; an update is a pause in which every worker copies a whole set of weights,
from the host's memory, or with `ipc` from that of the GPU, where another process has them.
An engine that sleeps gives the GPU's memory back, as to a trainer, and wakes; at level 2 with new weights.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import cast

from .door import Interruptible, Sleeps
from .samples import Counts, percentile

WAYS = "none, abort:SHARE, pause:MODE, update:MODE or ipc:MODE, of abort, wait and keep, sleep:1 or sleep:2"

_UPDATE, _IPC, _SLEEP = "update", "ipc", "sleep"

_MODES = ("abort", "wait", "keep")

_BEFORE, _IN_A_ROW = 20, 5
"""Engine steps before an interruption that say what full speed is, and those after it that have it."""


@dataclass(frozen=True)
class Nap:
    """When an engine that slept was to wake and was awake, of perf_counter, and what it had given back."""

    wakes_at: float
    awake_at: float
    freed_bytes: int


@dataclass(frozen=True)
class Interruption:
    """When a rollout was interrupted, of perf_counter, and when the engine was quiet and might go on."""

    at: float
    quiet_at: float
    update_seconds: float | None = None
    """Until every worker had its new weights, where it was to get them."""
    nap: Nap | None = None


def check(way: str) -> None:
    """Raise ValueError for what is no interruption, in a line."""
    kind, _, what = way.partition(":")
    if (kind in ("pause", _UPDATE, _IPC) and what in _MODES) or (kind == _SLEEP and what in ("1", "2")):
        return
    try:
        share = float(what) if kind == "abort" else 0.0
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ValueError(f"interrupt is {way!r}; give {WAYS}; a share is above 0 and at most 1")


def to_sleep(way: str | None) -> bool:
    """Whether the engine sleeps."""
    return way is not None and way.startswith(f"{_SLEEP}:")


def updates(way: str | None) -> bool:
    """Whether weights are replaced."""
    return way is not None and (way.startswith((f"{_UPDATE}:", f"{_IPC}:")) or way == f"{_SLEEP}:2")


def by_trainer(way: str | None) -> bool:
    """Whether they are those that another process has on the GPU."""
    return way is not None and way.startswith(f"{_IPC}:")


async def interrupt(rollout: Interruptible, way: str, after_seconds: float) -> Interruption:
    """Interrupt a rollout that many seconds from now."""
    kind, _, what = way.partition(":")
    await asyncio.sleep(after_seconds)
    at = time.perf_counter()
    if kind == "abort":
        await rollout.abort(float(what))
        return Interruption(at, time.perf_counter())
    if kind == _SLEEP:
        return await _sleep(cast(Sleeps, rollout), int(what), at, updates(way))
    await rollout.pause(what)
    quiet_at = time.perf_counter()
    update_seconds = await _update(rollout, by_trainer(way)) if updates(way) else None
    await rollout.resume()
    return Interruption(at, quiet_at, update_seconds)


async def _update(rollout: Interruptible, of_trainer: bool = False) -> float:
    begin = time.perf_counter()
    await rollout.call_workers("probe_update", of_trainer)
    return time.perf_counter() - begin


async def _sleep(rollout: Sleeps, level: int, at: float, updated: bool) -> Interruption:
    """Sleep and wake at once: how long a trainer has the memory is its own affair."""
    await rollout.sleep(level)
    quiet_at = time.perf_counter()
    freed = [json.loads(reply)["freed_bytes"] for reply in await rollout.call_workers("probe_freed")]
    wakes_at = time.perf_counter()
    await rollout.wake_up("weights")
    update_seconds = await _update(rollout) if updated else None
    await rollout.wake_up("kv_cache")
    return Interruption(at, quiet_at, update_seconds, Nap(wakes_at, time.perf_counter(), sum(freed)))


def interruption_metrics(
    found: Interruption, counts: Counts, resent_tokens: int, own_tokens: int, tokens: int
) -> dict[str, float]:
    """One sample of each metric of an interruption, from one rollout of so many tokens.

    `resent_tokens` are those of what was sent again, `own_tokens` those of the prompts that would have been
    computed without it.
    """
    again = (counts.prompt_tokens or 0) - (counts.cached_tokens or 0) - own_tokens
    values = {"resent_share": resent_tokens / tokens, "recomputed_share": max(0, again) / tokens}
    update_seconds = found.update_seconds or 0.0
    if found.update_seconds is not None:
        values["update_seconds"] = update_seconds
    if found.nap is None:
        turned_at, goes_on_at = found.quiet_at, found.quiet_at + update_seconds
        values["quiet_seconds"] = found.quiet_at - found.at
    else:
        turned_at = goes_on_at = found.nap.wakes_at
        values["sleep_seconds"] = found.quiet_at - found.at
        values["wake_seconds"] = found.nap.awake_at - found.nap.wakes_at - update_seconds
        values["freed_bytes"] = found.nap.freed_bytes
    steps = counts.steps[0] if counts.steps else []
    after = [step for step in steps if step[0] >= goes_on_at]
    if after and found.nap is None:
        values["resume_seconds"] = after[0][0] - goes_on_at
    if after and (found.nap is not None or found.update_seconds is not None):
        values["renewed_seconds"] = sum(after[0]) - turned_at
    full_speed_at = _full_speed_at([at for at, _seconds in steps if at < found.at], [at for at, _ in after])
    return values | ({} if full_speed_at is None else {"full_speed_seconds": full_speed_at - goes_on_at})


def _full_speed_at(before: Sequence[float], after: Sequence[float]) -> float | None:
    """When the first engine step began whose distance to the next is one of before the interruption, as is
    the median of _IN_A_ROW from there on.

    Every sample gets a token of each step, so the distance of two steps is how fast a sample is generated,
    however many others there are. What 9 of 10 of the last _BEFORE distances did not exceed is one of before.
    None where there are too few steps, or it was not reached.
    """
    known = [later - earlier for earlier, later in pairwise(before)][-_BEFORE:]
    gaps = [later - earlier for earlier, later in pairwise(after)]
    if len(known) < _IN_A_ROW:
        return None
    limit = percentile(known, 0.9)
    return next(
        (
            after[place]
            for place in range(len(gaps) - _IN_A_ROW + 1)
            if gaps[place] <= limit and median(gaps[place : place + _IN_A_ROW]) <= limit
        ),
        None,
    )
