"""Supervises the processes that measure: each path in a fork, with a deadline, and a new one after a break.

vLLM is imported once, which takes as long as measuring, and each path runs in a fork of the process that
has done so and nothing else: no thread, no CUDA. A path that breaks off leaves no record of the case under
way and ends this process, with what it started. An engine that breaks, as when memory runs out, fails its
case; the next one gets a new engine.
"""

import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Protocol

from ..schema import variables
from ..schema.record import Record, read_records
from .marked import kill_marked
from .workload import unmeasured

_STOP_SECONDS = 10.0

BROKE = 4
"""Exit code of a path's process whose engine broke at a workload: those after it need another one."""

_BROKE_OFF = 3
"""Exit code of the supervisor where a path broke off; the paths after it need another supervisor."""

Keep = Callable[[Record], None]
"""What takes a record as soon as it is there."""


class Measuring(Protocol):
    """What runs in a path's process."""

    def run(self) -> int:
        """Measure; the process's exit code, 0 or BROKE."""


Make = Callable[[dict[str, Any], Keep], Measuring]
"""Makes what runs in a path's process, of the path's request."""


def import_vllm() -> None:
    """Load what every path needs, so that a fork has it."""
    with suppress(ImportError):
        import vllm.entrypoints.llm
        import vllm.v1.engine.async_llm  # noqa: F401


def targets_of(asked: dict[str, Any]) -> list[str]:
    """The files that gain every record, the answer's first."""
    return [target for target in (asked["output"], asked["keep"]) if target]


def append_line(target: str, line: str) -> None:
    """Append a line; behind half a one, as a full disk or a kill leaves it, on a line of its own."""
    with open(target, "ab+") as file:
        file.seek(max(0, file.tell() - 1))
        begin = b"" if file.read() in (b"", b"\n") else b"\n"
        file.write(begin + line.encode() + b"\n")


def fork_case(make: Callable[[Keep], Measuring], targets: list[str]) -> int:
    """Measure in a fork, which appends its records to the targets and ends with its code; the fork's pid.

    `make` is given what keeps a record.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1

    def keep(record: Record) -> None:
        for target in targets:
            append_line(target, record.to_json())

    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ[variables.NOTE] = str(Path(f"note-{os.getpid()}").resolve())
        code = make(keep).run()
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # what the parent has open is not for the fork to close


def measure_paths(asked: dict[str, Any], make: Make) -> int:
    """Measure the requests of `asked`, one path after the other; this process's exit code."""
    import_vllm()
    targets = targets_of(asked)
    if all(_measure_path(request, targets, make) for request in asked["requests"]):
        return 0
    end_marked()
    return _BROKE_OFF


def end_marked() -> None:
    """End what this run of the harness has started."""
    kill_marked(variables.MARK, os.environ[variables.MARK])


def leave(code: int) -> NoReturn:
    """End this process: an interpreter with vLLM in it takes seconds to end, and holds nothing."""
    sys.stdout.flush()
    os._exit(code)


def _measure_path(request: dict[str, Any], targets: list[str], make: Make) -> bool:
    """Measure a path, with a new engine after each that broke; whether it came to its end."""
    output = Path(targets[0])
    while True:
        before = len(output.read_text().splitlines()) if output.exists() else 0
        code = _measure_in_fork(request, targets, make)
        if code != BROKE:
            return code == 0
        written = read_records("\n".join(output.read_text().splitlines()[before:]))
        request = request | {"workloads": unmeasured(request["workloads"], written)}


def _measure_in_fork(request: dict[str, Any], targets: list[str], make: Make) -> int | None:
    """Measure a path in a fork; its exit code, or None where it broke off or was stopped."""
    pid = fork_case(lambda keep: make(request, keep), targets)
    end = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([end], [], [], request["deadline_seconds"])
        if not ready:
            print(f"{request['path']} did not end within {request['deadline_seconds']:g} s", flush=True)
    except KeyboardInterrupt:
        ready = []
    if not ready:
        os.kill(pid, signal.SIGINT)
        select.select([end], [], [], _STOP_SECONDS)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(end)
    code = os.waitstatus_to_exitcode(status)
    if ready and code in (0, BROKE):
        return code
    if ready:
        print(f"the process of {request['path']} ended with status {status}", flush=True)
    return None
