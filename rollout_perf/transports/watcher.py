"""Ends what is left of a run: for the front that leaves the block, and instead of a front that was killed.

A front that is killed ends nothing itself, and vLLM's own engine and workers do not look whether it lives.
So every run has a process of its own that waits for the front's end, by the kernel's word:

    python -I -S watcher.py FOLDER FRONT < PIPE

It is run as a file, and imports the standard library alone: it starts in 20 ms, beside the front. Its
environment is empty, so that whoever ends processes by a mark leaves it there to clean up.

Processes of a run are known by the environment variable ROLLOUT_PERF_RUN. Those that vLLM forks show the
environment that the front began with instead. They hold the front's end of the watcher's pipe, as a fork does
that is made while the run's engine starts, and have the title that vLLM gives them.
"""

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

VARIABLE = "ROLLOUT_PERF_RUN"

_SHARED_MEMORY = Path("/dev/shm")
_NOTED = "shared-memory"
_TITLE = b"VLLM::"
_TRACKER = b"multiprocessing.resource_tracker"
_TRACKER_SECONDS = 2.0
"""How long Python's resource trackers live on to unlink what they know: they end with those they serve."""
_LAST_SECONDS = 10.0
"""How long whoever has been killed may take to end."""
_LOOK_SECONDS = 0.05


def pipe_of(descriptor: int) -> str:
    """The pipe that a descriptor of this process belongs to, as /proc names it."""
    return os.readlink(f"/proc/self/fd/{descriptor}")


def members(folder: str, pipe: str) -> list[int]:
    """Every living process of the run, other than the one that asks."""
    mark = f"{VARIABLE}={folder}".encode()
    return [
        pid
        for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
        if pid != os.getpid()
        and (mark in _read(pid, "environ").split(b"\0") or (_is_forked(pid) and _holds(pid, pipe)))
    ]


def described(pids: Iterable[int]) -> list[str]:
    """Each as "name (state, seconds of CPU)", where it is still there; proc(5) has the states."""
    found = []
    for pid in pids:
        name, _, rest = _read(pid, "stat").decode(errors="replace").rpartition(")")
        if name:
            state, *fields = rest.split()
            seconds = (int(fields[10]) + int(fields[11])) / os.sysconf("SC_CLK_TCK")
            found.append(f"{name.partition('(')[2]} ({state}, {seconds:.0f} s)")
    return found


def kill(pids: Iterable[int]) -> None:
    """Kill those of the processes that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def mapped(folder: str, pipe: str) -> set[str]:
    """Names of the shared memory that the run's processes use."""
    return set().union(*map(_mapped, members(folder, pipe)))


def end(folder: str, pipe: str, grace_seconds: float, known: Iterable[str] = ()) -> None:
    """Wait for the run's processes to end, kill those that do not or cannot, and remove what they leave.

    `known` are names of shared memory that the run has used: who has ended cannot be asked any more.
    """
    begin = time.monotonic()
    ends: dict[int, int] = {}
    segments = set(known)
    quiet = True
    try:
        while (waited := time.monotonic() - begin) < grace_seconds + _LAST_SECONDS:
            found = members(folder, pipe)
            for pid in found:
                if pid not in ends:
                    with contextlib.suppress(ProcessLookupError):
                        ends[pid] = os.pidfd_open(pid)
                segments |= _mapped(pid)
            if not found and all(map(_is_ready, ends.values())):
                if quiet:
                    break
                quiet = True  # look again: one that was about to start may have shown no environment yet
            else:
                quiet = False
            late = waited >= grace_seconds + _TRACKER_SECONDS
            over = waited >= grace_seconds
            kill(pid for pid in found if late or _is_stopped(pid) or (over and not _is_tracker(pid)))
            time.sleep(_LOOK_SECONDS)
    finally:
        for descriptor in ends.values():
            os.close(descriptor)
    _remove_unmapped(segments, Path(folder))
    remove_shared_memory(Path(folder))
    shutil.rmtree(folder, ignore_errors=True)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""  # it has ended, or is another user's


def _is_forked(pid: int) -> bool:
    return _read(pid, "cmdline").startswith(_TITLE)


def _is_tracker(pid: int) -> bool:
    return _TRACKER in _read(pid, "cmdline")


def _is_stopped(pid: int) -> bool:
    """Whether a signal has stopped it, so that it does not end by itself."""
    return _read(pid, "stat").rpartition(b")")[2].split()[:1] == [b"T"]


def _holds(pid: int, pipe: str) -> bool:
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}") == pipe:
                    return True
    return False


def _is_ready(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


# --- shared memory ----------------------------------------------------------------------------------


def write_private(path: Path, text: str) -> None:
    """Make a file that only this user can read, from its creation on. Raises FileExistsError."""
    with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)


def note_shared_memory(folder: Path, pattern: str) -> None:
    """Note what shared memory and semaphores of the run are called: who is killed leaves them."""
    write_private(folder / f"{_NOTED}-{os.getpid()}-{time.monotonic_ns()}", pattern)


def remove_shared_memory(folder: Path) -> None:
    """Remove what has been noted, once those that use it have ended."""
    for note in folder.glob(f"{_NOTED}-*"):
        for segment in _SHARED_MEMORY.glob(note.read_text()):
            segment.unlink(missing_ok=True)
        note.unlink()


def _mapped(pid: int) -> set[str]:
    """Names of what a process has mapped of /dev/shm."""
    prefix = f"{_SHARED_MEMORY}/".encode()
    lines = (line.partition(prefix) for line in _read(pid, "maps").splitlines())
    return {os.fsdecode(name) for _before, here, name in lines if here and not name.endswith(b" (deleted)")}


def _remove_unmapped(names: set[str], folder: Path) -> None:
    """Remove what is younger than the run, and what no process uses any more."""
    try:
        begin = (folder / "run.json").stat().st_mtime
    except OSError:
        return
    young = set()
    for name in names:
        with contextlib.suppress(OSError):
            if (_SHARED_MEMORY / name).stat().st_ctime >= begin:
                young.add(name)
    if young:
        for pid in filter(str.isdigit, os.listdir("/proc")):
            young -= _mapped(int(pid))
    for name in young:
        (_SHARED_MEMORY / name).unlink(missing_ok=True)


# --- the process that watches -----------------------------------------------------------------------


def _wait_for(front: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(front)
        if os.getppid() == front:  # else it had ended before, and the number may be another's
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            poller.poll()


def main() -> None:
    """Wait for the front's end, and end its run."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whoever ends everything would leave the engine otherwise
    folder, front = sys.argv[1], int(sys.argv[2])
    pipe = pipe_of(sys.stdin.fileno())
    _wait_for(front)
    end(folder, pipe, 0.0)


if __name__ == "__main__":
    main()
