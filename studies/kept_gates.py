"""How often gates drawn from kept sessions of two builds on a GPU are wrong, and what they find.

    python -m studies.kept_gates [--gates 6000]

`gate_errors` has the same of simulated noise, and of paths. Here a session's log ratio is that of two builds
of a path, as a gate has it.
"""

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from rollout_bench.report.table import table
from rollout_bench.schema.record import REFERENCE, Record, read_records
from rollout_bench.stats.rounds import hodges_lehmann, slowed

from .gate_errors import MOST, RESULTS, found, simulate, wrong

SMALL = [f"h100-4x/exam/2026-11-27-0.5b-{gate}.jsonl" for gate in ("gate", "worker-150-us", "driver-500-us")]
LONGER = [f"h200-4x/exam/2026-11-28-0.5b-{gate}.jsonl" for gate in ("worker-150-us", "driver-400-us")]
LARGE = [f"h100-4x/exam/2026-11-27-7b-gate-{number}.jsonl" for number in (2, 3, 4, 5)]
HISTORY = ["h100-4x/exam/2026-11-27-0.5b-planted-history.jsonl"]
ASKED = [
    ("0.5B, gates, 10 rounds", SMALL, 10, 0.05, 12),
    ("0.5B, gates on H200s, 14 to 20 rounds", LONGER, 20, 0.05, 12),
    ("0.5B, the same, first 10 rounds", LONGER, 10, 0.05, 12),
    ("0.5B, a history, 10 rounds", HISTORY, 10, 0.05, 12),
    ("0.5B, a history, 20 rounds", HISTORY, 20, 0.05, 12),
    ("7B, gates, 10 rounds", LARGE, 10, 0.03, 4),
]
"""What it is of, files in results/, how many of their rounds, a slowdown, in how many sessions to find it."""
BUDGETS = (4, 8, 12)


def log_ratios(file: Path, rounds: int | None = None, *, corrected: bool = True) -> np.ndarray:
    """Of the second of two builds of a path to the first, in kept sessions, shape (sessions, batches).

    They are of all rounds or the first ones, with the correction for slower cores or without. Of a history's
    session it is each two of the builds with the same system under test.
    """
    sessions: dict[str, dict[int, dict[str, Record]]] = defaultdict(lambda: defaultdict(dict))
    for one in read_records(file.read_text()):
        if one.way != REFERENCE and one.metrics:
            of_batch = sessions[one.provenance["session"]][one.workload["batch"]]
            of_batch[one.provenance["side"]] = one
    logs = []
    for by_batch in sessions.values():
        suts = {side: one.provenance.get("sut") for side, one in next(iter(by_batch.values())).items()}
        [(same, _count)] = Counter(suts.values()).most_common(1)
        for two in combinations([side for side, sut in suts.items() if sut == same], 2):
            builds = ({side: by_batch[batch][side] for side in two} for batch in sorted(by_batch))
            logs.append([_log_ratio(build, rounds, corrected) for build in builds])
    return np.array(logs)


def _log_ratio(builds: dict[str, Record], rounds: int | None, corrected: bool) -> float:
    seconds = {side: one.metrics["step_seconds"][:rounds] for side, one in builds.items()}
    slowness = {side: one.observed["host"]["rounds"]["slowness"][:rounds] for side, one in builds.items()}
    longer = slowed(seconds, slowness) if corrected else {}
    base, head = (np.log(np.divide(of, longer.get(side, 1.0))) for side, of in seconds.items())
    return hodges_lehmann((head - base).tolist())


def of_builds(file: Path, rounds: int) -> np.ndarray:
    """`log_ratios` of the first rounds, without what a file's have in common: a planted change."""
    logs = log_ratios(file, rounds)
    without: np.ndarray = math.sqrt(len(logs) / (len(logs) - 1)) * (logs - logs.mean(axis=0))
    return without


def drawn(units: np.ndarray, draw: np.random.Generator, gates: int, replicates: int) -> np.ndarray:
    """Log ratios, shape (gates, batches, replicates), of sessions drawn, either build the base."""
    chosen = units[draw.integers(len(units), size=(gates, replicates))]
    logs: np.ndarray = chosen * draw.choice([-1, 1], size=(gates, replicates, 1))
    return logs.transpose(0, 2, 1)


def row(units: np.ndarray, past: int, gates: int, slower: float, sessions: int) -> list[float]:
    """After `past` other gates: shares that are wrong, by budget; of cases, of gates that find a slowdown."""
    draw, batches = np.random.default_rng(3), units.shape[1]
    before = np.zeros((gates, past, batches))
    for one in range(past):
        before[:, one] = drawn(units, draw, gates, min(BUDGETS)).var(axis=-1, ddof=1)
    logs = drawn(units, draw, gates, MOST)
    wrongs = [wrong(verdicts) for verdicts in simulate(logs, before, BUDGETS, batches)]
    return [*wrongs, *found(logs[..., :sessions], before, slower, batches)]


def units_of(files: Sequence[str], rounds: int) -> np.ndarray:
    """`of_builds` of several files together."""
    return np.concatenate([of_builds(RESULTS / file, rounds) for file in files])


def _cells(
    name: str, files: Sequence[str], rounds: int, slower: float, sessions: int, gates: int
) -> list[list[str]]:
    units = units_of(files, rounds)
    noise = " ".join(f"{100 * one:.1f}" for one in units.std(axis=0))
    return [
        [name, str(len(units)), noise, str(past)]
        + [f"{100 * share:.1f}" for share in row(units, past, gates, slower, sessions)]
        + [f"{100 * slower:g} %, {sessions}"]
        for past in (0, 5)
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gates", type=int, default=6000)
    gates = parser.parse_args().gates
    rows = [cells for asked in ASKED for cells in _cells(*asked, gates)]
    titles = [
        "sessions of",
        "number",
        "noise by batch, %",
        "gates before",
        *(f"wrong: {most}" for most in BUDGETS),
    ]
    print(table([*titles, "found: cases", "gates", "slower by, in sessions"], rows, markdown=True))


if __name__ == "__main__":
    main()
