"""The detector's exam: simulated series whose change points are known.

Every detector gets the same series. Nothing here is used by `detect`; the seed was chosen once, and
no threshold was ever set by what it gives.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from .change_points import find_shifts

Detector = Callable[[Sequence[float], Sequence[str] | None], list[int]]
"""From values and the machine of each (None: one machine) to the first points at new levels."""

OURS = "rollout-perf"

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
_SLOW_SHARE = 0.3


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
_MODES_APART = {"modes 25 % apart": 0.25, "modes 30 % apart": 0.3}
UNLIKE_GAUSSIAN = [
    Question(noise, step, cv=cv)
    for noise, cv in [
        ("modes 30 % apart", 0.004),
        *((noise, cv) for noise in ("gaussian", "modes 25 % apart") for cv in (0.03, 0.08, 0.15)),
        ("few values", 0.01),
    ]
    for step in (0.0, 0.05, 0.10, 0.20)
]
"""Engine starts in two modes, 30 % of them in the slower one; values rounded to multiples of their noise."""

OTHERS = {
    shape: [
        replace(question, noise=noise, step=times * question.cv)
        for noise in NOISES
        for times in (0, 3, 5, 10)
    ]
    for shape, question in _SHAPES.items()
}
"""Series of other shapes than those of the exam, with steps of 0, 3, 5 and 10 times the noise."""


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
    same Gaussian noise on two machines that take turns; and what UNLIKE_GAUSSIAN says.
    """
    kinds = [*NOISES, *_MODES_APART, "few values"]
    entropy = [_SEED, kinds.index(question.noise), question.commits, question.at]
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
    if question.noise in _MODES_APART:
        slow = random.random(values.shape) < _SLOW_SHARE
        values *= np.where(slow, 1 + _MODES_APART[question.noise], 1)
    if question.noise == "few values":
        values = np.round(values / question.cv) * question.cv
    if question.noise == "two machines":
        machines = ["ab"[commit % 2] for commit in range(question.commits)]
        values[:, 1::2] *= 1 + _MACHINES_APART
    values[:, question.at :] *= 1 + question.step
    return values[:, : question.known_until], machines and machines[: question.known_until]


def ours(values: Sequence[float], machines: Sequence[str] | None) -> list[int]:
    """What `detect` uses."""
    return [shift.index for shift in find_shifts(values, groups=machines)]


def ask(detector: Detector, name: str, question: Question, series: int) -> Answer:
    """A detector's answer to a question."""
    values, machines = simulate(question, series)
    found = (detector(row.tolist(), machines) for row in values)
    if question.step:
        count = sum(any(abs(place - question.at) <= TOLERANCE for place in places) for places in found)
    else:
        count = sum(bool(places) for places in found)
    return Answer(name, question, count, series)


def examine(
    detectors: Mapping[str, Detector], questions: Sequence[Question], series: int, workers: int = 1
) -> Iterator[Answer]:
    """Answers of every detector to all questions, as they come."""
    tasks = [(detector, name, asked, series) for name, detector in detectors.items() for asked in questions]
    if workers == 1:
        yield from map(_answer, tasks)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_answer, tasks)


def _answer(task: tuple[Detector, str, Question, int]) -> Answer:
    return ask(*task)


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
