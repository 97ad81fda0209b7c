"""`rollout-perf scorecard`: the exam of `detect`, beside other detectors; tables and a line of JSON."""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from .common import find_ruler, say, tool

SUMMARY = "examine the detector of steps, beside asv's, Otava's and ruptures'"
_SHORT_SERIES = 40


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--series", type=int, help="of each kind (default: 1000, or 40 with --short)")
    parser.add_argument("--short", action="store_true", help="this project's detector and the exam alone")


def run(given: argparse.Namespace) -> int:
    """Sit the exam and show the tables; what cannot be fetched is said and left out."""
    rivals, scorecard, tigerbeetle = (tool(name) for name in ("rivals", "scorecard", "tigerbeetle"))
    series = (_SHORT_SERIES if given.short else 1000) if given.series is None else given.series
    if series < 1:
        raise ConfigurationError(f"--series is {series}; it must be at least 1")
    otava = None
    if not given.short:
        try:
            otava = tigerbeetle.otava_sources(find_ruler(Path.cwd()) / ".asv" / "scorecard")
        except tigerbeetle.Unavailable as error:
            say(f"without Otava and the real history, which cannot be fetched: {error}")
    known = rivals.detectors(otava)
    names = [rivals.OURS] if given.short else list(known)
    workers = 1 if given.short else os.cpu_count() or 1
    begin = time.monotonic()

    def sit(names: list[str], questions: list[Any], series: int) -> list[Any]:
        answers = []
        for answer in scorecard.sit(names, questions, series, otava, workers):
            answers.append(answer)
            say(f"[{time.monotonic() - begin:5.0f} s] {answer}")
        return answers

    exam = sit(names, scorecard.QUESTIONS, series)
    print(f"{series} series of each kind; shares in % with their 95 % interval\n")
    print(scorecard.exam_table(exam))
    result = {"exam": [scorecard.as_json(answer) for answer in exam]}
    if not given.short:
        fewer = -(-series // 5)
        questions = [question for questions in scorecard.OTHERS.values() for question in questions]
        others = sit([rivals.OURS], questions, fewer)
        print(f"\n{rivals.OURS} on other series, {fewer} of each kind\n\n{scorecard.others_table(others)}")
        result["others"] = [scorecard.as_json(answer) for answer in others]
    if otava is not None:
        history = tigerbeetle.labelled(otava)
        real = [scorecard.ask_history(detector, name, history) for name, detector in known.items()]
        print(f"\nTigerBeetle\n\n{scorecard.history_table(real)}")
        result["history"] = [
            vars(answer) | {"precision": answer.precision, "recall": answer.recall} for answer in real
        ]
    print(json.dumps(result))
    return 0
