"""The commands that measure a change point again: both its commits, or those between them.

They measure the series itself: its preset, workload and batch, with the engine that asv measured it with.
"""

import shlex
from collections.abc import Mapping

from ..measure.tracked import Tracked
from ..schema.metrics import CONTROL_RATIO
from .results import Commit, Key


def tracked_name(key: Key, tracked: Mapping[str, Tracked]) -> str | None:
    """The table of tracked.toml that asv measures a series by; None where its workload is tracked no more."""
    parts = sorted({one.part for one in tracked.values()}, key=len, reverse=True)
    its_part = next((part for part in parts if key.environment.endswith(part)), "")
    for name, one in tracked.items():
        if (one.preset, one.tensor_parallel_size, one.part) == (
            key.preset,
            key.tensor_parallel_size,
            its_part,
        ):
            alike = [load for load in one.workloads if (load.name, load.batch) == (key.workload, key.batch)]
            if any(load.fingerprint() == key.fingerprint for load in alike):
                return name
    return None


def confirm(key: Key, metric: str, last: Commit, first: Commit, name: str | None) -> str | None:
    """The gate of two commits, by the table's name; None where there is none to measure the series by."""
    return _gate(last.hash[:8], first.hash[:8], key, metric, name)


def bisect(key: Key, metric: str, last: Commit, first: Commit, worse: bool, name: str | None) -> str | None:
    """One line for a shell. A commit that cannot be measured (exit code 2) is passed over (125).

    Nothing is checked out, so that one harness measures every commit.
    """
    builds = (last.hash[:8], "BISECT_HEAD") if worse else ("BISECT_HEAD", last.hash[:8])
    gate = _gate(*builds, key, metric, name)
    if gate is None:
        return None
    script = f"{gate}; code=$?; [ $code -lt 2 ] || code=125; exit $code"
    start = shlex.join(["git", "bisect", "start", "--no-checkout", first.hash[:8], last.hash[:8]])
    return f"{start} && git bisect run sh -c {shlex.quote(script)}"


def _gate(base: str, head: str, key: Key, metric: str, name: str | None) -> str | None:
    """For a shell: names come from results/, and may hold what a shell would run."""
    if name is None:
        return None
    metric = "step_seconds" if metric == CONTROL_RATIO else metric  # a gate has both commits and no control
    series = ["--tracked", name, "--workload", key.workload, "--batch", str(key.batch), "--paths", key.path]
    return shlex.join(["rollout-perf", "gate", base, head, *series, "--metrics", metric])
