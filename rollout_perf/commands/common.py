"""What the commands share: the ruler of the checkout they run in, and how they speak."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from ..transports import find_transport


def say(text: str) -> None:
    """Tell how it goes, on standard error."""
    print(text, file=sys.stderr, flush=True)


def provenance() -> dict[str, str]:
    """What a command knows of where its records come from."""
    return {"command": " ".join(["rollout-perf", *sys.argv[1:]])}


def find_ruler(start: Path) -> Path:
    """The checkout around `start`. Raises ConfigurationError where there is none."""
    for folder in (start, *start.parents):
        if (folder / "asv.conf.json").is_file() and (folder / "benchmarks" / "harness").is_dir():
            return folder
    raise ConfigurationError(
        f"no checkout of rollout-perf from {start} upwards (a folder with asv.conf.json and "
        "benchmarks/harness): change into one"
    )


def ruler(name: str) -> Any:
    """A module of the ruler, from the checkout around the current directory."""
    root = str(find_ruler(Path.cwd()))
    if root not in sys.path:
        sys.path.insert(0, root)
    return importlib.import_module(f"benchmarks.harness.{name}")


def check_paths(paths: Sequence[str], gpus: Sequence[Any]) -> None:
    """Raise ConfigurationError for a path that is unknown, or that cannot be taken here."""
    for path in paths:
        reason = find_transport(path).absent(bool(gpus))
        if reason:
            raise ConfigurationError(f"the path {path!r} cannot be taken here: {reason}")
