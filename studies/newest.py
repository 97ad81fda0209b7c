"""What `detect` says at the newest commit, with noise as the committed results have it: a table of the docs.

    python -m studies.newest [--series 300]
    python -m studies.newest --first-commits --starts 8    # the second table alone

A value is the median of three replicates, drawn at random from what replicates of a case differ by in the
committed sessions, or from what commits of a case do. *Mixed*: from those of all cases of a preset together,
which has a longer tail than any of them; else every series has the spread of one case. A second table is of
the first commits of a history, whose values are means of engine starts, also with the noise of the planted
histories, and with commits that differ by more than their starts say.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from rollout_bench.history.results import Results, read_results
from rollout_bench.measure.control import with_ratios
from rollout_bench.report.table import table
from rollout_bench.schema.metrics import CONTROL_RATIO
from rollout_bench.schema.record import REFERENCE
from rollout_bench.stats import exam
from rollout_bench.stats.change_points import find_shifts
from rollout_bench.stats.newest import find_departures
from rollout_bench.stats.ratios import LEAST_REPLICATES
from rollout_bench.stats.rounds import hodges_lehmann

from .detectors import tigerbeetle
from .history import read

RESULTS = Path(__file__).resolve().parents[1] / "results"
LENGTHS = (8, 10, 12, 14, 17, 20, 25, 30, 40, 50, 60)
"""Commits known when a step-free series is asked."""
_AT, _COMMITS, _REPLICATES, _SEED = 40, 60, 3, 20261126
_YOUNG, _YOUNG_AT = (2, 3, 4, 5, 6, 7), 3
"""Commits known of a young history, and where its step is."""
_YOUNG_STEPS = (0.03, 0.05, 0.08, 0.1)
_STARTS, _COMMITS_TOO = 0.02, (0.5, 1.0)
"""Standard deviation of replicates that are drawn from a Gaussian, and that of commits as a share of it."""

Series = tuple[np.ndarray, list[str] | None]
"""Values, shape (series, commits), and the machine of each commit where they differ."""


def differences(logs: Sequence[float]) -> np.ndarray:
    """What values of one thing differ by from their mean, with the variance of what they are drawn from."""
    found = np.asarray(logs) - np.mean(logs)
    return np.asarray(found * np.sqrt(len(logs) / (len(logs) - 1)))


def pools(results: Results) -> dict[str, list[np.ndarray]]:
    """By what was measured: of each case, what its replicates or commits differ by, as logarithms."""
    found: dict[str, list[np.ndarray]] = {}
    for session in results.sessions:
        cases: dict[tuple[str, str, str], list[list[float]]] = {}
        for record in session.records:
            if samples := record.metrics.get("step_seconds"):
                case = record.preset, record.workload["fingerprint"], record.path
                cases.setdefault(case, []).append(samples)
        for (preset, work, path), replicates in cases.items():
            reference = cases.get((preset, work, REFERENCE), [])
            if path == REFERENCE or len(reference) != len(replicates) or len(replicates) < 2:
                continue
            both = [list(zip(*pair, strict=False)) for pair in zip(replicates, reference, strict=True)]
            logs = [hodges_lehmann([float(np.log(one / other)) for one, other in rounds]) for rounds in both]
            found.setdefault(f"ratios of sessions, {preset}", []).append(differences(logs))
            alone = [float(np.log(median(samples))) for samples in replicates]
            found.setdefault(f"step times of sessions, {preset}", []).append(differences(alone))
    for points in results.series("step_seconds").values():
        logs = [float(np.log(median(point.samples("step_seconds")))) for point in points]
        if len(logs) > 1:
            found.setdefault("step times of commits", []).append(differences(logs))
    return found


def drawn(cases: Sequence[np.ndarray], mixed: bool, series: int) -> np.ndarray:
    """Series without a step, of such noise."""
    logs = _replicates(cases, mixed, (series, _COMMITS, _REPLICATES))
    return np.asarray(np.exp(np.median(logs, axis=2)))


def _replicates(cases: Sequence[np.ndarray], mixed: bool, shape: tuple[int, int, int]) -> np.ndarray:
    """Logarithms of replicates, by series and commit."""
    draw = np.random.default_rng(_SEED)
    spreads = [np.sqrt((one**2).mean()) for one in cases]
    scale = np.ones(shape[0]) if mixed else draw.choice(spreads, shape[0])
    shapes = cases if mixed else [one / spread for one, spread in zip(cases, spreads, strict=True)]
    return np.asarray(draw.choice(np.concatenate(shapes), shape) * scale[:, None, None])


def noises(series: int) -> Iterator[tuple[str, Series]]:
    """Every noise that is asked about, by name: that of the committed results, and the exam's own."""
    for name, cases in pools(read_results(RESULTS)).items():
        for mixed in (False, True):
            yield f"{name}{', mixed' * mixed}", (drawn(cases, mixed, series), None)
    for noise in exam.NOISES:
        yield noise, exam.simulate(exam.Question(noise), series)
    yield "modes 25 % apart", exam.simulate(exam.Question("modes 25 % apart", cv=0.03), series)


def newest(values: np.ndarray, machines: list[str] | None) -> bool:
    """Whether the newest commit is reported."""
    known = None if machines is None else machines[: len(values)]
    given = values.tolist()
    found = find_departures(given, groups=known, shifts=find_shifts(given, groups=known))
    return any(one.index == len(values) - 1 for one in found)


