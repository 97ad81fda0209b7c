"""Otava's source archive: its detector, and the labelled history of TigerBeetle that it is tested with.

The archive comes from the package index through pip, checked against its hash, into a folder of the
checkout that git ignores. Nothing of it is kept in the repository.
"""

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rollout_bench.report.table import table
from rollout_bench.stats.exam import TOLERANCE

ARCHIVE = "apache-otava==0.8.0"
_SHA256 = "9ae53559c9396f27053db7d853780fb2ddbbf70f59124591c44b23fa2e2f9d94"
_DEADLINE_SECONDS = 300


class Unavailable(Exception):
    """The archive cannot be had here; the message says why."""


@dataclass(frozen=True)
class Labelled:
    """A real series and what people say about it."""

    values: list[float]
    """Higher is better."""
    outlier: int
    steps: list[int]
    """First points at new levels, as far as the labels' drawing tells."""


def otava_sources(folder: Path) -> Path:
    """The unpacked archive, fetched into `folder` where it is not there yet. Raises Unavailable."""
    target = folder / ARCHIVE.replace("==", "-")
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text(f"{ARCHIVE} --hash=sha256:{_SHA256}\n")
        command = [*_pip(), "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--require-hashes"]
        command += ["--dest", scratch, "--requirement", str(wanted)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_DEADLINE_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{ARCHIVE}: {error}") from None
        archives = list(Path(scratch).glob("*.tar.gz"))
        if done.returncode or not archives:
            said = done.stderr.strip().splitlines() or ["nothing was downloaded"]
            raise Unavailable(f"{ARCHIVE}: {said[-1]}")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(scratch, filter="data")
        [unpacked] = (path for path in Path(scratch).iterdir() if path.is_dir())
        shutil.move(unpacked, target)
    return target


def _pip() -> list[str]:
    """pip of this environment; in one that uv made, which has none, the one that uv runs."""
    beside = Path(sys.executable).with_name("pip")
    return (
        [str(beside)]
        if beside.is_file()
        else [str(Path(sys.executable).with_name("uv")), "tool", "run", "pip"]
    )


def labelled(sources: Path) -> Labelled:
    """The series and its labels, from Otava's test of it.

    The labels are a drawing: a row of numbers under it, counted from 1, of which the first is "an
    anomalous drop" and the others are steps. Raises Unavailable where the test is not as it was.
    """
    file = sources / "tests" / "tigerbeetle_test.py"
    try:
        tree = ast.parse(file.read_text())
        [function] = [node for node in ast.walk(tree) if getattr(node, "name", "") == "_get_series"]
        assert isinstance(function, ast.FunctionDef)
        [values] = [
            ast.literal_eval(node.value)
            for node in function.body
            if isinstance(node, ast.Return) and node.value
        ]
        row = re.findall(r"^ +\d+(?: +\d+)+ *$", ast.get_docstring(function) or "", re.MULTILINE)
        outlier, *steps = (int(number) for number in row[-1].split())
    except (OSError, SyntaxError, ValueError, IndexError) as error:
        raise Unavailable(f"{file}: {error}") from None
    return Labelled([float(value) for value in values], outlier - 1, [number - 1 for number in steps])


@dataclass(frozen=True)
class RealAnswer:
    """What a detector finds in the labelled series."""

    detector: str
    found: list[int]
    labels: list[int]
    outlier: int

    @property
    def hits(self) -> int:
        """Labelled steps that were found."""
        return sum(any(abs(place - label) <= TOLERANCE for place in self.found) for label in self.labels)

    @property
    def precision(self) -> float | None:
        """Share of what was found that is labelled; None where nothing was found."""
        right = [any(abs(place - label) <= TOLERANCE for label in self.labels) for place in self.found]
        return sum(right) / len(right) if right else None

    @property
    def recall(self) -> float:
        return self.hits / len(self.labels)


def ask_history(detector: Callable[..., list[int]], name: str, history: Labelled) -> RealAnswer:
    """Both ways up: what knows only steps up is shown the steps down as such."""
    upside_down = [1 / value for value in history.values]
    found = {
        *detector(history.values, None),
        *(detector(upside_down, None) if name.startswith("asv") else ()),
    }
    return RealAnswer(name, sorted(found), history.steps, history.outlier)


def history_table(answers: Sequence[RealAnswer]) -> str:
    """Markdown: what each detector found in the labelled series."""
    titles = ["detector", "marked change points found", "precision", "outlier taken for one", "found at"]
    rows = [
        [
            answer.detector,
            f"{answer.hits} of {len(answer.labels)}",
            "none found" if answer.precision is None else f"{answer.precision:.0%}",
            "yes" if any(abs(place - answer.outlier) <= 2 for place in answer.found) else "no",
            ", ".join(map(str, answer.found)),
        ]
        for answer in answers
    ]
    return table(titles, rows, markdown=True)
