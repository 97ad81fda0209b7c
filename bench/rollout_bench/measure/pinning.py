"""Keeps each process of an engine on a core of its own, the same one for every contestant of a session.

Where the kernel chooses, a process that was stopped wakes on another core, beside other neighbours on a host
that is shared: each rollout had a speed of its own, also beside the next one of the same session.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")

_SPARE = 4
"""There must be so many times as many cores as processes: others need some, such as Ray's. On 2 cores pinning
changed which path is faster."""


def cores_for(processes: int) -> list[set[int]]:
    """A core for each process, as the numbers of its threads; none where there are too few.

    The first core is left to others: interrupts are often there.
    """
    found: dict[str, set[int]] = {}
    for number in sorted(os.sched_getaffinity(0)):
        siblings = str(number)
        with suppress(OSError):
            siblings = (_CPUS / f"cpu{number}" / "topology" / "thread_siblings_list").read_text()
        found.setdefault(siblings, set()).add(number)
    return [*found.values()][1 : 1 + processes] if len(found) >= _SPARE * processes else []


def pin(pids: Sequence[int], cores: Sequence[set[int]]) -> None:
    """Keep each process, with all of its threads, on the core at its place."""
    for pid, core in zip(pids, cores, strict=True):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), core)
