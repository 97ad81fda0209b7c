"""Regressions as text: a line each, the open ones first. Pure."""

from collections.abc import Sequence

from ..history.findings import STEP_TIMES, Finding
from ..schema.metrics import title
from .change_points import environment
from .names import series_name
from .numbers import change
from .table import table


def summary(found: Finding) -> str:
    """What it is in a line: "+30.0 % step time: BOX, nano, zmq, batch 8; 3 more series"."""
    first, *others = found.points
    more = f"; {len(others)} more series" if others else ""
    return f"{change(first.ratio)} {title(first.metric)}: {series_name(first.key)}{more}"


def state(found: Finding) -> str:
    """Where it stands: what was decided, or what the history says."""
    if found.decision is not None:
        by = f" by {found.decision.fixed_by}" if found.decision.fixed_by else ""
        return f"{found.decision.state}{by}"
    if found.slower_still:
        return "open"
    of_step = [point for point in found.points if point.metric in STEP_TIMES] or found.points
    if all(point.reverted_by is not None for point in of_step):
        return "reverted"
    return of_step[0].state


def findings_table(found: Sequence[Finding]) -> str:
    """A row each; the name is what `rollout-perf triage` takes."""
    if not found:
        return "no regression was found"
    rows = [[one.name, state(one), summary(one), f"cause: {environment(one.environment)}"] for one in found]
    caption = "regressions, by the range of commits and the cause; gains are in `rollout-perf detect` alone"
    return table(["name", "state", "what", ""], rows, caption=caption)
