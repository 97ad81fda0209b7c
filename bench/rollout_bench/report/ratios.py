"""Ratios of paths that took turns: from records whose samples of one round are neighbours. Pure."""

import random
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from ..schema.record import Record
from .table import aligned, number

_DRAWS = 2000
_CONFIDENCE = 0.95


def ratios(sittings: Sequence[Sequence[Record]], reference: str, metric: str) -> list[dict[str, Any]]:
    """For each path and workload its ratio to the reference, over all sittings.

    A start's ratio is the median over rounds of sample over the reference's sample of the same round;
    the ratio is the median over starts. The interval is of a bootstrap that draws starts, and rounds
    within them: 95 % of what the median of medians comes to. With three starts it says how far they
    agree, and can say no more.
    """
    rows: list[dict[str, Any]] = []
    for path, batch, name in dict.fromkeys(
        (one.path, one.workload["batch"], one.workload["name"]) for records in sittings for one in records
    ):
        starts = []
        for records in sittings:
            mine, its = (_samples(records, who, batch, name, metric) for who in (path, reference))
            if mine and len(mine) == len(its):
                starts.append([one / other for one, other in zip(mine, its, strict=True)])
        middles = [
            median(samples)
            for records in sittings
            if (samples := _samples(records, path, batch, name, metric))
        ]
        row: dict[str, Any] = {"path": path, "workload": name, "batch": batch, "starts": len(middles)}
        if middles:
            row |= {"median": median(middles), "rounds": sum(map(len, starts))}
        if starts:
            row |= {"ratio": median(map(median, starts)), "by_start": [median(one) for one in starts]}
            row["interval"] = _interval(starts)
        rows.append(row)
    return sorted(rows, key=lambda row: (row["workload"], row["batch"]))


def sittings_of(records: Sequence[Record]) -> list[list[Record]]:
    """The records of a file, a list for each start: where a cell comes again, another start begins."""
    sittings: list[dict[tuple, Record]] = []
    for one in records:
        if not sittings or _cell(one) in sittings[-1]:
            sittings.append({})
        sittings[-1][_cell(one)] = one
    return [list(cells.values()) for cells in sittings]


def together(sittings: Sequence[Sequence[Record]]) -> list[Record]:
    """One record a cell, with the samples of all starts."""
    cells: dict[tuple, list[Record]] = {}
    for one in (one for records in sittings for one in records if one.metrics):
        cells.setdefault(_cell(one), []).append(one)
    return [
        replace(
            starts[0],
            metrics={
                name: [sample for one in starts for sample in one.metrics.get(name, ())]
                for name in starts[0].metrics
            },
        )
        for starts in cells.values()
    ]


def _cell(record: Record) -> tuple:
    return record.path, record.preset, record.tensor_parallel_size, record.workload["fingerprint"]


def _samples(records: Sequence[Record], path: str, batch: int, name: str, metric: str) -> list[float]:
    for one in records:
        if (one.path, one.workload["batch"], one.workload["name"]) == (path, batch, name):
            return one.metrics.get(metric, [])
    return []


def _interval(starts: Sequence[Sequence[float]]) -> tuple[float, float]:
    draw = random.Random(0)
    found = sorted(
        median(median(draw.choices(rounds, k=len(rounds))) for rounds in draw.choices(starts, k=len(starts)))
        for _ in range(_DRAWS)
    )
    outside = round(_DRAWS * (1 - _CONFIDENCE) / 2)
    return found[outside], found[-outside - 1]


def ratio_table(rows: Sequence[dict[str, Any]], reference: str, metric: str) -> str:
    """One line a path and workload."""
    titles = ["path", "batch", f"median {metric}", f"ratio to {reference} [95 %]", "by start", "rounds"]
    lines = []
    for row in rows:
        start = [row["path"], str(row["batch"])]
        if "median" not in row:
            lines.append([*start, "not measured"])
            continue
        cells = [f"{row['median']:.4g}", "", "", str(row["rounds"])]
        if row["path"] != reference and "ratio" in row:
            low, high = row["interval"]
            cells[1] = f"{number(row['ratio'])} [{number(low)} .. {number(high)}]"
            cells[2] = " ".join(number(one) for one in row["by_start"])
        lines.append(start + cells)
    return "\n".join(aligned(titles, lines, right=(1, 2, 5)))
