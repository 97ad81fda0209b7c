"""The state of the host while a session's contestants generate, round by round, and who spoilt one.

    host = Host()
    before = host.look()
    ...  # a round
    facts = between(before, host.look())  # facts["spoilt"] says what others did to it

Load and pressure hold the session's own processes too, and an engine alone keeps both of two cores busy. So
they are kept, and not judged by: what others had is what the cores worked, less what the processes with this
run's mark used, those that have ended included. A look takes less than a millisecond, and a few with a GPU;
it belongs between rollouts. What a host does not show is None.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..schema import variables
from .machine import visible
from .marked import carries

_PROC = Path("/proc")
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")

OTHERS_SHARE, IDLE_SHARE = 0.1, 0.5
"""A round is spoilt where others had the first share of the cores' time, and less than the second was idle.
On 2 cores a quiet round of 0.8 s shows up to 0.03, since the kernel counts by ticks, and rounds with 0.3 were
slower by 10 to 40 %. Cores are mostly threads of which two share one: while half idle, there is room."""
LEAST_SECONDS = 0.1
"""Less than that is not seen: every process is counted in ticks of 10 ms."""
STOLEN_SHARE = 0.05
"""A round is spoilt where this share of the time that cores were to work went to other virtual machines: it
is missing in a step, and a change of so much is one to be found."""
THROTTLED_SHARE = 0.05
"""A round is spoilt where heat or the board's limit held a GPU's clock down for this share of it. Its power
limit does so in any large matrix product: that is how fast the GPU is."""
GPU_SHARE = 0.05
"""A round is spoilt where a GPU computed for others for this share of it."""

_POLICIES = {"power": 0, "thermal": 1, "board": 3}
"""What holds a clock down, by its number in NVML (nvmlPerfPolicyType_t), which counts the time of each."""


@dataclass(frozen=True)
class Gpu:
    """What a GPU has come to; times since its driver was loaded."""

    clock_hertz: float
    memory_used_bytes: int
    throttled_seconds: Mapping[str, float]
    others: int | None
    """Processes on it that are not of this run."""
    others_share: float | None
    """What of its time they computed in, lately."""


@dataclass(frozen=True)
class Look:
    """What the host has come to; times since it was started, of the cores that this process may use."""

    seconds: float
    cores: int
    load: float | None
    stalled_seconds: float | None
    """In which some process waited for a core: pressure."""
    work_seconds: float | None
    idle_seconds: float | None
    stolen_seconds: float | None
    own_seconds: float
    gpus: Sequence[Gpu] = ()


class Host:
    """Looks at the host. It remembers which processes are of this run."""

    def __init__(self) -> None:
        self._own: dict[str, bool] = {}
        self.gpus = _gpus()

    def look(self) -> Look:
        """What the host has come to now."""
        own_seconds = self._own_seconds()
        pids = {int(name) for name, own in self._own.items() if own}
        cores = os.sched_getaffinity(0)
        work, idle, stolen = _read("stat", lambda text: _core_seconds(text, cores)) or (None, None, None)
        return Look(
            time.monotonic(),
            len(cores),
            _read("loadavg", lambda text: float(text.split()[0])),
            _read("pressure/cpu", lambda text: int(text.splitlines()[0].rpartition("=")[2]) / 1e6),
            work,
            idle,
            stolen,
            own_seconds,
            [gpu.look(pids) for gpu in self.gpus],
        )

    def _own_seconds(self) -> float:
        """CPU time of this run's processes, with that of their children which have ended."""
        mark = os.environ.get(variables.MARK, "")
        known, self._own = self._own, {}
        ticks = 0
        for name in filter(str.isdecimal, os.listdir(_PROC)):
            with suppress(OSError):
                self._own[name] = (
                    known[name] if name in known else carries(_PROC / name, variables.MARK, mark)
                )
                if self._own[name]:
                    after_name = (_PROC / name / "stat").read_bytes().rpartition(b")")[2].split()
                    ticks += sum(map(int, after_name[11:15]))
        return ticks * _TICK_SECONDS


def _read(name: str, parse: Callable[[str], Any]) -> Any:
    """What a file of /proc says; None where there is none, as in a sandbox, or it cannot be read."""
    with suppress(OSError, ValueError, IndexError):
        return parse((_PROC / name).read_text())
    return None


def _core_seconds(text: str, cores: set[int]) -> tuple[float, float, float] | None:
    """What these cores have worked, been idle and had stolen; interrupts are nobody's work."""
    rows = [line.split() for line in text.splitlines()]
    ticks = [list(map(int, row[1:9])) for row in rows if row[0] in {f"cpu{core}" for core in cores}]
    if not any(map(sum, ticks)):
        return None
    user, nice, system, idle, waiting, _interrupts, _soft, stolen = map(sum, zip(*ticks, strict=True))
    work = user + nice + system
    return work * _TICK_SECONDS, (idle + waiting) * _TICK_SECONDS, stolen * _TICK_SECONDS


