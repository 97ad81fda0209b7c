"""What explains a change of the step time as text: "+6.0 %: pipe +5.6; not clear: launch +0.3". Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..schema.metrics import title
from ..stats.paired import CANNOT_TELL
from .numbers import change, signed

_MOST_UNCLEAR = 3


def explained(ratio: float, parts: Sequence[Mapping[str, Any]], counts: Mapping[str, float]) -> str:
    """A change by its parts, in percentage points of the step; empty where there is none.

    First what is firm, then the most of what may be noise; and the counts that have changed, by their ratios.
    """
    return f"{change(ratio)}: {of_parts(parts, counts)}" if parts else ""


def of_parts(parts: Sequence[Mapping[str, Any]], counts: Mapping[str, float]) -> str:
    """The parts alone, behind a change that is said already."""
    firm = [part for part in parts if part["verdict"] != CANNOT_TELL]
    unclear = sorted((part for part in parts if part not in firm), key=lambda part: -abs(part["change"]))
    few = _points(unclear[:_MOST_UNCLEAR])
    counted = [f"{title(name)} {change(one)}" for name, one in counts.items()]
    return "; ".join(filter(None, [_points(firm), few and f"not clear: {few}", *counted]))


def _points(parts: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{part['name']} {signed(round(part['change'] * 100, 1) + 0.0)}" for part in parts)
