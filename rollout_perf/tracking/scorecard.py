"""The detectors' exam: simulated series whose steps are known, and a real one whose steps are labelled.

Every detector gets the same series. Nothing here is used by `detect`; the seed was chosen once, and
no threshold was ever set by what it gives.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from .rivals import Detector, detectors
from .tigerbeetle import Labelled

NOISES = ("gaussian", "outliers", "ar(0.7)", "two machines")
STEPS = (0.02, 0.03, 0.05, 0.10)
TOLERANCE = 3
"""Commits by which a step may be missed, and after which it is to be known."""
KNOWN = 0.05
"""The step that is to be known soon."""
_SEED = 20261123
_OUTLIER_SHARE, _OUTLIER_SIZES = 0.05, (0.05, 0.30)
_PHI = 0.7
_MACHINES_APART = 0.03


@dataclass(frozen=True)
class Question:
    """Series of one kind; a step of 0 asks for false alarms."""

    noise: str
    step: float = 0.0
    commits: int = 60
    at: int = 40
    """The first commit at the new level."""
    cv: float = 0.01
    """Standard deviation of the noise, outliers apart, over the mean."""
    known_until: int | None = None
    """How many commits are known when asked; all by default."""


QUESTIONS = [
    question
    for noise in NOISES
    for question in (
        Question(noise),
        *(Question(noise, step) for step in STEPS),
        Question(noise, KNOWN, known_until=40 + TOLERANCE + 1),
    )
]
"""The exam: a step at commit 40 of 60, CV 1 %."""

_SHAPES = {
    "20 commits, step at 12": Question("", commits=20, at=12),
    "200 commits, step at 120": Question("", commits=200, at=120),
    "60 commits, step at 10": Question("", at=10),
    "60 commits, step at 55": Question("", at=55),
    "60 commits, CV 0.3 %": Question("", cv=0.003),
    "60 commits, CV 5 %": Question("", cv=0.05),
}
OTHERS = {
    shape: [
        replace(question, noise=noise, step=times * question.cv)
        for noise in NOISES
        for times in (0, 3, 5, 10)
    ]
    for shape, question in _SHAPES.items()
}
"""Series unlike those of the exam, with steps of 0, 3, 5 and 10 times the noise."""


@dataclass(frozen=True)
class Answer:
    """How a detector did: false alarms where there is no step, hits where there is one."""

    detector: str
    question: Question
    count: int
    series: int

    @property
    def share(self) -> float:
        return self.count / self.series

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share (Clopper and Pearson)."""
        bounds = stats.binomtest(self.count, self.series).proportion_ci(0.95, "exact")
        return float(bounds.low), float(bounds.high)

    def __str__(self) -> str:
        asked = self.question
        return (
            f"{self.detector}: {asked.noise}, step {asked.step:.1%} at {asked.at} of "
            f"{asked.known_until or asked.commits}, CV {asked.cv:.1%}: {self.share:.1%} of {self.series}"
        )


def simulate(question: Question, series: int) -> tuple[np.ndarray, list[str] | None]:
    """Values of shape (series, commits), lower is better, and the machine of each commit where they differ.

    Gaussian noise; the same with 5 % of the values 5 to 30 % higher; AR(1) noise of that variance; the
    same Gaussian noise on two machines that take turns.
    """
    entropy = [_SEED, NOISES.index(question.noise), question.commits, question.at]
    random = np.random.default_rng([*entropy, round(question.step * 1e6), round(question.cv * 1e6)])
    noise = random.normal(size=(series, question.commits))
    if question.noise == "ar(0.7)":
        for at in range(1, question.commits):
            noise[:, at] = _PHI * noise[:, at - 1] + np.sqrt(1 - _PHI**2) * noise[:, at]
    values = 1 + question.cv * noise
    machines = None
    if question.noise == "outliers":
        hit = random.random(values.shape) < _OUTLIER_SHARE
        values *= np.where(hit, 1 + random.uniform(*_OUTLIER_SIZES, size=values.shape), 1)
    if question.noise == "two machines":
        machines = ["ab"[commit % 2] for commit in range(question.commits)]
        values[:, 1::2] *= 1 + _MACHINES_APART
    values[:, question.at :] *= 1 + question.step
    return values[:, : question.known_until], machines and machines[: question.known_until]


