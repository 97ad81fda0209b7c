"""A rollout that is interrupted in its middle: samples aborted, the engine paused, or its weights replaced.

    abort:0.5    pause:keep    update:keep

What is aborted is sent again with the tokens that it had, as partial rollouts are. A pause is that of a
weight update that takes no time; an update is a pause in which every worker copies a whole set of weights.
"""

import asyncio
import time
from dataclasses import dataclass

from .door import Interruptible
from .samples import Counts

WAYS = "none, abort:SHARE, pause:MODE or update:MODE, of the modes abort, wait and keep"

_UPDATE = "update"

_MODES = ("abort", "wait", "keep")


@dataclass(frozen=True)
class Interruption:
    """When a rollout was interrupted, of perf_counter, and when the engine was quiet and might go on."""

    at: float
    quiet_at: float
    updated_at: float | None = None
    """When every worker had its new weights, where it was to get them."""


def check(way: str) -> None:
    """Raise ValueError for what is no interruption, in a line."""
    kind, _, what = way.partition(":")
    if kind in ("pause", _UPDATE) and what in _MODES:
        return
    try:
        share = float(what) if kind == "abort" else 0.0
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ValueError(f"interrupt is {way!r}; give {WAYS}; a share is above 0 and at most 1")


def updates(way: str | None) -> bool:
    """Whether weights are replaced."""
    return way is not None and way.startswith(f"{_UPDATE}:")


async def interrupt(rollout: Interruptible, way: str, after_seconds: float) -> Interruption:
    """Interrupt a rollout that many seconds from now."""
    kind, _, what = way.partition(":")
    await asyncio.sleep(after_seconds)
    at = time.perf_counter()
    if kind == "abort":
        await rollout.abort(float(what))
        return Interruption(at, time.perf_counter())
    await rollout.pause(what)
    quiet_at, updated_at = time.perf_counter(), None
    if updates(way):
        await rollout.call_workers("probe_update")
        updated_at = time.perf_counter()
    await rollout.resume()
    return Interruption(at, quiet_at, updated_at)


def interruption_metrics(
    found: Interruption, counts: Counts, resent_tokens: int, own_tokens: int, tokens: int
) -> dict[str, float]:
    """One sample of each metric of an interruption, from one rollout of so many tokens.

    `resent_tokens` are those of what was sent again, `own_tokens` those of the prompts that would have been
    computed without it.
    """
    again = (counts.prompt_tokens or 0) - (counts.cached_tokens or 0) - own_tokens
    values = {
        "quiet_seconds": found.quiet_at - found.at,
        "resent_share": resent_tokens / tokens,
        "recomputed_share": max(0, again) / tokens,
    }
    goes_on_at = found.quiet_at
    if found.updated_at is not None:
        goes_on_at = found.updated_at
        values["update_seconds"] = found.updated_at - found.quiet_at
    began = [at for steps in counts.steps[:1] for at, _seconds in steps if at >= goes_on_at]
    return values | ({"resume_seconds": min(began) - goes_on_at} if began else {})
