"""What this machine is: GPUs, driver, CPU. Knows nothing of torch, so that asking costs little.

nvidia-smi is asked and not NVIDIA's library: asv's process has the standard library alone, and where a driver
hangs, a process can be left to itself and a call cannot.
"""

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import BenchError

_DEADLINE_SECONDS = 10.0
"""Where nobody holds the driver, it is loaded for each question: seconds, on a host with many GPUs."""
_DEVICES = Path("/dev")


class GpusUnknown(BenchError):
    """Whether there are GPUs cannot be said; the message says why, and what to do."""


def gpus() -> list[dict[str, str]]:
    """Name, driver and memory of every NVIDIA GPU that this process may use, as CUDA_VISIBLE_DEVICES says.

    One that is listed by its number has nvidia-smi's, which is CUDA's where CUDA_DEVICE_ORDER is PCI_BUS_ID.
    Raises GpusUnknown where there may be some, and nvidia-smi does not say which.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None and listed.strip() in ("", "-1"):
        return []  # whatever the driver may say
    if listed is not None and listed.startswith("MIG-"):
        return _instance(listed.partition(",")[0].strip())  # CUDA takes one at most
    answer = _ask("--query-gpu=uuid,name,driver_version,memory.total", "--format=csv,noheader")
    rows = [row for row in (line.split(", ") for line in answer.splitlines()) if len(row) == 4]
    chosen = range(len(rows)) if listed is None else visible(listed, [uuid for uuid, *_facts in rows])
    return [dict(zip(("name", "driver", "memory"), rows[place][1:], strict=True)) for place in chosen]


def gpu_names() -> list[str]:
    """Those of `gpus`, as CUDA_VISIBLE_DEVICES names them, or would. Raises GpusUnknown."""
    count, listed = len(gpus()), os.environ.get("CUDA_VISIBLE_DEVICES")
    return [*map(str, range(count))] if listed is None else [*map(str.strip, listed.split(","))][:count]


def visible(listed: str, uuids: list[str]) -> list[int]:
    """Places of the GPUs that a CUDA_VISIBLE_DEVICES lists: numbers, or UUIDs that may be cut short.

    The list ends before the first entry that is no GPU's, or not one's alone; a GPU that it has twice leaves
    none. So CUDA reads it (CUDA C++ Programming Guide, CUDA Environment Variables), and torch, by which vLLM
    counts.
    """
    chosen: list[int] = []
    by_uuid = listed.startswith("GPU-")
    for entry in map(str.strip, listed.split(",")):
        if by_uuid:
            own = [place for place, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
        else:
            number = re.match(r"\+?\d+", entry)  # what follows is passed over, as C does
            own = [place for place in range(len(uuids)) if number and place == int(number.group())]
        if len(own) != 1:
            break
        if own[0] in chosen:
            return []
        chosen += own
    return chosen


def _instance(entry: str) -> list[dict[str, str]]:
    """The instance of a GPU that is shared by MIG, as a GPU."""
    driver = _ask("--query-gpu=driver_version", "--format=csv,noheader").partition("\n")[0]
    gpu, found = "", []
    for line in _ask("-L").splitlines():
        if named := re.match(r"GPU \d+: (.+) \(UUID", line):
            gpu = named.group(1)
        elif (part := re.match(r"\s+(MIG \S+).*\(UUID: ([^)]+)\)", line)) and part.group(2).startswith(entry):
            found.append({"name": f"{gpu} {part.group(1)}", "driver": driver})
    return found if len(found) == 1 else []


def _ask(*question: str) -> str:
    """What nvidia-smi answers; nothing where there is no GPU to ask for. Raises GpusUnknown."""
    answer, reason = _asked(question)
    if reason is not None:
        raise GpusUnknown(
            f"the GPUs of this machine are unknown: {reason}; "
            "mend it, or set CUDA_VISIBLE_DEVICES to nothing to do without GPUs"
        )
    return answer


@cache
def _asked(question: tuple[str, ...]) -> tuple[str, str | None]:
    """What nvidia-smi answers, and why that is not known; asked once: where it hangs, each time costs."""
    devices = sorted(_DEVICES.glob("nvidia[0-9]*"))
    program = shutil.which("nvidia-smi")
    if program is None:
        return "", f"{devices[0]} is there, and nvidia-smi is not installed" if devices else None
    process = subprocess.Popen(
        [program, *question],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        answer, _none = process.communicate(timeout=_DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and not waited for: it may hang in the driver
        assert process.stdout is not None
        process.stdout.close()
        return "", f"nvidia-smi has not answered within {_DEADLINE_SECONDS:g} s"
    if process.returncode:
        said = " ".join(answer.split())
        return "", f"nvidia-smi ended with exit code {process.returncode}: {said}" if devices else None
    return answer, None


def facts() -> dict[str, Any]:
    """The machine's facts for a record."""
    known: dict[str, Any] = {}
    try:
        known["gpus"] = gpus()
    except GpusUnknown as error:
        known |= {"gpus": None, "gpus_unknown": str(error)}
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **known,
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
