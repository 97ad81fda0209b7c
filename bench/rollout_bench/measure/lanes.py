"""Shares of this host for sessions that are up at once: each lane has cores, and GPUs, that no other has.

    lanes = split(2, gpus_each=1)
    records = in_each(lanes, lambda lane: run_session(..., lane=lane))

As a program it prints the cores of a lane, as taskset takes them:

    python -m rollout_bench.measure.lanes NUMBER COUNT    # NUMBER from 0

Standard library only: asv's own processes do not see what ASV_PYTHONPATH provides.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from . import machine, pinning

_Result = TypeVar("_Result")

_CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Lane:
    """What a session has of this host."""

    number: int
    """From 1."""
    of: int
    """How many lanes there are; a single one is the whole host, as it is without lanes."""
    cores: frozenset[int]
    """Numbers of CPUs, which are threads of cores."""
    gpus: Sequence[str]
    """As CUDA_VISIBLE_DEVICES names them; none where there is no GPU, or the lane is the whole host."""
    ended: threading.Event = field(default_factory=threading.Event, compare=False)
    """Set once what is under way in it is to end, as Ctrl-C ends what the main thread does."""

    @property
    def name(self) -> str:
        """How progress names it."""
        return f"lane {self.number}"

    @property
    def variables(self) -> Mapping[str, str]:
        """What its processes have in their environment."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else {}

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What a record says of it: nothing of the whole host."""
        if self.of == 1:
            return {}
        facts = {"number": self.number, "of": self.of, "cores": sorted(self.cores), "gpus": [*self.gpus]}
        return {"lane": facts}

    @contextmanager
    def on_cores(self) -> Iterator[None]:
        """For a block, keep the thread that calls, and the processes that it starts, on the lane's cores."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.cores)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


def most(gpus_each: int) -> int:
    """How many lanes this host has room for, of so many GPUs each; without a GPU one for each core."""
    cores, gpus = len(os.sched_getaffinity(0)), len(machine.gpus())
    return max(1, min(cores, gpus // gpus_each) if gpus else cores)


def split(count: int, gpus_each: int) -> list[Lane]:
    """So many lanes, of as many as there is room for, with an equal share of the cores each.

    Their GPUs are spread as their cores are: those of a host's second socket come last too.
    """
    named = machine.gpu_names() if count > 1 else []
    apart = len(named) // count
    return [
        Lane(number + 1, count, frozenset(cores), named[number * apart :][:gpus_each])
        for number, cores in enumerate(shares_of_cores(count))
    ]


def shares_of_cores(count: int) -> list[list[int]]:
    """The CPUs that this process may use in so many shares: neighbours in a socket, and threads of a core
    in one share while there are as many cores as shares."""
    cores = sorted(map(sorted, pinning.cores()), key=lambda core: (_socket(core[0]), core))
    if len(cores) < count:
        cores = [[one] for one in chain(*cores)]
    each = len(cores) // count
    return [[*chain(*cores[number * each : (number + 1) * each])] for number in range(count)]


def _socket(cpu: int) -> int:
    try:
        return int((_CPUS / f"cpu{cpu}" / "topology" / "physical_package_id").read_text())
    except OSError:  # as in a sandbox
        return 0


def in_each(lanes: Sequence[Lane], work: Callable[[Lane], _Result]) -> list[_Result]:
    """What some work gives in each lane, all at once, in threads; in a single lane it is the caller's own.

    Whoever calls is `alone` already: each lane would wait for the others. Where one raises, or the caller is
    interrupted, the work of the others is ended, and has ended when this raises.
    """
    if len(lanes) == 1:
        return [work(lanes[0])]
    with ThreadPoolExecutor(len(lanes)) as threads:
        try:
            futures = [threads.submit(work, lane) for lane in lanes]
            for one in wait(futures, return_when=FIRST_EXCEPTION).done:
                one.result()
            return [one.result() for one in futures]
        except BaseException:
            for lane in lanes:
                lane.ended.set()
            raise


if __name__ == "__main__":
    number, count = map(int, sys.argv[1:])
    print(*shares_of_cores(count)[number], sep=",")
