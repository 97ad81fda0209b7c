"""How fast the cores of this host are from moment to moment: a loop of Python on each, again and again.

    python -m studies.core_speeds --cores 6 --seconds 12

On a host that is shared a core has two speeds, by whether another machine uses its other thread. How long one
lasts is told by the autocorrelation of the loop's times: what it takes now says that much of what it takes so
much later.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Sequence
from itertools import takewhile

import numpy as np
from rollout_bench.report.table import table

_TURNS = 40_000
"""Of the loop: some 0.6 ms."""
_LAGS = (1, 10, 100, 300, 1000, 3000)
_SHOWN = (1, 25, 50, 75, 99)


def times_on(cpu: int, seconds: float) -> np.ndarray:
    """Seconds that the loop takes on a core, one time after the other."""
    os.sched_setaffinity(0, {cpu})
    times, end = [], time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        for _ in range(_TURNS):
            pass
        times.append(time.perf_counter() - begin)
    return np.array(times)


def autocorrelation(values: np.ndarray, lag: int) -> float:
    """Of the logarithms of values, with those so many places later; 0 where all are the same."""
    away = np.log(values) - np.log(values).mean()
    total = float((away**2).sum())
    return float((away[lag:] * away[:-lag]).sum()) / total if total else 0.0


def row(cpu: int, times: np.ndarray) -> list[str]:
    """A line of the table."""
    shown = np.percentile(times * 1e3, _SHOWN)
    lags = takewhile(lambda lag: lag < len(times) // 2, _LAGS)
    lasting = [f"{autocorrelation(times, lag):.2f} ({lag * times.mean() * 1e3:.1f} ms)" for lag in lags]
    return [str(cpu), str(len(times)), *(f"{one:.2f}" for one in shown), ", ".join(lasting)]


def _measured(given: tuple[int, float]) -> list[str]:
    return row(given[0], times_on(*given))


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cores", type=int, default=6, help="so many at once (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=12.0, help="for so long (default %(default)s)")
    given = parser.parse_args(words)
    allowed = sorted(os.sched_getaffinity(0))
    cpus = allowed[-given.cores :]  # the first has the interrupts
    with multiprocessing.Pool(len(cpus)) as pool:
        rows = pool.map(_measured, [(cpu, given.seconds) for cpu in cpus], chunksize=1)
    print(f"a loop of {_TURNS:,} turns on {len(cpus)} of {len(allowed)} CPUs at once, milliseconds")
    heads = ["cpu", "loops", *(f"p{one}" for one in _SHOWN), "autocorrelation (after)"]
    print(table(heads, rows))


if __name__ == "__main__":
    main()
