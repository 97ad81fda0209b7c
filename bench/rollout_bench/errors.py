"""What the tools raise on purpose; the command line turns each into one line and an exit code."""

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """A tool that was called failed, such as asv or npm; the message carries its words."""


class UsageError(BenchError, ValueError):
    """What was asked for cannot be done: the message says what was given, what is allowed, what to do."""


def meant(given: str, known: Iterable[str]) -> str:
    """The nearest known name as a question, for such a message; nothing where none is near."""
    return "".join(f" (did you mean {near}?)" for near in difflib.get_close_matches(given, known, 1))
