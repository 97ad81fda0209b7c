"""Keeps each process of an engine on a core of its own, and watches how fast those cores are meanwhile.

On a host that is shared a core runs at half its speed while another machine uses the other thread of it, and
that comes and goes within tenths of a second to seconds (docs/gpu-runs.md). So the cores are those that are
fastest just before a rollout, and its record says how slow they were meanwhile.
"""

import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean

_CPUS = Path("/sys/devices/system/cpu")

_SPARE = 4
"""There must be so many times as many cores as processes: others need some, such as Ray's. On 2 cores pinning
changed which path is faster. Of a large host no more than that are asked how fast they are, drawn anew."""

_SPINS, _SPIN = 4, 20_000
"""How often, and for how many turns of a loop, the speed of a core is measured: some 2 ms in all."""


_SAMPLE_SPIN = 3000
"""Turns of the loop by which a core's speed is sampled while an engine has it: some 40 us of its time, and as
much again to have the loop in its caches."""


class Speed:
    """How fast cores are while a rollout is under way."""

    fastest = float("inf")
    """Seconds that the samples took on the fastest core that this process has seen."""

    def __init__(self, cores: Sequence[set[int]]):
        self._cores = [min(core) for core in cores]
        self._seconds: list[float] = []
        self._allowed = os.sched_getaffinity(0)

    def sample(self) -> None:
        """Ask each core, by CPU time: the engine has the core besides. It waits for some 0.1 ms meanwhile."""
        for cpu in self._cores:
            os.sched_setaffinity(0, {cpu})
            _cpu_seconds(_SAMPLE_SPIN)
            self._seconds.append(_cpu_seconds(_SAMPLE_SPIN))
        os.sched_setaffinity(0, self._allowed)

    def slowness(self) -> float | None:
        """The mean of what was sampled, as a multiple of the fastest sample; None if there is none."""
        if not self._seconds:
            return None
        Speed.fastest = min(Speed.fastest, *self._seconds)
        return round(fmean(self._seconds) / Speed.fastest, 3)


def _cpu_seconds(turns: int) -> float:
    begin = time.thread_time()
    for _turn in range(turns):
        pass
    return time.thread_time() - begin


def by_speed(processes: int) -> list[int]:
    """The numbers of the CPUs that this process may use, the fastest at present first, for so many processes.

    Those that are not asked come last. On a host that is shared a core is slower for as long as another
    machine uses the other thread of it.
    """
    allowed = os.sched_getaffinity(0)
    try:
        asked = random.sample(sorted(allowed), min(_SPARE * processes + 1, len(allowed)))
        return sorted(asked, key=_spin_seconds) + sorted(allowed.difference(asked))
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


def cores_for(processes: int, order: Callable[[int], Sequence[int]] = by_speed) -> list[set[int]]:
    """A core for each process, as the numbers of its threads; none where there are too few.

    The first core is left to others: interrupts are often there. Of the others those are taken whose numbers
    come first in the `order` for so many processes, which is asked for where there are enough.
    """
    found = cores()
    if len(found) < _SPARE * processes:
        return []
    place = {number: rank for rank, number in enumerate(order(processes))}
    return sorted(found[1:], key=lambda core: min(place[one] for one in core))[:processes]


def cores() -> list[set[int]]:
    """The cores that this process may use, in their order, as the numbers of their threads."""
    found: dict[str, set[int]] = {}
    for number in sorted(os.sched_getaffinity(0)):
        siblings = str(number)
        with suppress(OSError):
            siblings = (_CPUS / f"cpu{number}" / "topology" / "thread_siblings_list").read_text()
        found.setdefault(siblings, set()).add(number)
    return [*found.values()]


def pin(pids: Sequence[int], cores: Sequence[set[int]]) -> None:
    """Keep each process, with all of its threads, on the core at its place."""
    for pid, core in zip(pids, cores, strict=True):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), core)
