"""When the requests of a workload are sent: a constant number in flight, at drawn times, or at a trace's.

    window:8    rate:2.5    trace

By default, as a batch, all are sent at once.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence

WAYS = "batch, window:N, rate:R or trace"

TRACE = "trace"

_MOST_SECONDS = 240.0
"""The longest that requests may arrive for: a rollout has a deadline."""


def window(way: str | None) -> int | None:
    """How many requests are in flight, where that is settled. Raises ValueError where it is no number."""
    name, _, number = (way or "").partition(":")
    return int(number) if name == "window" else None


def due_seconds(
    way: str | None, requests: int, seed: str, known: Sequence[float | None] | None
) -> list[float] | None:
    """When each request is due, from the rollout's begin; None where that is not settled by a clock.

    Of a rate, gaps are drawn from the seed, exponentially, as of a Poisson process. Raises ValueError, in a
    line, for what is none of WAYS or cannot be had of so many requests.
    """
    name, _, number = (way or "").partition(":")
    if way is None:
        return None
    if name == "window" and number.isdecimal():
        if not 1 <= int(number) <= requests:
            raise ValueError(f"arrival is {way}; a window is of 1 to all {requests} requests")
        return None
    if name == "rate":
        due = _poisson(way, number, requests, seed)
    elif way == TRACE:
        if known is None or any(one is None for one in known):
            raise ValueError("arrival is trace; give a --workload whose rows all have arrival_seconds")
        due = [one for one in known if one is not None]
    else:
        raise ValueError(f"arrival is {way!r}; give {WAYS}")
    if max(due) > _MOST_SECONDS:
        raise ValueError(
            f"arrival is {way}; the last request would come after {max(due):.0f} s, and {_MOST_SECONDS:g} s "
            "are allowed: give fewer requests, or let them come faster"
        )
    return due


def _poisson(way: str, number: str, requests: int, seed: str) -> list[float]:
    try:
        rate = float(number)
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf:
        raise ValueError(f"arrival is {way}; a rate must be a number of requests a second, above 0")
    draw = random.Random(seed)
    due = [0.0]
    while len(due) < requests:
        due.append(due[-1] + draw.expovariate(rate))
    return due


async def send_all(
    send: Callable[[int, float], Awaitable[None]],
    chains: Sequence[Sequence[tuple[int, float]]],
    width: int | None,
    due: Sequence[float] | None,
) -> None:
    """Call `send` with the number of each request and when it was due, of perf_counter, and wait for all.

    A chain is of requests of which each is due so many seconds after the one before it has been sent and
    answered. With a width there are as many chains under way at any time, in their order; otherwise each
    begins when it is `due`, or all at once. What one raises is raised, and those under way are cancelled.
    """
    begin = time.perf_counter()
    left = iter(chains)

    async def run(chain: Sequence[tuple[int, float]], at: float) -> None:
        for place, (number, delay) in enumerate(chain):
            at = time.perf_counter() + delay if place else at
            if (wait := at - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            await send(number, at)

    async def one_after_another() -> None:
        for chain in left:
            await run(chain, time.perf_counter())

    if width is None:
        starts = due or [0.0] * len(chains)
        coroutines = [run(chain, begin + start) for chain, start in zip(chains, starts, strict=True)]
    else:
        coroutines = [one_after_another() for _ in range(width)]
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