def ask(detector: Detector, name: str, question: Question, series: int) -> Answer:
    """A detector's answer to a question."""
    values, machines = simulate(question, series)
    found = (detector(row.tolist(), machines) for row in values)
    if question.step:
        count = sum(any(abs(place - question.at) <= TOLERANCE for place in places) for places in found)
    else:
        count = sum(bool(places) for places in found)
    return Answer(name, question, count, series)


def sit(
    names: Sequence[str], questions: Sequence[Question], series: int, otava: Path | None, workers: int = 1
) -> Iterator[Answer]:
    """Answers of the named detectors to all questions, as they come."""
    tasks = [(name, question, series, otava) for name in names for question in questions]
    if workers == 1:
        yield from map(_answer, tasks)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_answer, tasks)


def _answer(task: tuple[str, Question, int, Path | None]) -> Answer:
    name, question, series, otava = task
    return ask(detectors(otava)[name], name, question, series)


@dataclass(frozen=True)
class RealAnswer:
    """What a detector finds in the labelled series."""

    detector: str
    found: list[int]
    labels: list[int]
    outlier: int

    @property
    def hits(self) -> int:
        """Labelled steps that were found."""
        return sum(any(abs(place - label) <= TOLERANCE for place in self.found) for label in self.labels)

    @property
    def precision(self) -> float | None:
        """Share of what was found that is labelled; None where nothing was found."""
        right = [any(abs(place - label) <= TOLERANCE for label in self.labels) for place in self.found]
        return sum(right) / len(right) if right else None

    @property
    def recall(self) -> float:
        return self.hits / len(self.labels)


def ask_history(detector: Callable[..., list[int]], name: str, history: Labelled) -> RealAnswer:
    """Both ways up: what knows only steps up is shown the steps down as such."""
    upside_down = [1 / value for value in history.values]
    found = {
        *detector(history.values, None),
        *(detector(upside_down, None) if name.startswith("asv") else ()),
    }
    return RealAnswer(name, sorted(found), history.steps, history.outlier)


def exam_table(answers: Sequence[Answer]) -> str:
    """Markdown: a row a detector and noise; columns are false alarms, hits, and steps known in time."""
    titles = ["detector", "noise", "false alarms", *(f"{step:.0%} step" for step in STEPS)]
    titles.append(f"{KNOWN:.0%} known {TOLERANCE} commits later")
    rows: dict[tuple[str, str], list[str]] = {}
    for answer in answers:
        rows.setdefault((answer.detector, answer.question.noise), []).append(_share(answer))
    return _markdown(titles, [[*key, *cells] for key, cells in rows.items()])


def others_table(answers: Sequence[Answer]) -> str:
    """Markdown: a row a kind of series; steps are in units of the noise."""
    titles = ["series", "noise", "false alarms", "3 CV", "5 CV", "10 CV"]
    shapes = {question: shape for shape, questions in OTHERS.items() for question in questions}
    rows: dict[tuple[str, str], list[str]] = {}
    for answer in answers:
        rows.setdefault((shapes[answer.question], answer.question.noise), []).append(_share(answer))
    return _markdown(titles, [[*key, *cells] for key, cells in rows.items()])


def history_table(answers: Sequence[RealAnswer]) -> str:
    """Markdown: what each detector found in the labelled series."""
    titles = ["detector", "labelled steps found", "precision", "outlier taken for a step", "found at"]
    rows = [
        [
            answer.detector,
            f"{answer.hits} of {len(answer.labels)}",
            "none found" if answer.precision is None else f"{answer.precision:.0%}",
            "yes" if any(abs(place - answer.outlier) <= 2 for place in answer.found) else "no",
            ", ".join(map(str, answer.found)),
        ]
        for answer in answers
    ]
    return _markdown(titles, rows)


def as_json(answer: Answer) -> dict[str, Any]:
    """An answer with its share and interval."""
    question = answer.question
    return {
        "detector": answer.detector,
        **vars(question),
        "series": answer.series,
        "hits" if question.step else "false_alarms": answer.count,
        "share": answer.share,
        "interval": answer.interval,
    }


def _share(answer: Answer) -> str:
    low, high = answer.interval
    return f"{answer.share * 100:.1f} [{low * 100:.1f} .. {high * 100:.1f}]"


def _markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
