"""Change points as people see to them: those of one range of commits, cause and direction are one. Pure.

for finding in findings(find_change_points(results, root), read_triage(folder)): ...
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..schema.metrics import CONTROL_RATIO
from .detect import ChangePoint
from .locks import Changes
from .results import Commit
from .triage import Decision

STEP_TIMES = (CONTROL_RATIO, "step_seconds")
"""Metrics that say the step time; the others say what it is made of, or what else it costs."""


@dataclass(frozen=True)
class Finding:
    """A regression or an improvement: what changed after a commit, up to another."""

    last_before: Commit
    first: Commit
    worse: bool
    environment: Changes
    """What changed around the code, its cause unless the code is; of all its series the same."""
    points: Sequence[ChangePoint]
    """Those of the step time first, the largest first."""
    decision: Decision | None = None
    """What people have decided of it."""

    @property
    def name(self) -> str:
        """The range, and what changed around the code: "88e583f6..c9ff6fe7", "88e583f6..c9ff6fe7+vllm"."""
        causes = [re.sub(r"[^\w.-]+", "_", cause, flags=re.ASCII)[:30] for cause in sorted(self.environment)]
        more = f"-and-{len(causes) - 1}-more" * (len(causes) > 1)
        cause = f"+{causes[0]}{more}" if causes else ""
        return f"{self.last_before.hash[:8]}..{self.first.hash[:8]}{cause}"

    @property
    def slower_still(self) -> bool:
        """Whether any of its series is, by more than one commit."""
        return any(point.slower_still for point in self.points)

    @property
    def is_open(self) -> bool:
        """Whether it is a regression that somebody has still to see to."""
        return self.slower_still and (self.decision is None or self.decision.state == "acknowledged")


def findings(points: Sequence[ChangePoint], decisions: Mapping[str, Decision]) -> list[Finding]:
    """What was found, open regressions first, and then the newest first."""
    groups: dict[tuple[object, ...], list[ChangePoint]] = {}
    for point in points:
        cause = tuple(sorted(point.environment.items()))
        groups.setdefault((point.last_before, point.first, point.worse, cause), []).append(point)
    found = []
    for some in groups.values():
        kept = sorted(some, key=lambda point: (point.metric not in STEP_TIMES, -abs(point.ratio - 1)))
        one = kept[0]
        finding = Finding(one.last_before, one.first, one.worse, one.environment, kept)
        found.append(replace(finding, decision=decisions.get(finding.name) if one.worse else None))
    return sorted(found, key=lambda one: (one.is_open, one.first.time), reverse=True)
