"""Runs cells: a fresh process for every path, with a deadline of its own, and nothing left after it.

    records = run_cells("nano", ["vllm-mp", "zmq"], fixed([1, 8]))

is what asv's setup_cache and `rollout-perf measure` call. Every cell asked for comes back as a
record: measured, absent or failed. Standard library only: asv's own processes do not see what
ASV_PYTHONPATH provides.
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
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from . import machine
from .record import FAILED, Record, check_equal_work
from .workload import Workload

ROLLOUTS = 7
"""Timed rollouts of a cell: two sets of 6 samples can never differ significantly in asv."""

WARMUPS = 2
CELL_DEADLINE_SECONDS = 900.0
_START_DEADLINE_SECONDS = 600.0
_STEP_DEADLINE_SECONDS = 120.0
_GRACE_SECONDS = 20.0
_MARK = "ROLLOUT_PERF_CELL"
_LOG_LINES = 200

TRACKED: dict[bool, str] = {False: "nano", True: "qwen2.5-0.5b"}
"""The preset that is tracked where no GPU is, and where one is."""

BATCHES: dict[str, tuple[int, ...]] = {"nano": (1, 8), "qwen2.5-0.5b": (1, 64, 256)}
"""The batches at which a preset is tracked."""

FIXED: dict[str, dict[str, Any]] = {"nano": {"prompt_tokens": 16, "output_tokens": 32}}
"""Lengths of the fixed workload where they are not Workload's own."""


def fixed(preset: str, batches: Sequence[int]) -> list[Workload]:
    """The fixed workload of a preset at each batch."""
    lengths = FIXED.get(preset, {})
    return [replace(Workload(prompts=batch), **lengths) for batch in batches]


def engine_arguments(workloads: Sequence[Workload]) -> dict[str, Any]:
    """vLLM's engine arguments, the same for every path: sized for the workloads, nothing left to defaults
    that vLLM chooses by the way it is called."""
    batches = sorted({workload.batch for workload in workloads})
    arguments: dict[str, Any] = {
        "seed": 0,
        "max_model_len": max(workload.length for workload in workloads),
        "max_num_seqs": batches[-1],
        "max_num_batched_tokens": max(8192, *(workload.length for workload in workloads)),
        "enable_prefix_caching": False,
    }
    if machine.gpus():
        return arguments | {"dtype": "bfloat16", "cudagraph_capture_sizes": batches}
    return arguments | {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 512 * 1024 * 1024}


def run_cells(
    preset: str,
    paths: Sequence[str],
    workloads: Sequence[Workload],
    tensor_parallel_size: int = 1,
    provenance: dict[str, Any] | None = None,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    rollouts: int = ROLLOUTS,
    arguments: dict[str, Any] | None = None,
    deadline_seconds: float = CELL_DEADLINE_SECONDS,
) -> list[Record]:
    """Measure every path at every workload, one engine start a path, one path after the other.

    `provenance` is what the caller knows of where this runs; `arguments` are added to the engine
    arguments of every path. Progress goes to `say`, a line at a time.
    """
    records: list[Record] = []
    for path in paths:
        begin = time.monotonic()
        request = {
            "path": path,
            "preset": preset,
            "tensor_parallel_size": tensor_parallel_size,
            "workloads": [vars(workload) for workload in workloads],
            "warmups": WARMUPS,
            "rollouts": rollouts,
            "start_deadline_seconds": _START_DEADLINE_SECONDS,
            "step_deadline_seconds": _STEP_DEADLINE_SECONDS,
            "engine_arguments": engine_arguments(workloads) | (arguments or {}),
            "provenance": {
                "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
                **(provenance or {}),
            },
        }
        name = f"{path} {preset}"
        found = _run_cell(request, partial(_say, say, name), deadline_seconds)
        records += found
        for record in found:
            said = (
                record.status
                if record.reason is None
                else f"{record.status}: {record.reason.splitlines()[0]}"
            )
            say(f"{name} batch {record.workload['batch']}: {said} ({time.monotonic() - begin:.0f} s)")
    return check_equal_work(records)


def _say(say: Callable[[str], None], name: str, text: str) -> None:
    say(f"{name}: {text}")


def _run_cell(request: dict[str, Any], say: Callable[[str], None], deadline_seconds: float) -> list[Record]:
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="rollout-perf-cell-") as folder:
        output = Path(folder) / "records.jsonl"
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.cell"],
            cwd=folder,
            env=_environment(mark),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        log: list[str] = []
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps({**request, "output": str(output)}) + "\n")
                process.stdin.flush()
            reader = threading.Thread(target=_read, args=(process, log, say), daemon=True)
            reader.start()
            ended = _ends_within(process, deadline_seconds)
            if ended:
                reader.join(_GRACE_SECONDS)
            if ended and process.returncode == 0:
                return [Record.from_json(line) for line in output.read_text().splitlines()]
            reason = (
                f"ended with exit code {process.returncode}"
                if ended
                else f"did not end within {deadline_seconds:g} s"
            )
            return _failed(request, f"the cell's process {reason}; its last lines:\n" + "\n".join(log[-15:]))
        finally:
            _end(process, mark)


def _environment(mark: str) -> dict[str, str]:
    """The environment of a cell: the ruler first on the path, the same threads for every path."""
    ruler = str(Path(__file__).resolve().parents[1])
    environment = os.environ | {_MARK: mark, "PYTHONUNBUFFERED": "1", "RAY_DEDUP_LOGS": "0"}
    environment["PYTHONPATH"] = os.pathsep.join(
        part for part in (ruler, os.environ.get("PYTHONPATH")) if part
    )
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    return environment


def _read(process: subprocess.Popen, log: list[str], say: Callable[[str], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("progress "):
            say(line.removeprefix("progress ").rstrip())
        else:
            log.append(line.rstrip())
            del log[:-_LOG_LINES]


def _ends_within(process: subprocess.Popen, seconds: float) -> bool:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _failed(request: dict[str, Any], reason: str) -> list[Record]:
    return [
        Record(
            path=request["path"],
            preset=request["preset"],
            tensor_parallel_size=request["tensor_parallel_size"],
            workload=Workload(**workload).as_dict(),
            status=FAILED,
            reason=reason,
            provenance=request["provenance"],
        )
        for workload in request["workloads"]
    ]


def _end(process: subprocess.Popen, mark: str) -> None:
    """End the cell and every process that it has started and that is still there."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE_SECONDS)
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
