"""A process that loads a core in bursts while a command runs, as a neighbour on a shared host does.

    python -m studies.bursts python -m studies.planted none --tracked nano --paths zmq --folder exam

Bursts and the pauses between them have random lengths; what they are like follows from the seed.
"""

import argparse
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator

BUSY, IDLE = 3.0, 6.0
"""Mean seconds of a burst and of a pause; both are exponential."""


@contextlib.contextmanager
def bursts(seed: int = 0) -> Iterator[None]:
    """For a block, a process that computes on one core in bursts; it ends with this one at the latest."""
    process = subprocess.Popen([sys.executable, __file__, "--seed", str(seed), "--load", str(os.getpid())])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _load(seed: int, parent: int) -> None:
    draw = random.Random(seed)
    while os.getppid() == parent:
        end = time.monotonic() + draw.expovariate(1 / BUSY)
        while time.monotonic() < end and os.getppid() == parent:
            pass
        end += draw.expovariate(1 / IDLE)
        while (left := end - time.monotonic()) > 0 and os.getppid() == parent:
            time.sleep(min(left, 0.5))


def main() -> None:
    """Run a command under the load; its exit status is this one's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--load", type=int, help=argparse.SUPPRESS)  # the process with which it ends
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if given.load:
        _load(given.seed, given.load)
    with bursts(given.seed):
        sys.exit(subprocess.run(given.command).returncode)


if __name__ == "__main__":
    main()
