"""Keeps each process of an engine on a core of its own, the same one for every contestant in a round.

Where the kernel chooses, a process that was stopped wakes on another core, beside other neighbours on a host
that is shared: each rollout had a speed of its own, also beside the next one of the same session. The cores
are those that are the fastest just before the round.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")

_SPARE = 4
"""There must be so many times as many cores as processes: others need some, such as Ray's. On 2 cores pinning
changed which path is faster."""


_SPINS, _SPIN = 4, 20_000
"""How often, and for how many turns of a loop, the speed of a core is measured: some 2 ms in all."""


def by_speed() -> list[int]:
    """The numbers of the CPUs that this process may use, the fastest at present first.

    On a host that is shared a core is slower for as long as another machine uses the other thread of it.
    """
    allowed = os.sched_getaffinity(0)
    try:
        return sorted(allowed, key=_spin_seconds)
    finally:
        os.sched_setaffinity(0, allowed)


def _spin_seconds(cpu: int) -> float:
    os.sched_setaffinity(0, {cpu})
    times = []
    for _ in range(_SPINS):
        begin = time.perf_counter()
        for _turn in range(_SPIN):
            pass
        times.append(time.perf_counter() - begin)
    return sorted(times)[_SPINS // 2]


def cores_for(processes: int, order: Sequence[int]) -> list[set[int]]:
    """A core for each process, as the numbers of its threads; none where there are too few.

    The first core is left to others: interrupts are often there. Of the others those are taken whose numbers
    come first in `order`.
    """
    found: dict[str, set[int]] = {}
    for number in sorted(os.sched_getaffinity(0)):
        siblings = str(number)
        with suppress(OSError):
            siblings = (_CPUS / f"cpu{number}" / "topology" / "thread_siblings_list").read_text()
        found.setdefault(siblings, set()).add(number)
    if len(found) < _SPARE * processes:
        return []
    place = {number: rank for rank, number in enumerate(order)}
    cores = sorted([*found.values()][1:], key=lambda core: min(place[one] for one in core))
    return cores[:processes]


def pin(pids: Sequence[int], cores: Sequence[set[int]]) -> None:
    """Keep each process, with all of its threads, on the core at its place."""
    for pid, core in zip(pids, cores, strict=True):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), core)
