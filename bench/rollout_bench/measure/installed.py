"""Whether an environment holds what it was to hold. Standard library only."""

from pathlib import Path

_FILE = "rollout-perf-failed.txt"
"""requirements/install.py leaves it where a release could not be installed."""


def why_not_installed(environment: Path) -> str | None:
    """Why an environment does not hold the release that it is of; None where it does."""
    file = environment / _FILE
    return file.read_text().strip() if file.exists() else None
