"""Prints the cores of a run, where several are up: `cores.py NUMBER RUNS`. Threads of a core go together."""

import os
import sys
from pathlib import Path


def place(core: int) -> list[int]:
    """The socket of a core, and its number there; as the kernel counts where it does not say."""
    topology = Path(f"/sys/devices/system/cpu/cpu{core}/topology")
    try:
        return [int((topology / name).read_text()) for name in ("physical_package_id", "core_id")]
    except OSError:
        return [0, core]


number, runs = map(int, sys.argv[1:])
cores = sorted(os.sched_getaffinity(0), key=lambda core: (place(core), core))
each = len(cores) // runs
print(*cores[number * each : (number + 1) * each], sep=",")
