"""The environment of this process, lent to an engine while it starts, and then the caller's again.

vLLM reads its settings there, writes there too, and hands it on to its processes, which cannot be given
another. So engines start one at a time, each with the environment to itself; however many rollouts are open,
and in whatever order they close, the caller sees nothing of it and may change his own.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping

_LOOK_SECONDS = 0.05

_starting = threading.Lock()
_imported: dict[str, tuple[str | None, str | None]] = {}
"""Old and new value of what a first import has changed."""


@contextlib.asynccontextmanager
async def lent() -> AsyncIterator[None]:
    """Have the environment for the start of one engine: whatever is different after the block is undone."""
    while not _starting.acquire(blocking=False):  # noqa: ASYNC110 - a lock of asyncio's knows one loop alone
        await asyncio.sleep(_LOOK_SECONDS)
    try:
        with _undone():
            for name, (old, new) in _imported.items():
                _replace(name, old, new)
            yield
    finally:
        _starting.release()


@contextlib.contextmanager
def importing(module: str) -> Iterator[None]:
    """Undo what the block, which imports a module, changes in the environment where it is the first to do so.

    The module relies on it, and sets it only once: who borrows the environment has it again.
    """
    if module in sys.modules:
        yield
        return
    with _undone() as changes:
        yield
    _imported.update(changes)


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Have `values` in the environment for a block; what has been changed there by its end stays so."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in values.items():
            _replace(name, value, before[name])


@contextlib.contextmanager
def _undone() -> Iterator[dict[str, tuple[str | None, str | None]]]:
    """Undo what the block changes; then in what it yields: old and new value by name."""
    before = dict(os.environ)
    changes: dict[str, tuple[str | None, str | None]] = {}
    try:
        yield changes
    finally:
        after = dict(os.environ)
        for name in sorted(before.keys() | after.keys()):
            old, new = before.get(name), after.get(name)
            if old != new:
                changes[name] = (old, new)
                _replace(name, new, old)


def _replace(name: str, value: str | None, by: str | None) -> None:
    """Give a variable another value, or none, where it has `value`; else it is someone else's."""
    if os.environ.get(name) != value:
        return
    if by is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = by
