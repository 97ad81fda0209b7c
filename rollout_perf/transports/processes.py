"""The processes in which a transport's workers run: started, watched, ended.

Each reads from its standard input what to be; the end of that input means that the driver has
gone, and it ends at once. So nothing secret stands on a command line or in an environment. Knows
nothing of sockets or messages.
"""

import contextlib
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .base import POLL_SECONDS, python_path

CUT = 75
"""Exit code of a worker whose connection to the driver was cut."""

_LENGTH = struct.Struct("<Q")


class WorkerProcesses:
    """`python -P -m MODULE`, once for each bootstrap; the rank of a process is its place counted from
    `first`, `noun` its kind."""

    def __init__(self, module: str, noun: str = "worker", first: int = 0):
        self._module = module
        self._noun = noun
        self._first = first
        self._processes: list[subprocess.Popen] = []
        self._ending = os.eventfd(0)
        self._watcher: threading.Thread | None = None

    def launch(self, bootstraps: Sequence[Any], environment: Mapping[str, str]) -> None:
        """Start a process for each bootstrap, which `take_bootstrap` returns there."""
        variables = {**os.environ, **environment, "PYTHONPATH": python_path()}
        for bootstrap in bootstraps:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", self._module], stdin=subprocess.PIPE, env=variables
            )
            self._processes.append(process)
            block = pickle.dumps(bootstrap)
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it died at once: whoever watches will see
                process.stdin.write(_LENGTH.pack(len(block)) + block)
                process.stdin.flush()

    def watch(self, notice: Callable[[str], Any]) -> None:
        """Have a thread call `notice` with how the first of them ended, unless it is expected to."""
        self._watcher = threading.Thread(target=self._watch, args=[notice], name="worker-watch", daemon=True)
        self._watcher.start()

    def _watch(self, notice: Callable[[str], Any]) -> None:
        ends = {os.pidfd_open(process.pid): rank for rank, process in enumerate(self._processes)}
        poller = select.poll()
        for readable in (self._ending, *ends):
            poller.register(readable, select.POLLIN)
        try:
            ready = [descriptor for descriptor, _event in poller.poll()]
            if self._ending not in ready:
                time.sleep(POLL_SECONDS)  # a last reply may still be on its way, and says more
                notice(self._epitaph(ends[ready[0]]))
        finally:
            for end in ends:
                os.close(end)

    def _epitaph(self, rank: int) -> str:
        """How a process ended, in a sentence."""
        process = self._processes[rank]
        name = f"{self._noun} {self._first + rank} (process {process.pid})"
        try:
            code = process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            code = None
        if code == CUT:
            return f"the connection to {name} was cut"
        how = (
            f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
        )
        return f"{name} ended {how}"

    def expect_end(self) -> None:
        """From now on the end of a process is not reported."""
        os.eventfd_write(self._ending, 1)

    def end(self, grace_seconds: float) -> None:
        """Wait for all to end by themselves, after `expect_end`, and kill what has not in time; once."""
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()
        os.close(self._ending)
        end = time.monotonic() + grace_seconds
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.0, end - time.monotonic()))
            process.kill()
            process.wait()
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


# --- in the worker --------------------------------------------------------------------------------


_files: list[str] = []


def remove_with_driver(paths: Sequence[str]) -> None:
    """Have files removed where the driver has gone: one that is killed cannot do it."""
    _files.extend(paths)


def end_at_once(code: int) -> None:
    """End this process, without whose driver the files are of no use either."""
    for path in _files:
        with contextlib.suppress(OSError):
            os.unlink(path)
    os._exit(code)


def take_bootstrap() -> Any:
    """What this process is to be; from then on it ends when its driver does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides when a worker ends
    (length,) = _LENGTH.unpack(sys.stdin.buffer.read(_LENGTH.size))
    bootstrap = pickle.loads(sys.stdin.buffer.read(length))
    threading.Thread(target=_end_with_driver, name="driver-watch", daemon=True).start()
    return bootstrap


def _end_with_driver() -> None:
    os.read(sys.stdin.fileno(), 1)  # holds no lock of Python's, so that the host may fork
    end_at_once(1)
