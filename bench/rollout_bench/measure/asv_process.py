"""The asv that runs this process, an ancestor: it passes on neither --machine nor what a setup_cache says,
nor its own end where it is killed.

It is looked up in /proc; without that, or where a program of another name runs asv's code, it is unknown.
Standard library only.
"""

import argparse
import contextlib
import ctypes
import functools
import json
import os
import platform
import re
import select
import signal
import stat
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

_ASV = re.compile(r"(?:[^\0]*python[^\0/]*\0(?:-[^\0]*\0)*)?(?:[^\0]*/)?asv\0")
"""The beginning of asv's command line: its script, which Python runs, or Python's -m asv."""

_COMMANDS = ("run", "continuous", "find")
"""asv's commands that measure on a named machine."""

_PR_SET_PDEATHSIG = 1  # prctl(2)


def find_asv() -> tuple[int, list[str]] | None:
    """The nearest ancestor that is asv, and the words that follow its name; None where there is none."""
    pid = os.getppid()
    with contextlib.suppress(OSError, ValueError, IndexError):
        while pid > 1:
            line = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
            if called := _ASV.match(line):
                return pid, line[called.end() :].split("\0")
            # Behind the program's name, which is in brackets and may have any sign in it: state and parent.
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


@functools.cache
def end_with_asv() -> None:
    """Have this process killed, and its process group where it leads one, once asv has ended.

    asv ends what it runs unless it is killed itself: then a setup_cache would go on, and start engines.
    """
    asv = find_asv()
    if asv is not None:
        threading.Thread(target=_end_with, args=(asv[0],), name="asv", daemon=True).start()


def _end_with(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended already
        poller = select.poll()
        poller.register(os.pidfd_open(pid), select.POLLIN)
        poller.poll()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(os.getpid(), signal.SIGKILL)  # asv gives each of its processes a group of its own
    os.kill(os.getpid(), signal.SIGKILL)


def end_server_with_asv() -> None:
    """Where this is asv's fork server, have it killed once asv has ended: it forks, and so has no threads."""
    parent = os.getppid()
    if sys.argv[1:2] == ["run_server"] and find_asv() is not None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended already
            os.kill(os.getpid(), signal.SIGKILL)


def machine_name() -> str:
    """The machine's name in results/, as asv finds it: by its command line and its file of machines."""
    asv = find_asv()
    if asv and (asked := _asked_machine(asv[1])):
        return asked
    host = platform.node()
    with contextlib.suppress(OSError, ValueError, TypeError):
        machines = json.loads(Path("~/.asv-machine.json").expanduser().read_text())
        names = [name for name in machines if name != "version"]
        if host not in names and len(names) == 1:
            return str(names[0])
    return host


def _asked_machine(words: Sequence[str]) -> str | None:
    """What follows --machine or -m, also where -m comes behind other short options: -em NAME."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-m", "--machine")
    continuous = next((word for word in words if word in _COMMANDS), None) == "continuous"
    for letter in "eiknpqv" + "s" * continuous:  # those of `asv run`, `asv continuous` and `asv find`
        parser.add_argument(f"-{letter}", action="store_true")
    for letter in "abEf" + "s" * (not continuous):  # --split there, --steps N in `asv run`
        parser.add_argument(f"-{letter}")
    parser.add_argument("-j", nargs="?")
    with contextlib.suppress(argparse.ArgumentError):  # of an asv that has other options
        asked: str | None = parser.parse_known_args(words)[0].machine
        return asked
    return None


def tell(line: str) -> None:
    """Write a line where asv's standard error goes: a terminal, a pipe, or a file that grows at its end.

    Nothing there ends, stops or delays this process, be it a terminal that stops who writes from the
    background, or a reader that has gone or is slow.
    """
    asv = find_asv()
    if asv is None:
        return
    process = Path(f"/proc/{asv[0]}")
    held = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    with contextlib.suppress(OSError, ValueError, IndexError):
        flags = int((process / "fdinfo" / "2").read_text().split("flags:")[1].split()[0], 8)
        place = process / "fd" / "2"
        if flags & os.O_APPEND or not stat.S_ISREG(place.stat().st_mode):  # else asv would write over it
            file = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK)
            try:  # behind a blank: asv's own line may not be at its end
                os.write(file, f" {line}\n".encode())
            finally:
                os.close(file)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
