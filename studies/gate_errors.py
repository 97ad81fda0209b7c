"""How often a gate calls the same code worse or better, and what it finds: the tables of the docs.

    python -m studies.gate_errors [--gates 2000]

A gate's replicates are sessions: the log ratio of two engine starts and the session's own noise. A mode is
drawn by the engine start, and all batches of a path have it; so has half of what else differs between starts.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from rollout_bench.history.results import read_results
from rollout_bench.history.sessions import sessions_of
from rollout_bench.report.table import table
from rollout_bench.schema.record import REFERENCE, Record
from rollout_bench.stats.paired import (
    BETTER,
    CANNOT_TELL,
    ERROR,
    THRESHOLD,
    WORSE,
    decide,
    least_pairs,
    planned_looks,
)
from rollout_bench.stats.shrinkage import Variances, shrunken
from rollout_bench.stats.together import half_interval

RESULTS = Path(__file__).resolve().parents[1] / "results"
BATCHES = 3
MOST = 12
_PAST_REPLICATES = 4
_BUDGETS = (4, 5, 8, 12)
_SLOWER, _APART = 0.3, math.log(1.25)


@dataclass(frozen=True)
class Noise:
    """How the replicates of a gate of the same code differ."""

    name: str
    session: float
    """Standard deviation of the log ratio of two engines that are alike."""
    starts: float = 0.0
    """Coefficient of variation between engine starts."""
    modes: bool = False
    """30 % of the engine starts are 25 % slower."""
    before: float = 1.0
    """Noise of the history over noise of today."""
    days: float = 0.0
    """Standard deviation of the logarithm of a gate's noise, from gate to gate and path to path."""

    def draw(self, draw: np.random.Generator, gates: int, paths: int, replicates: int) -> np.ndarray:
        """Log ratios, shape (gates, cases, replicates), path by path."""
        each = (gates, paths, BATCHES, replicates)
        shared = (gates, paths, 1, replicates)

        def start() -> np.ndarray:
            own = draw.standard_normal(shared) + draw.standard_normal(each)
            slower = _APART * (draw.random(shared) < _SLOWER) if self.modes else 0.0
            return self.starts * math.sqrt(0.5) * own + slower

        logs: np.ndarray = start() - start() + self.session * draw.standard_normal(each)
        logs *= np.exp(self.days * draw.standard_normal((gates, paths, 1, 1)))
        return logs.reshape(gates, paths * BATCHES, replicates)


SESSIONS = [Noise("sessions", sd) for sd in (0.005, 0.01, 0.02, 0.04)]
NOISES = [
    *SESSIONS,
    *(
        Noise("starts in two modes" if modes else "starts", 0.01, cv, modes)
        for modes in (False, True)
        for cv in (0.03, 0.08, 0.15)
    ),
    Noise("starts in two modes", 0.003, 0.004, modes=True),
    *(Noise("days differ", sd, days=1.0) for sd in (0.01, 0.04)),
    *(Noise(f"{times:g} x history", 0.04, before=1 / times) for times in (1.5, 2, 5)),
]


def variances_of(noise: Noise, draw: np.random.Generator, gates: int, paths: int, past: int) -> np.ndarray:
    """Variances of the cases in gates before, shape (gates, past, cases)."""
    logs = [noise.before * noise.draw(draw, gates, paths, _PAST_REPLICATES) for _ in range(past)]
    return np.stack([one.var(axis=-1, ddof=1) for one in logs], axis=1) if past else np.zeros((gates, 0, 0))


