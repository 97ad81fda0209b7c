"""`rollout-perf scorecard`: the exam of `detect` over simulated series; a table, or JSON."""

import argparse
import os
import time

from ..errors import UsageError
from ..report.exam import exam_table
from ..stats import exam
from .answer import answer, answer_arguments
from .console import say

_SERIES = 200


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "--series", type=int, default=_SERIES, help=f"simulated series of each kind (default: {_SERIES})"
    )
    answer_arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Hold the exam and show its table."""
    if given.series < 1:
        raise UsageError(f"--series is {given.series}; it must be at least 1")
    answers = []
    begin = time.monotonic()
    detectors = {exam.OURS: exam.ours}
    for one in exam.examine(detectors, exam.QUESTIONS, given.series, os.cpu_count() or 1):
        answers.append(one)
        say(f"[{time.monotonic() - begin:5.0f} s] {one}")
    head = f"{given.series} simulated series of each kind; shares in % with their 95 % interval"
    content = {"exam": [exam.as_json(one) for one in answers]}
    answer(given, f"{head}\n\n{exam_table(answers)}", content)
    return 0
