"""Ratios of the paths of sessions: from records whose samples of one round are neighbours. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from statistics import median
from typing import Any

from ..history.control import control_of
from ..history.sessions import Case, case_of
from ..measure.pool import pooled
from ..schema.metrics import CONTROL_RATIO, STEP
from ..schema.metrics import metric as metric_facts
from ..schema.record import Record
from ..stats.ratios import LEAST_REPLICATES, Pairs, ratios_of
from .estimate import BUSY_HOST, FEW_REPLICATES, ONE_REPLICATE, OVER_CONTROL, Estimate, spoilt_rounds
from .footnotes import Footnotes
from .numbers import decimals, interval, quantity
from .table import table, wrapped


def ratios(sessions: Sequence[Sequence[Record]], reference: str, metric: str) -> list[dict[str, Any]]:
    """For each path and case its ratio to the reference over all sessions, each a replicate."""
    rows: list[dict[str, Any]] = []
    compared: list[tuple[dict[str, Any], Pairs]] = []
    for path, case in dict.fromkeys((one.way, _compared(one)) for records in sessions for one in records):
        kept = [_found(records, path, case) for records in sessions]
        mine = [_samples(one, metric) for one in kept]
        its = [_samples(_found(records, reference, case), metric) for records in sessions]
        medians = [median(samples) for samples in mine if samples]
        named = dict(zip(("preset", "tensor_parallel_size", "workload", "batch"), case, strict=True))
        row: dict[str, Any] = {"path": path, **named, "replicates": len(medians)}
        pairs = [pair for pair in zip(mine, its, strict=True) if pair[0] and len(pair[0]) == len(pair[1])]
        row |= {"rounds": sum(len(samples) for samples, _its in pairs), "over_control": False}
        if not pairs and metric == STEP:
            pairs = _over_control(kept, [_found(records, reference, case) for records in sessions])
            row |= {"rounds": sum(map(len, mine)), "over_control": bool(pairs)}
        if medians:
            row["median"] = median(medians)
            row["spoilt_rounds"] = sum(spoilt_rounds(one) for one in kept if one is not None)
        if pairs and path == reference:
            row |= {"ratio": 1.0, "by_replicate": [1.0] * len(pairs), "interval": (1.0, 1.0)}
        elif pairs:
            compared.append((row, Pairs(path, pairs)))
        rows.append(row)
    found = ratios_of([pairs for _row, pairs in compared])
    for (row, _pairs), one in zip(compared, found, strict=True):
        row |= {"ratio": one.middle, "by_replicate": one.by_replicate, "interval": one.interval}
    return sorted(rows, key=lambda row: (row["workload"], row["batch"]))


def _over_control(
    mine: Sequence[Record | None], its: Sequence[Record | None]
) -> list[tuple[list[float], list[float]]]:
    """Of a path and the reference, which found no room together, by replicate their ratios to the control
    that was in the sessions of both."""
    over = [[one for one in some if one is not None and control_of(one) is not None] for some in (mine, its)]
    return [
        (one.metrics[CONTROL_RATIO], other.metrics[CONTROL_RATIO])
        for one, other in zip(*over, strict=False)
        if control_of(one) == control_of(other)
        and one.metrics.get(CONTROL_RATIO)
        and other.metrics.get(CONTROL_RATIO)
    ]


def ratio_in(row: Mapping[str, Any], metric: str) -> Estimate | None:
    """The ratio of a row of `ratios`, with its warnings; None where it has none."""
    if "ratio" not in row:
        return None
    if metric_facts(metric).exact:  # the same in every replicate, and not disturbed
        return Estimate(row["ratio"], -inf, inf)
    warnings = [BUSY_HOST] if row["spoilt_rounds"] else []
    if row["over_control"]:
        warnings.append(OVER_CONTROL)
    if row["replicates"] < LEAST_REPLICATES:
        warnings.append(ONE_REPLICATE if row["replicates"] == 1 else FEW_REPLICATES)
    low, high = row["interval"] or (-inf, inf)
    return Estimate(row["ratio"], low, high, tuple(warnings))


def _compared(record: Record) -> tuple[str, int, str, int]:
    """What the paths that are compared have in common."""
    load = record.workload
    return record.preset, record.tensor_parallel_size, load["name"], load["batch"]


def together(sessions: Sequence[Sequence[Record]]) -> list[Record]:
    """One record a case, with the samples of all replicates."""
    cases: dict[Case, list[Record]] = {}
    for one in (one for records in sessions for one in records if one.metrics):
        cases.setdefault(case_of(one), []).append(one)
    return [pooled(replicates) for replicates in cases.values()]


def _found(records: Sequence[Record], path: str, case: tuple[str, int, str, int]) -> Record | None:
    return next((one for one in records if (one.way, _compared(one)) == (path, case)), None)


def _samples(record: Record | None, metric: str) -> list[float]:
    samples = [] if record is None else record.metrics.get(metric, [])
    return samples if all(0 < sample < inf for sample in samples) else []  # JSON may hold NaN


def of_variants(sessions: Sequence[Sequence[Record]], metric: str) -> dict[str, list[dict[str, Any]]]:
    """By path and workload, its variants over the workload itself: `ratios`, with variants as paths."""
    found = {}
    for path in dict.fromkeys(one.way for records in sessions for one in records):
        own = [[_by_variant(one) for one in records if one.way == path] for records in sessions]
        for plain in dict.fromkeys(one.workload["name"] for records in own for one in records):
            kept = [[one for one in records if one.workload["name"] == plain] for records in own]
            rows = ratios(kept, plain, metric)
            if {row["path"] for row in rows} > {plain}:
                found[f"{path}, {plain}"] = rows
    return found


def _by_variant(record: Record) -> Record:
    """A record with its workload's variant as its path."""
    name = record.workload["name"]
    return replace(record, path=name, entry=None, workload=record.workload | {"name": name.partition("-")[0]})


def variant_tables(found: Mapping[str, Sequence[dict[str, Any]]], metric: str) -> list[str]:
    """A table for each path and workload that `of_variants` has found."""
    return [
        f"{name}: what else is asked of it\n{ratio_table(rows, rows[0]['workload'], metric, 'workload')}"
        for name, rows in found.items()
    ]


def ratio_table(rows: Sequence[dict[str, Any]], reference: str, metric: str, compared: str = "path") -> str:
    """One line a path, or what else is compared, and batch."""
    titles = [compared, "batch", f"median {metric}", f"ratio to {reference} [95 %]", "by replicate", "rounds"]
    lines = []
    notes = Footnotes()
    for row in rows:
        start = [row["path"], str(row["batch"])]
        if "median" not in row:
            lines.append([*start, "not measured"])
            continue
        found = ratio_in(row, metric)
        spoilt = row["spoilt_rounds"] and not metric_facts(metric).exact  # counts are not disturbed
        busy = notes.mark_of(BUSY_HOST) if spoilt else ""
        cells = [f"{quantity(row['median'], metric)}{busy}", "", "", str(row["rounds"])]
        if row["path"] != reference and found is not None:
            digits = decimals(found.high - found.low) if found.has_interval else 2
            cells[1] = interval(found) + notes.mark(found)
            cells[2] = " ".join(f"{one:.{digits}f}" for one in row["by_replicate"])
        lines.append(start + cells)
    caption = "side by side: ratios are of rounds in one session; medians of sessions apart do not compare"
    shown = table(titles, lines, right=(1, 2, 5), caption=caption)
    return "\n".join([shown, *map(wrapped, notes.lines())])
