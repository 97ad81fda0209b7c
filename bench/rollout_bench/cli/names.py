"""Names on a command's line: one that nobody knows and what was meant by it, and lists of them."""

import argparse
import os
from collections.abc import Callable, Iterable
from typing import Any

from rollout_perf.models import PRESETS

from ..errors import meant

MANY = "repeatable, or several with commas"


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """What is said of a name that nobody knows."""
    known = list(known)
    return f"unknown {what} {given!r}{meant(given, known)}; known: {', '.join(known)}"


def named(what: str, known: Iterable[str]) -> Callable[[str], str]:
    """For argparse: a name that is known."""

    def check(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(unknown(what, text, known))
        return text

    return check


def preset(text: str) -> str:
    """For argparse: a preset or a folder; `find_model` looks at it, and cannot say what else was meant."""
    is_none = not text.strip() or (meant(text, PRESETS) and not os.path.isdir(os.path.expanduser(text)))
    if text not in PRESETS and is_none:
        raise argparse.ArgumentTypeError(unknown("preset", text, PRESETS))
    return text


def listed(kind: Callable[[str], Any] = str) -> Callable[[str], list[Any]]:
    """For argparse, with `action="extend"`: one or more of a kind, with commas between them."""

    def split(text: str) -> list[Any]:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not parts:
            raise argparse.ArgumentTypeError(f"{text!r} is given, which names nothing")
        return [kind(part) for part in parts]

    split.__name__ = kind.__name__  # argparse says: invalid int value
    return split