def simulate(
    logs: np.ndarray, past: np.ndarray, budgets: Sequence[int], batches: int = BATCHES
) -> list[np.ndarray]:
    """Verdicts, shape (gates, cases), of gates for as many replicates as each of the budgets holds."""
    gates, cases, _replicates = logs.shape
    starts = np.arange(cases) // batches
    least = least_pairs(cases // batches)
    before = past.shape[1]
    case_of = np.tile(np.arange(cases), before)
    history = Variances(
        past.reshape(gates, -1),
        np.full(len(case_of), _PAST_REPLICATES - 1.0),
        starts[case_of] + cases * np.repeat(np.arange(before), cases),
    )

    @cache
    def noise(pairs: int) -> tuple[np.ndarray, np.ndarray]:
        values = logs[..., :pairs].var(axis=-1, ddof=1)
        return shrunken(Variances(values, np.full(cases, pairs - 1.0), starts), history, case_of)

    found = []
    for most in budgets:
        verdicts = np.full((gates, cases), CANNOT_TELL)
        looks = planned_looks(most, least)
        for pairs in (look for look in looks if look >= least):
            half = half_interval(*noise(pairs), pairs, ERROR / (cases * len(looks)))
            now = decide(logs[..., :pairs].mean(axis=-1), half, math.log1p(THRESHOLD))
            verdicts = np.where(verdicts == CANNOT_TELL, now, verdicts)
        found.append(verdicts)
    return found


def wrong(verdicts: np.ndarray) -> float:
    """Share of gates of a commit against itself in which any case is called worse or better."""
    return float(np.isin(verdicts, (WORSE, BETTER)).any(axis=1).mean())


def by_replicates(noise: Noise, paths: int, past: int, gates: int, seed: int = 0) -> list[float]:
    """Share of wrong gates with 1 to MOST replicates."""
    draw = np.random.default_rng(seed)
    before = variances_of(noise, draw, gates, paths, past)
    logs = noise.draw(draw, gates, paths, MOST)
    return [wrong(verdicts) for verdicts in simulate(logs, before, range(1, MOST + 1))]


def found(logs: np.ndarray, past: np.ndarray, effect: float, batches: int = BATCHES) -> tuple[float, float]:
    """Shares of cases, and of gates with any case, that are called worse where all are slower by `effect`."""
    worse = simulate(logs + math.log1p(effect), past, [logs.shape[-1]], batches)[0] == WORSE
    return float(worse.mean()), float(worse.any(axis=1).mean())


def real_replicates(folder: Path = RESULTS) -> Iterator[tuple[str, np.ndarray]]:
    """Files of sessions with replicates enough, and from each the log ratios to the reference by round, shape
    (paths and replicates, batches, rounds), without what the replicates of a path have in common."""
    for session in read_results(folder).sessions:
        replicates = sessions_of([record for record in session.records if record.metrics])
        by_path: dict[str, list[np.ndarray]] = {}
        for records in replicates:
            for path in {one.path for one in records} - {REFERENCE}:
                rounds = _rounds(records, path)
                if rounds is not None:
                    by_path.setdefault(path, []).append(rounds)
        units = []
        for several in by_path.values():
            if len(several) > 2 and len({one.shape for one in several}) == 1:
                logs = np.stack(several)
                middle = estimates(logs)[..., None]
                spread = math.sqrt(len(several) / (len(several) - 1)) * (middle - middle.mean(axis=0))
                units.append(logs - middle + spread)
        if units and len({one.shape[1:] for one in units}) == 1:
            yield session.source.stem, np.concatenate(units)


def _rounds(records: Sequence[Record], path: str) -> np.ndarray | None:
    """Log ratios of a path to the reference, shape (batches, rounds); None where one lacks a batch."""
    both = {
        name: {one.workload["batch"]: one.metrics["step_seconds"] for one in records if one.path == name}
        for name in (path, REFERENCE)
    }
    if not both[path] or both[path].keys() != both[REFERENCE].keys():
        return None
    least = min(len(samples) for samples in (*both[path].values(), *both[REFERENCE].values()))
    mine, its = (np.array([both[name][batch][:least] for batch in sorted(both[path])]) for name in both)
    logs: np.ndarray = np.log(mine / its)
    return logs


def estimates(rounds: np.ndarray) -> np.ndarray:
    """`stats.rounds.hodges_lehmann` of the last axis."""
    pairs = np.triu_indices(rounds.shape[-1])
    return np.asarray(np.median((rounds[..., pairs[0]] + rounds[..., pairs[1]]) / 2, axis=-1))


def drawn(
    units: np.ndarray, draw: np.random.Generator, gates: int, paths: int, replicates: int
) -> np.ndarray:
    """Log ratios, shape (gates, cases, replicates), of replicates and rounds drawn from real ones."""
    of_start = draw.integers(len(units), size=(gates, paths, 1, replicates, 1))
    batch = np.arange(units.shape[1])[:, None, None]
    rounds = draw.integers(units.shape[2], size=(gates, paths, units.shape[1], replicates, units.shape[2]))
    sign = draw.choice([-1, 1], size=(gates, paths, 1, replicates))
    logs: np.ndarray = sign * estimates(units[of_start, batch, rounds])
    return logs.reshape(gates, -1, replicates)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def wrong_table(gates: int) -> str:
    """Shares of wrong gates, the worst of all numbers of replicates, by noise, cases and history."""
    rows = []
    asked = list(product((1, 2, 5), (0, 1, 5, 20)))
    for noise in NOISES:
        shares = [
            _percent(max(by_replicates(noise, paths, past, gates))) if past or noise.before == 1 else ""
            for paths, past in asked
        ]
        rows.append([noise.name, f"{100 * noise.starts:g}", f"{100 * noise.session:g}", *shares])
    titles = ["noise", "starts", "session"]
    titles += [f"{paths * BATCHES} cases, {past} before" for paths, past in asked]
    return table(titles, rows, markdown=True)


def replicates_table(gates: int) -> str:
    """Shares of wrong gates of 15 cases by the number of replicates, without history."""
    rows = [
        [noise.name, f"{100 * noise.starts:g}", f"{100 * noise.session:g}"]
        + [_percent(share) for share in by_replicates(noise, 5, 0, gates)]
        for noise in NOISES
        if noise.before == 1
    ]
    return table(["noise", "starts", "session", *map(str, range(1, MOST + 1))], rows, markdown=True)


def power_table(gates: int, paths: int = 2, replicates: int = 4) -> str:
    """What gates of `vllm-mp` and `zmq` with four replicates find: of cases, and of gates."""
    rows = []
    for effect, past in product((0.03, 0.05), (0, 1, 3, 10)):
        cells = []
        for sd in (0.0025, 0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.03):
            draw, noise = np.random.default_rng(1), Noise("sessions", sd)
            before = variances_of(noise, draw, gates, paths, past)
            logs = noise.draw(draw, gates, paths, replicates)
            cells.append(" / ".join(f"{100 * share:.0f}" for share in found(logs, before, effect)))
        rows.append([f"{100 * effect:g} %", str(past), *cells])
    titles = ["slower by", "gates before", *(f"{sd} %" for sd in (0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3))]
    return table(titles, rows, markdown=True)


def real_table(gates: int, paths: int = 2) -> str:
    """Gates drawn from sessions that were kept: their noise, how often they are wrong, what they find."""
    rows = []
    for name, units in real_replicates():
        for past in (0, 5):
            draw, batches = np.random.default_rng(2), units.shape[1]
            before = np.stack(
                [drawn(units, draw, gates, paths, _PAST_REPLICATES).var(axis=-1, ddof=1) for _ in range(past)]
                or [np.zeros((gates, 0))],
                axis=1,
            )[:, :past]
            logs = drawn(units, draw, gates, paths, MOST)
            shares = [*map(wrong, simulate(logs, before, _BUDGETS, batches))]
            shares += found(logs[..., :4], before, 0.05, batches)
            deviations = 100 * estimates(units).std(axis=0)
            rows.append(
                [name, str(len(units)), " ".join(f"{one:.1f}" for one in deviations), str(past)]
                + [_percent(share) for share in shares]
            )
    titles = ["sessions", "replicates", "noise by batch, %", "gates before"]
    titles += [*(f"wrong: {most}" for most in _BUDGETS), "5 % found: cases", "gates"]
    return table(titles, rows, markdown=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gates", type=int, default=2000)
    gates = parser.parse_args().gates
    for of in (replicates_table, power_table, real_table, wrong_table):
        print(of(gates), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