def row(named: tuple[str, Series]) -> list[str]:
    """A noise's line of the table."""
    name, (values, machines) = named
    alarms = [newest(one[:known], machines) for one in values for known in LENGTHS]
    cells = [name, _percent(np.std(np.log(values))), _percent(np.mean(alarms))]
    later = []
    for step in exam.STEPS:
        stepped = values.copy()
        stepped[:, _AT:] *= 1 + step
        cells.append(_percent(np.mean([newest(one[: _AT + 1], machines) for one in stepped])))
        known = _AT + exam.TOLERANCE + 1
        found = [find_shifts(one[:known], groups=machines and machines[:known]) for one in stepped]
        hits = [any(abs(shift.index - _AT) <= exam.TOLERANCE for shift in shifts) for shifts in found]
        later.append(_percent(np.mean(hits)))
    return cells + later


def histories() -> dict[str, list[np.ndarray]]:
    """By planted history: of each batch, what ratios to the control of a commit's engine starts differ by."""
    found: dict[str, list[np.ndarray]] = {}
    for file in sorted(RESULTS.glob("*/exam/*-planted-history.jsonl")):
        commits: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for record in with_ratios(read(file)):
            of_batch = commits[record.workload["batch"]]
            of_batch[record.provenance["commit"]].append(float(np.log(record.metrics[CONTROL_RATIO][0])))
            name = f"a history of {record.preset}, {file.parts[-3]}"
        found[name] = [np.concatenate([*map(differences, its.values())]) for its in commits.values()]
    return found


def young_noises(series: int, starts: int) -> Iterator[tuple[str, np.ndarray]]:
    """Logarithms of the replicates of a history's first commits, by noise."""
    shape = series, max(_YOUNG), starts
    of_sessions = {name: of for name, of in pools(read_results(RESULTS)).items() if name.startswith("ratios")}
    for name, cases in (of_sessions | histories()).items():
        for mixed in (False, True):
            yield f"{name}{', mixed' * mixed}", _replicates(cases, mixed, shape)
    draw = np.random.default_rng(_SEED)
    for share in _COMMITS_TOO:
        commits = draw.normal(0, _STARTS * share, (*shape[:2], 1))
        yield (
            f"Gaussian, commits differ by {share:g} times what starts do",
            commits + draw.normal(0, _STARTS, shape),
        )


def young_rows(series: int, starts: int = LEAST_REPLICATES) -> Iterator[list[str]]:
    """By noise, of the first commits of a history: false alarms, and steps found at their commit."""
    for name, logs in young_noises(series, starts):
        alarms = [_young(one[:known]) for one in logs for known in _YOUNG]
        stepped = logs[:, : _YOUNG_AT + 1]
        found = []
        for step in _YOUNG_STEPS:
            later = np.where(np.arange(_YOUNG_AT + 1) == _YOUNG_AT, np.log1p(step), 0.0)
            found.append(np.mean([_young(one + later[:, None]) for one in stepped]))
        yield [name, *map(_percent, [np.mean(alarms), *found])]


def _young(logs: np.ndarray) -> bool:
    """Whether the newest commit is reported; logarithms by commit and replicate."""
    values = np.exp(logs.mean(axis=1))
    spreads = values * logs.std(axis=1, ddof=1) / np.sqrt(logs.shape[1])
    found = find_departures(values.tolist(), spreads.tolist(), replicates=[logs.shape[1]] * len(logs))
    return any(one.index == len(logs) - 1 for one in found)


def _percent(share: float | np.floating) -> str:
    return f"{100 * share:.1f}"


def tigerbeetle_line() -> str:
    """At which commits of TigerBeetle's history the newest one was reported."""
    try:
        history = tigerbeetle.labelled(tigerbeetle.otava_sources(Path(".asv") / "detectors"))
    except tigerbeetle.Unavailable as error:
        return f"without TigerBeetle's history: {error}"
    values = np.asarray(history.values)
    found = [known - 1 for known in range(8, len(values) + 1) if newest(values[:known], None)]
    return f"TigerBeetle: {len(found)} of {len(values) - 7} commits reported: {', '.join(map(str, found))}"


def main() -> None:
    """Print the table, row by row as they come, and the line: 300 series take five minutes of a core."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("--first-commits", action="store_true", help="that of a history's first ones alone")
    parser.add_argument("--starts", type=int, default=LEAST_REPLICATES, help="of each of the first commits")
    given = parser.parse_args()
    if not given.first_commits:
        steps = [f"{step:.0%}" for step in exam.STEPS]
        titles = ["noise", "CV", "false alarms", *steps, *(f"{step}, change point 3 later" for step in steps)]
        print(table(titles, [], markdown=True), flush=True)
        with ProcessPoolExecutor(2) as pool:
            for cells in pool.map(row, noises(given.series)):
                print(f"| {' | '.join(cells)} |", flush=True)
    titles = ["noise", "false alarms", *(f"{step:.0%}" for step in _YOUNG_STEPS)]
    print(f"\n{table(titles, [*young_rows(given.series, given.starts)], markdown=True)}")
    if not given.first_commits:
        print(f"\n{tigerbeetle_line()}")


if __name__ == "__main__":
    main()
