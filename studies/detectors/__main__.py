"""The exam of `detect` beside asv's detector, Otava's and ruptures', and TigerBeetle's labelled history.

    python -m studies.detectors --series 1000

What cannot be fetched is said and left out. The last line is one JSON object.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rollout_bench.report.exam import exam_table, others_table
from rollout_bench.stats import exam

from . import rivals, tigerbeetle

_FETCHED = Path(".asv") / "detectors"


def main() -> int:
    """Hold the exam and show the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--series", type=int, default=1000, help="of each kind (default: 1000)")
    parser.add_argument("--ours", action="store_true", help=f"{exam.OURS} alone")
    given = parser.parse_args()
    series = given.series
    if series < 1:
        parser.error(f"--series is {series}; it must be at least 1")
    otava = None
    try:
        otava = tigerbeetle.otava_sources(_FETCHED)
    except tigerbeetle.Unavailable as error:
        _say(f"without Otava and the real history, which cannot be fetched: {error}")
    known = {exam.OURS: exam.ours} if given.ours else rivals.detectors(otava)
    answers = _sit(known, exam.QUESTIONS, series)
    print(f"{series} series of each kind; shares in % with their 95 % interval\n")
    print(exam_table(answers))
    fewer = -(-series // 5)
    questions = [question for questions in exam.OTHERS.values() for question in questions]
    others = _sit({exam.OURS: exam.ours}, questions, fewer)
    print(f"\n{exam.OURS} on other series, {fewer} of each kind\n\n{others_table(others)}")
    result = {
        "exam": [exam.as_json(answer) for answer in answers],
        "others": [exam.as_json(answer) for answer in others],
    }
    if otava is not None:
        history = tigerbeetle.labelled(otava)
        real = [tigerbeetle.ask_history(detector, name, history) for name, detector in known.items()]
        print(f"\nTigerBeetle\n\n{tigerbeetle.history_table(real)}")
        result["history"] = [
            vars(answer) | {"precision": answer.precision, "recall": answer.recall} for answer in real
        ]
    print(json.dumps(result))
    return 0


def _sit(
    detectors: Mapping[str, exam.Detector], questions: Sequence[exam.Question], series: int
) -> list[exam.Answer]:
    begin = time.monotonic()
    answers = []
    for answer in exam.examine(detectors, questions, series, os.cpu_count() or 1):
        answers.append(answer)
        _say(f"[{time.monotonic() - begin:5.0f} s] {answer}")
    return answers


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
