"""How often detector and gate call noise a change, and what they still find: the tables of the docs.

    python -m studies.false_alarms [--series 300] [--gates 2000]

Noise is Gaussian, or of engine starts in two modes, or that of the committed results put into random order.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rollout_bench.report.table import table
from rollout_bench.schema.record import read_records
from rollout_bench.stats import exam
from rollout_bench.stats.change_points import find_shifts
from rollout_bench.stats.paired import (
    BETTER,
    CANNOT_TELL,
    ERROR,
    THRESHOLD,
    WORSE,
    decide,
    half_width,
    least_pairs,
    planned_looks,
)

RESULTS = Path(__file__).resolve().parents[1] / "results"
_LEAST_VALUES, _MOST_VALUES = 20, 60
_PAIRS = (2, 4, 8, 12)
_EFFECTS = (0.05, 0.10, 0.20)


def gate_noise(kind: str, cv: float, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Logs of replicates along the last axis, in the order in which they were measured."""
    draw = np.random.default_rng(seed)
    white = draw.standard_normal(shape)
    if kind == "outliers":  # one replicate in twenty is disturbed, and then only ever slower
        white += (draw.random(shape) < 0.05) * 5 * np.abs(draw.standard_normal(shape))
    if kind == "drift":
        for one in range(1, shape[-1]):
            white[..., one] = 0.7 * white[..., one - 1] + math.sqrt(1 - 0.49) * white[..., one]
    slower = math.log(1.25) * (draw.random(shape) < 0.3) if kind == "modes" else 0.0
    return cv * white + slower


def simulate_gates(
    kind: str, cv: float, effect: float, most_pairs: int = 32, gates: int = 1500, cases: int = 8
) -> np.ndarray:
    """Verdicts (gates, cases) as a gate comes to them: look by look, each kept once it is firm."""
    noise = gate_noise(kind, cv, (gates, cases, most_pairs * 2), len(kind) + most_pairs)
    replicates = noise.reshape(gates, cases, -1, 4)
    base, head = replicates[..., [0, 3]], replicates[..., [1, 2]] + math.log1p(effect)
    logs = (head - base).reshape(gates, cases, most_pairs)
    least = least_pairs(cases)
    looks = planned_looks(most_pairs, least)
    error = ERROR / (cases * len(looks))
    verdicts = np.full((gates, cases), CANNOT_TELL)
    for pairs in (look for look in looks if look >= least):
        seen = logs[..., :pairs]
        now = decide(seen.mean(axis=-1), half_width(seen, error), math.log1p(THRESHOLD))
        verdicts = np.where(verdicts == CANNOT_TELL, now, verdicts)
    return verdicts


def wrong(verdicts: np.ndarray) -> float:
    """Share of gates of a commit against itself in which any case is called worse or better."""
    return float(np.isin(verdicts, (WORSE, BETTER)).any(axis=1).mean())


def real_series(folder: Path = RESULTS) -> Iterator[np.ndarray]:
    """Values of every metric of every case of a file of records, of which no order is known any more."""
    draw = np.random.default_rng(0)
    for file in sorted(folder.glob("*/*/*.jsonl")):
        values: dict[tuple[str, str, str], list[float]] = {}
        if file.parent.name not in ("records", "turns", "limit", "probe"):
            continue
        for record in read_records(file.read_text()):
            for metric, samples in record.metrics.items():
                case = record.path, record.workload["fingerprint"], metric
                values.setdefault(case, []).extend(one for one in samples if 0 < one < math.inf)
        for found in values.values():
            if len(found) >= _LEAST_VALUES and min(found) < max(found):
                yield draw.permutation(found)[:_MOST_VALUES]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def detector_table(series: int) -> str:
    """A line for each noise; a column for each step."""
    rows: dict[tuple[str, str], list[str]] = {}
    for answer in exam.examine({exam.OURS: exam.ours}, exam.UNLIKE_GAUSSIAN, series, workers=2):
        asked = answer.question
        rows.setdefault((asked.noise, f"{100 * asked.cv:g} %"), []).append(_percent(answer.share))
    titles = ["noise", "CV", "no step", "5 %", "10 %", "20 %"]
    return table(titles, [[*kind, *shares] for kind, shares in rows.items()], markdown=True)


def real_line() -> str:
    """How many of the real series have a change point when their values are in random order."""
    found = [
        (bool(find_shifts(values.tolist())), len({*values}) <= len(values) / 3) for values in real_series()
    ]
    few = [hit for hit, of_few in found if of_few]
    hits = sum(hit for hit, _few in found)
    return (
        f"{hits} of {len(found)} real series in random order ({100 * hits / len(found):.2f} %); "
        f"of those with few distinct values {sum(few)} of {len(few)}"
    )


def gate_table(gates: int) -> str:
    """Shares of wrong gates by pairs, and of cases called worse with the most of them."""
    rows = []
    for kind, cv in [("modes", 0.004), *((k, c) for k in ("even", "modes") for c in (0.03, 0.08, 0.15))]:
        for cases in (3, 15):
            shares = [wrong(simulate_gates(kind, cv, 0.0, pairs, gates, cases)) for pairs in _PAIRS]
            for effect in _EFFECTS:
                verdicts = simulate_gates(kind, cv, effect, _PAIRS[-1], gates, cases)
                shares.append(float((verdicts == WORSE).mean()))
            rows.append([kind, f"{100 * cv:g} %", str(cases), *map(_percent, shares)])
    titles = ["noise", "CV", "cases", *(f"wrong, {pairs} pairs" for pairs in _PAIRS)]
    titles += [f"{100 * effect:g} % found, {_PAIRS[-1]} pairs" for effect in _EFFECTS]
    return table(titles, rows, markdown=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--gates", type=int, default=2000)
    given = parser.parse_args()
    print(gate_table(given.gates), real_line(), detector_table(given.series), sep="\n\n")


if __name__ == "__main__":
    main()
