"""Runs a module of the harness in a fresh process, with a deadline, and leaves nothing after it.

Whoever asks calls `run_module`; the module reads the request from its standard input, reports its progress
with `say`, and writes its answer to the file that the request names as "output". Where the asker is killed,
`marked` ends the module, and the asker ends with the asv that runs it. Standard library only: asv's own
processes do not see what ASV_PYTHONPATH provides.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..schema import variables
from .alone import alone
from .asv_process import end_with_asv
from .lanes import Lane
from .marked import end_with_asker, kill_marked

_PROGRESS = "progress "
_GRACE_SECONDS = 20.0
_LOOK_SECONDS = 0.5
"""How often it is seen whether a lane is ended."""
_LOG_LINES, _REPORTED_LINES = 200, 15


@dataclass(frozen=True)
class Outcome:
    """What became of a process: its answer, and why that may be incomplete, with its last lines."""

    answer: str
    reason: str | None = None


@dataclass(frozen=True)
class Interpreter:
    """A Python to run modules with, and the environment variables that it gets."""

    python: str
    variables: Mapping[str, str]


def run_module(
    module: str,
    request: dict[str, Any],
    say: Callable[[str], None],
    deadline_seconds: float,
    interpreter: Interpreter | None = None,
    lane: Lane | None = None,
) -> Outcome:
    """Run `python -P -m module` on a request; its progress goes to `say`, a line at a time.

    It waits while another process measures on this machine; the deadline begins afterwards. `interpreter` is
    this process's own where none is given. It runs on the lane's cores, and raises KeyboardInterrupt once the
    lane is ended. When this returns or raises, every process that it started has ended, and its folder is
    gone.
    """
    end_with_asv()
    with alone(say):
        return _run(module, request, say, deadline_seconds, interpreter, lane)


def _run(
    module: str,
    request: dict[str, Any],
    say: Callable[[str], None],
    deadline_seconds: float,
    interpreter: Interpreter | None,
    lane: Lane | None,
) -> Outcome:
    mark = uuid.uuid4().hex
    chosen = interpreter or Interpreter(sys.executable, os.environ)
    # Directly under /tmp: the path of a unix socket may have 107 bytes at most, Ray's are long.
    folder = Path(tempfile.mkdtemp(prefix="rp-", dir="/tmp"))
    output = folder / "output"
    end = end_with_asker(variables.MARK, mark, folder)
    with lane.on_cores() if lane else contextlib.nullcontext():
        process = _start(module, chosen, mark, folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    log: list[str] = []
    try:
        _ask(process, {**request, "output": str(output)})
        reader = threading.Thread(target=_read, args=(process, log, say), daemon=True)
        reader.start()
        ended = _ends_within(process, deadline_seconds, lane)
        if ended:
            reader.join(_GRACE_SECONDS)
        answer = output.read_text() if output.exists() else ""
        if ended and process.returncode == 0:
            return Outcome(answer)
        how = (
            f"ended with exit code {process.returncode}"
            if ended
            else f"did not end within {deadline_seconds:g} s"
        )
        return Outcome(
            answer,
            f"the process of {module} {how}; its last lines:\n" + "\n".join(log[-_REPORTED_LINES:]),
        )
    finally:
        _end(process, mark, end)


def _start(
    module: str, interpreter: Interpreter, mark: str, folder: Path, **streams: Any
) -> subprocess.Popen[str]:
    """Start `python -P -m module` in the folder of a run, which waits for its request."""
    return subprocess.Popen(
        [interpreter.python, "-P", "-m", module],
        cwd=folder,
        env=_environment(mark, interpreter.variables, _harness_path(folder)),
        stdin=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        **streams,
    )


def _ask(process: subprocess.Popen[str], request: dict[str, Any]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()


def _harness_path(folder: Path) -> str:
    """A folder from which the harness is imported, and nothing else.

    Where it is installed, the system under test may lie beside it, and another interpreter has its own.
    """
    path = folder / "harness"
    if path.exists():
        return str(path)
    path.mkdir()
    package = Path(__file__).resolve().parents[1]
    (path / package.name).symlink_to(package)
    return str(path)


def _environment(mark: str, inherited: Mapping[str, str], harness: str) -> dict[str, str]:
    """The module's environment: the harness first on the path, the same threads for every path."""
    environment = {**inherited, variables.MARK: mark, "PYTHONUNBUFFERED": "1", "RAY_DEDUP_LOGS": "0"}
    environment["PYTHONPATH"] = os.pathsep.join(
        part for part in (harness, inherited.get("PYTHONPATH")) if part
    )
    environment.setdefault("OMP_NUM_THREADS", "1")
    # The titles that vLLM gives its processes must not overwrite the mark by which they are found.
    environment["SPT_NOENV"] = "1"
    environment.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    return environment


def _read(process: subprocess.Popen[str], log: list[str], say: Callable[[str], None]) -> None:
    """Take what the process prints: its progress goes to `say`, the rest to the log.

    Whatever becomes of those two: a process of which nobody reads stalls when the pipe is full.
    """
    assert process.stdout is not None
    log_file = os.environ.get(variables.LOG)
    for line in process.stdout:
        with contextlib.suppress(OSError):
            if log_file:
                with open(log_file, "a", encoding="utf-8") as copy:
                    copy.write(line)
        with contextlib.suppress(OSError):
            if line.startswith(_PROGRESS):
                say(line.removeprefix(_PROGRESS).rstrip())
            else:
                log.append(line.rstrip())
                del log[:-_LOG_LINES]


def _ends_within(process: subprocess.Popen[str], seconds: float, lane: Lane | None) -> bool:
    """Whether it does. Raises KeyboardInterrupt once the lane is ended."""
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        try:
            process.wait(timeout=left if lane is None else min(left, _LOOK_SECONDS))
            return True
        except subprocess.TimeoutExpired:
            if left <= _LOOK_SECONDS or lane is None:
                return False
            if lane.ended.is_set():
                raise KeyboardInterrupt from None


def _end(process: subprocess.Popen[str], mark: str, end: subprocess.Popen[bytes]) -> None:
    """End the process and every other that it has started and that is still there, and remove its folder.

    A second interruption cuts its grace short and no more.
    """
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_GRACE_SECONDS)
    finally:
        kill_marked(variables.MARK, mark)
        end.communicate()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


# --- in the process that is run ------------------------------------------------------------------


def start_beside(
    module: str, request: dict[str, Any], interpreter: Interpreter, descriptors: Sequence[int]
) -> subprocess.Popen[str]:
    """Have another interpreter run a module beside this one, in this run's folder and with its output.

    It gets the open file descriptors under the same numbers, and ends with whoever asked for this run.
    """
    mark = os.environ[variables.MARK]
    process = _start(module, interpreter, mark, Path.cwd(), pass_fds=descriptors)
    _ask(process, request)
    return process


def say(text: str) -> None:
    """Report progress to whoever waits, as a line of standard output.

    One that ends in … says what goes on now, and is not kept: there is one for each rollout.
    """
    log(f"{_PROGRESS}{text}")


def log(text: str) -> None:
    """Write a line to standard output, whose last ones are in the reason where something fails."""
    sys.stdout.write(f"{text}\n")  # at once: print writes the end of a line by itself, and others write too
    sys.stdout.flush()


def end_marked() -> None:
    """End what this run of the harness has started."""
    kill_marked(variables.MARK, os.environ[variables.MARK])


def leave(code: int) -> NoReturn:
    """End this process: an interpreter with vLLM in it takes seconds to end, and holds nothing."""
    sys.stdout.flush()
    os._exit(code)
