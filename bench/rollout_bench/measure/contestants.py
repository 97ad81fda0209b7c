"""Holds the contestants of a session that are of one build: an engine each, which generates when asked to.

    PYTHONPATH=bench python -P -m rollout_bench.measure.contestants < request.json

`rounds` starts it with the build's Python and says which rollout comes next. vLLM is imported once, which
takes as long as measuring, and not where the build has nothing that is asked for. Each contestant is a fork
of the process that has done so and nothing else: no thread, no CUDA.
"""

import gc
import json
import os
import select
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..schema import variables
from ..schema.record import Record, is_system, way
from .door import NoDoor, open_door
from .engine_case import EngineCases, why_absent
from .marked import signal_all
from .process import leave, log
from .system_case import SystemCases

_STOP_SECONDS = 10.0


def import_vllm() -> None:
    """Load what every path needs, so that a fork has it; each fork says what is in its way.

    Meanwhile no garbage is looked for: nearly all that is made stays, and looking takes a fifth of the time.
    """
    gc.disable()
    with suppress(Exception):
        import vllm.entrypoints.llm
        import vllm.v1.engine.async_llm  # noqa: F401
    gc.enable()


def _can_start(request: dict[str, Any]) -> bool:
    """Whether the build has what a contestant asks for, or breaks when it is asked: its fork says why."""
    if is_system(request["path"]):
        return True
    try:
        return why_absent(open_door(), request) is None
    except NoDoor:
        return False
    except Exception:
        return True


def append_line(target: str, line: str) -> None:
    """Append a line; behind half a one, as a full disk or a kill leaves it, on a line of its own."""
    with open(target, "ab+") as file:
        file.seek(max(0, file.tell() - 1))
        begin = b"" if file.read() in (b"", b"\n") else b"\n"
        file.write(begin + line.encode() + b"\n")


def _fork(request: dict[str, Any], others: list[dict[str, Any]], targets: list[str]) -> int:
    """Measure in a fork, which appends its records to the targets; the fork's pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1

    def keep(record: Record) -> None:
        for target in targets:
            append_line(target, record.to_json())

    try:
        for other in others:  # whose end must be seen when they end
            _close(other)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ[variables.NOTE] = str(Path(f"note-{os.getpid()}").resolve())
        kind = SystemCases if is_system(request["path"]) else EngineCases
        kind(request, keep, os.fdopen(request["orders"]), os.fdopen(request["answers"], "w")).run()
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # what the parent has open is not for the fork to close


def _close(request: dict[str, Any]) -> None:
    for descriptor in (request["orders"], request["answers"]):
        os.close(descriptor)


def main() -> int:
    """Hold the contestants that standard input asks for, until each has ended or standard input has."""
    asked = json.loads(sys.stdin.readline())
    requests = asked["requests"]
    for request in requests:
        for descriptor in (request["orders"], request["answers"]):
            os.set_inheritable(descriptor, False)  # an engine that outlives its front must not hold them
    if any(map(_can_start, requests)):
        import_vllm()
    running: dict[int, int] = {}
    ways: dict[int, str] = {}
    for number, request in enumerate(requests):
        pid = _fork(request, requests[number + 1 :], asked["targets"])
        end = os.pidfd_open(pid)
        running[end], ways[end] = pid, way(request["path"], request.get("entry"))
        _close(request)
    asker = sys.stdin.fileno()
    while running:
        ended, _, _ = select.select([*running, asker], [], [])
        if asker in ended:
            _stop(running)
            return 0
        for one in ended:
            _, status = os.waitpid(running.pop(one), 0)
            if status:
                log(f"the process of {ways[one]} ended with status {status}")
            os.close(one)
    return 0


def _stop(running: dict[int, int]) -> None:
    """End those that are not up any more, or not yet, and so take no order; `running` has pids by pidfd."""
    signal_all(running.values(), signal.SIGINT)
    for one, pid in running.items():
        if not select.select([one], [], [], _STOP_SECONDS)[0]:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    leave(main())
