"""How the commands speak while they work: a line on standard error; tables or JSON go to standard output."""

import sys


def say(text: str) -> None:
    """Report progress, on standard error."""
    print(text, file=sys.stderr, flush=True)
