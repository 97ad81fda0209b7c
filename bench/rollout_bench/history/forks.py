"""Work over a long history on all cores: forks of this process, with which it is shared and not sent.

with forks(work) as spread:
    found = spread(items)  # begins at once
    ...
    for one in found: ...  # in the order of the items
"""

import contextlib
import ctypes
import gc
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context
from typing import Any, TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")

MANY_POINTS = 5_000
"""Points of a history that is long: forks take a tenth of a second to begin."""

_PR_SET_PDEATHSIG = 1  # prctl(2)


@contextlib.contextmanager
def forks(work: Callable[[Item], Found]) -> Iterator[Callable[[Iterable[Item]], Iterator[Found]]]:
    """What spreads `work` over items. They and what comes back are pickled, what `work` has around it is not.

    The forks do not outlive the block, nor the process, whatever ends it.
    """
    with ProcessPoolExecutor(
        len(os.sched_getaffinity(0)), get_context("fork"), initializer=_begin, initargs=(work,)
    ) as pool:
        try:
            yield lambda items: pool.map(_do, items)
        except BaseException:  # the pool would wait until they have done all that they were given
            for fork in active_children():
                fork.kill()
            raise


def over(work: Callable[[Item], Found], items: Iterable[Item], many: bool) -> Iterator[Found]:
    """What `work` makes of each item, by forks where they are worth it."""
    if not many:
        yield from map(work, items)
        return
    with forks(work) as spread:
        yield from spread(items)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Without looks for garbage, which take more than half of the time while millions of records come in."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


_work: Callable[[Any], Any]
"""What a fork does."""


def _begin(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    gc.freeze()  # what is shared stays so: a collection would write to every object
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # who forked this one ends it
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _do(item: Any) -> Any:
    return _work(item)
