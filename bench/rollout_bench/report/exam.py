"""The detector's exam as Markdown: how often each detector was right. Pure."""

from collections.abc import Mapping, Sequence

from ..stats import exam
from ..stats.exam import KNOWN, STEPS, TOLERANCE, Answer, Question
from .numbers import bounds
from .table import table


def exam_table(answers: Sequence[Answer]) -> str:
    """A row a detector and noise; columns are false alarms, hits, and steps known in time."""
    titles = ["detector", "noise", "false alarms", *(f"{step:.0%} step" for step in STEPS)]
    titles.append(f"{KNOWN:.0%} known {TOLERANCE} commits later")
    return _table(titles, answers, {})


def others_table(answers: Sequence[Answer]) -> str:
    """A row a kind of series; steps are in units of the noise."""
    shapes = {question: shape for shape, questions in exam.OTHERS.items() for question in questions}
    return _table(["series", "noise", "false alarms", "3 CV", "5 CV", "10 CV"], answers, shapes)


def share_of(answer: Answer) -> str:
    """How often a detector was right, or gave a false alarm, in %, with its 95 % interval."""
    low, high = answer.interval
    return f"{answer.share * 100:.1f} {bounds(f'{low * 100:.1f}', f'{high * 100:.1f}')}"


def _table(titles: list[str], answers: Sequence[Answer], shapes: Mapping[Question, str]) -> str:
    rows: dict[tuple[str, str], list[str]] = {}
    for answer in answers:
        named = shapes.get(answer.question, answer.detector)
        rows.setdefault((named, answer.question.noise), []).append(share_of(answer))
    return table(titles, [[*key, *shares] for key, shares in rows.items()], markdown=True)