def between(before: Look, after: Look) -> dict[str, Any]:
    """The facts of the round between two looks, as a record holds them."""

    def passed(name: str) -> float | None:
        begin, end = getattr(before, name), getattr(after, name)
        return None if begin is None or end is None else round(max(0.0, end - begin), 3)

    seconds = after.seconds - before.seconds
    own, work = passed("own_seconds") or 0.0, passed("work_seconds")
    facts = {
        "seconds": round(seconds, 3),
        "cores": after.cores,
        "load": after.load,
        "stalled_seconds": passed("stalled_seconds"),
        "own_seconds": own,
        "others_seconds": None if work is None else round(max(0.0, work - own), 3),
        "idle_seconds": passed("idle_seconds"),
        "stolen_seconds": passed("stolen_seconds"),
        "gpus": [
            {
                "clock_hertz": gpu.clock_hertz,
                "memory_used_bytes": gpu.memory_used_bytes,
                "throttled_seconds": {
                    why: round(end - earlier.throttled_seconds.get(why, end), 3)
                    for why, end in gpu.throttled_seconds.items()
                },
                "others": gpu.others,
                "others_share": gpu.others_share,
            }
            for earlier, gpu in zip(before.gpus, after.gpus, strict=True)
        ],
    }
    return facts | {"spoilt": spoilt(facts)}


def spoilt(facts: Mapping[str, Any]) -> str | None:
    """What others did to a round, in a line; None where they left it alone."""
    seconds, cores = facts["seconds"], facts["cores"]
    others, idle, stolen = (facts[f"{name}_seconds"] or 0.0 for name in ("others", "idle", "stolen"))
    there = seconds * cores
    if others >= max(OTHERS_SHARE * there, LEAST_SECONDS) and idle < IDLE_SHARE * there:
        return f"other processes had {others / seconds:.1f} of {cores} cores"
    if stolen >= max(STOLEN_SHARE * (there - idle), LEAST_SECONDS):
        return f"other virtual machines had {stolen / seconds:.1f} of {cores} cores"
    for gpu in facts["gpus"]:
        for why in ("thermal", "board"):
            if gpu["throttled_seconds"].get(why, 0.0) > THROTTLED_SHARE * seconds:
                return f"a GPU's clock was held down ({why})"
        if (gpu["others_share"] or 0.0) >= GPU_SHARE:
            return f"a GPU computed for others for {gpu['others_share']:.0%} of the time"
    return None


def quietest(rounds: Sequence[Mapping[str, Any]], wanted: int) -> list[int]:
    """Which rounds count, in their order: those that nobody spoilt, and where they are too few, the ones of
    which others had the least. What was measured has no say."""

    def taken(number: int) -> tuple[bool, float]:
        facts = rounds[number]
        others = (facts["others_seconds"] or 0.0) + (facts["stolen_seconds"] or 0.0)
        return facts["spoilt"] is not None, others

    return sorted(sorted(range(len(rounds)), key=taken)[:wanted])


def observed(rounds: Sequence[Mapping[str, Any]], chosen: Sequence[int]) -> dict[str, Any]:
    """What a record says of the host: values by fact in the rounds that count, as samples are by metric, and
    what became of the others."""
    counting = [rounds[number] for number in chosen]
    return {
        "rounds": {name: [facts[name] for facts in counting] for name in (rounds[0] if rounds else ())},
        "spoilt": sum(facts["spoilt"] is not None for facts in counting),
        "repeated": len(rounds) - len(counting),
        "pinned": len(os.sched_getaffinity(0)) < (os.cpu_count() or 1),
    }


# --- NVIDIA's library, where there is one ------------------------------------------------------------


class _GpuLooks:
    """Looks at a GPU. What its driver does not tell is None, or 0 where a number must be."""

    def __init__(self, library: Any, handle: Any):
        self._library, self._handle = library, handle
        self._until = 0

    def look(self, own: set[int]) -> Gpu:
        """What it has come to now; `own` are the pids of this run."""
        throttled = {why: self._ask("ViolationStatus", number) for why, number in _POLICIES.items()}
        memory = self._ask("MemoryInfo")
        there = {one.pid for one in self._ask("ComputeRunningProcesses") or ()}
        computed = self._ask("ProcessUtilization", self._until) or ()
        self._until = time.time_ns() // 1000
        shares = [one.smUtil / 100 for one in computed if one.pid not in own]
        known = bool(there & own)  # else these are no pids of this container
        return Gpu(
            (self._ask("ClockInfo", self._library.NVML_CLOCK_SM) or 0) * 1e6,
            memory.used if memory else 0,
            {why: one.violationTime / 1e9 for why, one in throttled.items() if one is not None},
            len(there - own) if known else None,
            sum(shares) if known else None,
        )

    def _ask(self, what: str, *more: Any) -> Any:
        with suppress(self._library.NVMLError):
            return getattr(self._library, f"nvmlDeviceGet{what}")(self._handle, *more)
        return None


def _gpus() -> list[_GpuLooks]:
    """What looks at each GPU that this process may use.

    There is none where NVIDIA's library or its Python package (nvidia-ml-py, which comes with vLLM) is
    missing, or a GPU is shared by MIG.
    """
    try:
        import pynvml
    except ImportError:
        return []
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(one) for one in range(pynvml.nvmlDeviceGetCount())]
        uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
        chosen = range(len(handles)) if listed is None else visible(listed, uuids)
        return [_GpuLooks(pynvml, handles[place]) for place in chosen]
    except pynvml.NVMLError:
        return []
