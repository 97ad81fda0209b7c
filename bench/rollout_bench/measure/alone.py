"""Lets one process at a time measure on this machine, and one write to a file; who comes second waits.

    with alone(say, output):
        measure_cases(...)

Two that measure at once measure each other. Locks are the kernel's (flock): they end with the process that
holds them, whatever ends it. Standard library only: asv's own processes do not see what ASV_PYTHONPATH
provides.
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..schema import variables

Say = Callable[[str], None]

_MACHINE = Path(f"/tmp/rollout-perf-{os.getuid()}")
"""The folder of the machine's lock. /tmp, whatever TMPDIR says: it is the same for every process."""


@contextlib.contextmanager
def alone(say: Say, *files: Path | None) -> Iterator[None]:
    """For a block, be the only process that writes to these files, and the only one of this user that
    measures on this machine; what the block starts counts as this process.

    Where files cannot be locked, as on some file systems, this is said and no more.
    """
    with contextlib.ExitStack() as held:
        for file in filter(None, files):  # before the machine, in every process: else two wait for each other
            held.enter_context(only_writer(say, file))
        if variables.ALONE not in os.environ:
            held.enter_context(_locked(_MACHINE / "measuring", "measures on this machine", say))
            os.environ[variables.ALONE] = str(os.getpid())
            held.callback(os.environ.pop, variables.ALONE, None)
        yield


def only_writer(say: Say, file: Path) -> contextlib.AbstractContextManager[None]:
    """For a block, be the only process that writes to a file, and measure nothing."""
    return _locked(file, f"writes to {file}", say)


@contextlib.contextmanager
def _locked(path: Path, what: str, say: Say) -> Iterator[None]:
    """Hold the lock of a file, which is made where there is none, and removed where it is still empty."""
    try:
        if path.parent == _MACHINE:
            _make_private(path.parent)
        file = _lock(path, what, say)
    except OSError as error:
        say(f"warning: {path} cannot be locked ({error.strerror}): see that nothing else {what} meanwhile")
        yield
        return
    with file:
        try:
            yield
        finally:
            found = os.fstat(file.fileno())
            if stat.S_ISREG(found.st_mode) and found.st_size == 0:
                path.unlink(missing_ok=True)


def _make_private(folder: Path) -> None:
    """Raises PermissionError where others could have put there what is opened next, such as a link."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "its folder is not this user's alone")


def _lock(path: Path, what: str, say: Say) -> BinaryIO:
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for {_holder(file)}, which {what}")
            fcntl.flock(file, fcntl.LOCK_EX)
            say("the wait is over")
        with contextlib.suppress(FileNotFoundError):  # who had the lock may have removed the file with it
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file
        file.close()


def _holder(file: BinaryIO) -> str:
    """The process that has the lock of a file, where it can be seen from here: not in another container."""
    inode = os.fstat(file.fileno()).st_ino
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            _number, kind, _advisory, _write, pid, place, *_range = line.split()
            if kind == "FLOCK" and place.endswith(f":{inode}"):
                words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
                return f"process {pid} ({' '.join(words).strip()})"
    return "another process"
