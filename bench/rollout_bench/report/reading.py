"""What a table of ratios says, and what it does not, for somebody who sees one for the first time. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..schema.metrics import STEP
from ..stats.ratios import LEAST_REPLICATES
from .numbers import interval
from .ratios import ratio_in
from .table import wrapped


def reading(rows: Sequence[Mapping[str, Any]], reference: str, on_cpu: bool) -> str:
    """Lines about the step times of rows of `report.ratios`: each path's, then what limits them."""
    others = [row for row in rows if row["path"] != reference]
    lines = [_about(row, reference) for row in others if "ratio" in row]
    if on_cpu:
        lines.append(
            "No GPU here: engine and workers share the CPU's cores, so this shows that everything works and "
            "does not rank the paths. For figures from GPUs see the findings in README.md."
        )
    if any(row["replicates"] < LEAST_REPLICATES for row in rows):
        paths = " ".join(f"--path {row['path']}" for row in others)
        lines.append(
            "Too few engine starts to be sure: another may differ by tens of per cent. Start each engine "
            f"{LEAST_REPLICATES} times: `rollout-perf compare {paths} --starts {LEAST_REPLICATES}`."
        )
    return "\n".join(wrapped(f"- {line}") for line in lines)


def _about(row: Mapping[str, Any], reference: str) -> str:
    path, found = row["path"], ratio_in(row, STEP)
    assert found is not None  # as rows with a ratio have
    if not found.has_interval:
        return f"{path}: {interval(found)} times the step time of {reference} in these rollouts."
    if found.low <= 1 <= found.high:
        says = f"no difference from {reference} was found"
    else:
        says = f"{'slower' if found.middle > 1 else 'faster'} than {reference} in these rollouts"
    return f"{path}: {says}: {interval(found)} times its step time."
