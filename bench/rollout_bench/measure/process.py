"""Runs a module of the harness in a fresh process, with a deadline, and leaves nothing after it.

Whoever asks calls `run_module`; the module calls `take_request`, reports its progress with
`say`, and writes its answer to the file that the request names as "output". Standard input
stays open as long as the asker lives: at its end the module stops as if interrupted. Standard
library only: asv's own processes do not see what ASV_PYTHONPATH provides.
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..schema import variables

_PROGRESS = "progress "
_GRACE_SECONDS = 20.0
_STOP_SECONDS = 30.0
_KILL_SECONDS, _TRACKER_SECONDS = 4.0, 2.0
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
) -> Outcome:
    """Run `python -P -m module` on a request; its progress goes to `say`, a line at a time.

    `interpreter` is this process's own where none is given. When this returns or raises, every
    process that it started has ended, and its folder is gone.
    """
    mark = uuid.uuid4().hex
    chosen = interpreter or Interpreter(sys.executable, os.environ)
    # Directly under /tmp: the path of a unix socket may have 107 bytes at most, Ray's are long.
    with tempfile.TemporaryDirectory(prefix="rp-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        output = Path(folder) / "output"
        process = _start(module, chosen, mark, Path(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        log: list[str] = []
        try:
            _ask(process, {**request, "output": str(output)})
            reader = threading.Thread(target=_read, args=(process, log, say), daemon=True)
            reader.start()
            ended = _ends_within(process, deadline_seconds)
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
            _end(process, mark)


def _start(
    module: str, interpreter: Interpreter, mark: str, folder: Path, **streams: Any
) -> subprocess.Popen[str]:
    """Start `python -P -m module` in the folder of a run, which waits for its request."""
    return subprocess.Popen(
        [interpreter.python, "-P", "-m", module],
        cwd=folder,
        env=_environment(mark, interpreter.variables, _harness_path(folder)),
        stdin=subprocess.PIPE,
        text=True,
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
    assert process.stdout is not None
    log_file = os.environ.get(variables.LOG)
    with open(log_file, "a", buffering=1) if log_file else contextlib.nullcontext() as copy:
        for line in process.stdout:
            if copy is not None:
                copy.write(line)
            if line.startswith(_PROGRESS):
                say(line.removeprefix(_PROGRESS).rstrip())
            else:
                log.append(line.rstrip())
                del log[:-_LOG_LINES]


def _ends_within(process: subprocess.Popen[str], seconds: float) -> bool:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[str], mark: str) -> None:
    """End the process and every other that it has started and that is still there."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE_SECONDS)
    kill_marked(variables.MARK, mark)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def marked(name: str, value: str) -> list[int]:
    """Processes that have `name` set to `value` in their environment, other than this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes().split(b"\0")
            if f"{name}={value}".encode() in environment and int(folder.name) != os.getpid():
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


def _is_tracker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


# --- in the process that is run ------------------------------------------------------------------


def take_request() -> dict[str, Any]:
    """Read what is asked for; from then on, stop as if interrupted when the asker is gone."""
    request: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_stop_with_asker, name="asker-watch", daemon=True).start()
    return request


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
    """Report progress to whoever waits, as a line of standard output."""
    sys.stdout.write(f"{_PROGRESS}{text}\n")  # print writes the end of a line by itself
    sys.stdout.flush()


def _stop_with_asker() -> None:
    # Not sys.stdin.read: it holds a lock that a forked engine would wait for, forever.
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(_STOP_SECONDS)
    os._exit(1)
