"""Fifty starts and stops in a row leave nothing: `make endurance`, which prints what there was and is."""

import os
import threading
import time
from pathlib import Path

import psutil
import pytest
from contract import NEEDS_NO_CLUSTER, ask, leave_out_what_threads_cannot, most_descriptors_left, started
from leaks import eventually, nothing_left, ray_actors

from rollout_perf import WorkerDied

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(1800)]

STARTS = 50
KILLED_EACH = 10
"""Every tenth start ends with the death of its worker."""


def figures(folder: Path) -> dict[str, int]:
    """What this process, its descendants and the cluster that it knows hold now."""
    here = psutil.Process()
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "threads with those of libraries": here.num_threads(),
        "descendants": len(here.children(recursive=True)),
        "actors": len(ray_actors()),
        "files": len(list(folder.iterdir())),
        "resident MiB": here.memory_info().rss >> 20,
    }


def test_fifty_starts_and_stops_in_a_row_leave_nothing(request, path, folder):
    leave_out_what_threads_cannot(request, path)
    kinds = () if path in NEEDS_NO_CLUSTER else ("file", "actor")
    with nothing_left(folder, only=kinds):
        with started(path, folder) as transport:  # a library keeps some of its first start
            ask(transport, "later", (0.01, "a thread for replies"))
        before, begin = figures(folder), time.monotonic()
        for number in range(STARTS):
            with started(path, folder) as transport:
                assert ask(transport, "echo", number) == [number]
                if number % KILLED_EACH == KILLED_EACH - 1:
                    with pytest.raises(WorkerDied):
                        ask(transport, "die")
        seconds = time.monotonic() - begin

        allowed = before | {"descriptors": before["descriptors"] + most_descriptors_left(path, STARTS)}
        counted = ("descriptors", "threads", "actors", "files")
        quiet = eventually(lambda: all(figures(folder)[name] <= allowed[name] for name in counted))
        after = figures(folder)
    print(f"{path}: {STARTS} starts and stops in {seconds:.0f} s")
    for name in before:
        print(f"  {name}: {before[name]} before, {after[name]} after")
    assert quiet, (before, after)
