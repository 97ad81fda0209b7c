"""Finds processes by a mark in their environment, and ends them.

As a program it does so for an asker, which may be killed: it waits for the end of its standard input, which
the asker holds open, kills what carries the mark and removes a folder.

    python -I -S marked.py NAME VALUE FOLDER < PIPE

It is run as a file and imports the standard library alone, so that it starts at once. Its environment is
empty: whoever ends processes by a mark leaves it there.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

_KILL_SECONDS, _TRACKER_SECONDS = 4.0, 2.0


def carries(folder: Path, name: str, value: str) -> bool:
    """Whether the process of a folder of /proc has `name` set to `value` in its environment.

    Raises OSError where that is not for us to see, or the process has ended.
    """
    return f"{name}={value}".encode() in (folder / "environ").read_bytes().split(b"\0")


def marked(name: str, value: str) -> list[int]:
    """Processes that have `name` set to `value` in their environment, other than this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if carries(folder, name, value) and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def signal_all(pids: Iterable[int], number: int) -> None:
    """Send a signal to each of these processes that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_marked(name: str, value: str) -> None:
    """Kill the processes that `marked` finds, until there are none.

    Python's resource trackers come last: they end with those they serve, and unlink their shared memory.
    """
    begin = time.monotonic()
    while (waited := time.monotonic() - begin) < _KILL_SECONDS:
        processes = marked(name, value)
        if not processes:
            return
        late = waited > _TRACKER_SECONDS
        signal_all((pid for pid in processes if late or not _is_tracker(pid)), signal.SIGKILL)
        time.sleep(0.1)


def let_end(name: str, value: str, grace_seconds: float) -> None:
    """Wait for the processes that carry a mark to end, then kill them."""
    end = time.monotonic() + grace_seconds
    while marked(name, value) and time.monotonic() < end:
        time.sleep(0.2)
    kill_marked(name, value)


def end_with_asker(name: str, value: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start what kills the processes with the mark and removes a folder, once its standard input ends."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, name, value, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,
    )


def _is_tracker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def main() -> None:
    """Wait for the asker's end, and end what it has asked for."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whoever ends everything would leave the engines otherwise
    name, value, folder = sys.argv[1:]
    os.read(sys.stdin.fileno(), 1)
    kill_marked(name, value)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
