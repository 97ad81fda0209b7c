"""How often the detector calls noise a change, and what it still finds: the tables of the docs.

    python -m studies.false_alarms [--series 300]

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

RESULTS = Path(__file__).resolve().parents[1] / "results"
_LEAST_VALUES, _MOST_VALUES = 20, 60


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


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--series", type=int, default=300)
    given = parser.parse_args()
    print(real_line(), detector_table(given.series), sep="\n\n")


if __name__ == "__main__":
    main()
