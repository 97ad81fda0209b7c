"""Which workers of the paths in a session run and which are stopped, as a rollout sees it."""

import asyncio
import os
import time
from pathlib import Path

from . import behaviour

_PATIENCE_SECONDS = 5.0  # whoever is stopped may take a moment to


def add(path: str, worker: int) -> None:
    """Note the worker of a path, where paths watch each other."""
    if "FAKE_ALONE" in os.environ:
        _folder().mkdir(exist_ok=True)
        (_folder() / path).write_text(str(worker))


async def wait_until_alone(path: str) -> None:
    """Wait until no other path's worker runs, and note which do then; one that has died runs on for now."""
    if "FAKE_ALONE" not in os.environ:
        return
    end = time.monotonic() + _PATIENCE_SECONDS
    while (running := _running()) != [path]:
        mortal = any(behaviour.dies_at(one) for one in running if one != path)
        if time.monotonic() > end - (_PATIENCE_SECONDS - 0.1) * mortal:
            break
        await asyncio.sleep(0.01)
    behaviour.note("running", path, *running)


def state(pid: int | str) -> str:
    """The letter of a process's state in /proc; Z where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return "Z"


def _running() -> list[str]:
    return [one.name for one in _folder().iterdir() if state(one.read_text()) not in "TZ"]


def _folder() -> Path:
    return behaviour.notes() / "workers"
