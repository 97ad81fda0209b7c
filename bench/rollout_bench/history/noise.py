"""How much replicates of the same code vary on a machine: what gates and sessions before have shown.

    noise = read_noise(Path("results/h100-1x"))
    noise["zmq", "qwen2.5-0.5b", 1, "fixed", 64, "step_seconds"]  # the newest first

Of a gate it is the variance of its replicates' log ratios of head to base, of kept sessions that of a path to
the reference, around their own mean: what did change is no noise. What is damaged is passed over.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import variance
from typing import NamedTuple

from ..schema.metrics import METRICS
from ..schema.record import REFERENCE, Record, measured_at, minute, read_gate, read_records
from ..stats.rounds import hodges_lehmann
from ..stats.together import Spread
from .sessions import sessions_of

LAST = 10
"""As many gates and sessions of a timing count: a machine is not for ever what it was."""


class Timed(NamedTuple):
    """What has a noise of its own."""

    path: str
    preset: str
    tensor_parallel_size: int
    workload: str
    """The workload's name."""
    batch: int
    metric: str


def read_noise(machine: Path) -> dict[Timed, list[Spread]]:
    """The noise of each timing, newest first, from a machine's folder in results/."""
    found: list[tuple[str, Timed, Spread]] = []
    for folder, kind, read in (("gates", "json", _of_gate), ("turns", "jsonl", _of_sessions)):
        for file in sorted(machine.glob(f"{folder}/*.{kind}")):
            with suppress(OSError, ValueError):
                for time, timed, logs in read(file.read_text()):
                    if len(logs) > 1:
                        spread = Spread(variance(logs), len(logs) - 1, f"{folder}/{file.name}")
                        found.append((time, timed, spread))
    noise: dict[Timed, list[Spread]] = {}
    for _time, timed, spread in sorted(found, key=lambda one: one[0], reverse=True):
        noise.setdefault(timed, []).append(spread)
    return {timed: spreads[:LAST] for timed, spreads in noise.items()}


def _of_gate(text: str) -> Iterator[tuple[str, Timed, Sequence[float]]]:
    gate = read_gate(text)
    for row in gate["verdicts"]:
        yield minute(gate.get("measured_at")), Timed(*map(row.get, Timed._fields)), row.get("logs") or ()


def _of_sessions(text: str) -> Iterator[tuple[str, Timed, Sequence[float]]]:
    records = [record for record in read_records(text) if record.metrics]
    logs: dict[Timed, list[float]] = {}
    for session in sessions_of(records):
        references = {_case(one): one.metrics for one in session if one.way == REFERENCE}
        for one in session:
            if one.way != REFERENCE:
                for metric, value in _log_ratios(one.metrics, references.get(_case(one), {})):
                    logs.setdefault(Timed(one.way, *_case(one), metric), []).append(value)
    time = max(map(measured_at, records), default="")
    for timed, values in logs.items():
        yield time, timed, values


def _case(record: Record) -> tuple[str, int, str, int]:
    load = record.workload
    return record.preset, record.tensor_parallel_size, load["name"], load["batch"]


def _log_ratios(
    metrics: Mapping[str, Sequence[float]], reference: Mapping[str, Sequence[float]]
) -> Iterator[tuple[str, float]]:
    """Of each timing that both have, the Hodges-Lehmann estimate of its rounds' log ratios."""
    for metric, samples in metrics.items():
        its = reference.get(metric, ())
        rounds = [*zip(samples, its, strict=False)]
        comparable = len(samples) == len(its) and all(0 < one < math.inf for pair in rounds for one in pair)
        if rounds and comparable and metric in METRICS and not METRICS[metric].exact:
            yield metric, hodges_lehmann([math.log(one / other) for one, other in rounds])
