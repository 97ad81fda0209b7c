"""Where a command runs: in a checkout, whose commits asv measures, or anywhere, with results in a folder."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from .. import git
from ..errors import UsageError
from ..history.asv_runs import results_folder
from ..history.order import read_in_order
from ..history.results import Results
from ..schema import variables
from .console import say
from .outputs import check_folder

_RESULTS = "results"


def find_checkout(command: str) -> Path:
    """The checkout around the current directory, for a command that measures commits.

    Raises UsageError where there is none.
    """
    found = checkout_around(Path.cwd())
    if found is None:
        raise UsageError(
            f"`{command}` measures commits, and there is no checkout of rollout-perf from {Path.cwd()} "
            "upwards (a folder with asv.conf.json and benchmarks/): change into one"
        )
    return found


def checkout_around(start: Path) -> Path | None:
    """The nearest folder from `start` upwards that is a checkout; None where there is none."""
    for folder in (start, *start.parents):
        if (folder / "asv.conf.json").is_file() and (folder / "benchmarks").is_dir():
            return folder
    return None


def checkout_lock(root: Path) -> Path:
    """The file whose lock whoever uses asv's environments and results there holds.

    Raises UsageError where it cannot be made.
    """
    check_folder("asv's own folder", root / ".asv")
    return root / ".asv" / "rollout-perf.lock"


def provenance() -> dict[str, str]:
    """What a command knows of where its records come from: its line, and the commit of the checkout."""
    facts = {"command": " ".join(["rollout-perf", *sys.argv[1:]])}
    root = checkout_around(Path.cwd())
    if root is None:
        return facts
    commit = git.answer(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if commit is None:
        return facts
    return facts | {"commit": f"{commit}-dirty" if git.changed_files(root) else commit}


def say_ignored(root: Path, folder: Path) -> None:
    """Say where git ignores what is about to be written, as .gitignore has it for machines of no name."""
    # The / is for a folder that is not there yet: .gitignore is of folders.
    if git.answer(root, "check-ignore", "--no-index", f"{folder}/"):
        say(
            f"git ignores {folder}: results are kept there, and are not committed. .gitignore names the "
            f"machines whose results are; --machine or {variables.MACHINE} names this one"
        )


@dataclass(frozen=True)
class Kept:
    """The results that a command reads, and what is around them."""

    folder: Path
    root: Path | None
    """The checkout, which has the history's order and its locks; None outside one."""

    def read(self) -> Results:
        """Everything in the folder, in the history's order where there is one; says what is odd about it.

        Raises UsageError where it holds no record.
        """
        results = read_in_order(self.folder, self.root)
        for damage in results.damaged_lines():
            say(f"damaged and passed over: {damage}")
        if not results.points and not results.outside:
            others = f", {len(results.damaged)} damaged" if results.damaged else ""
            raise UsageError(
                f"no record was read from {self.folder} (records lie in MACHINE/records/*.jsonl{others}): "
                "`make track` measures the last two commits; or name another folder by --results"
            )
        for warning in results.warnings:
            say(f"warning: {warning}")
        return results


def results_argument(parser: argparse.ArgumentParser) -> None:
    """Declare what `kept_results` reads."""
    parser.add_argument(
        "--results", type=Path, metavar="FOLDER",
        help="where results lie (default: the checkout's results/, outside one ./results)",
    )  # fmt: skip


def kept_results(given: Path | None) -> Kept:
    """The folder of results that is meant. Raises UsageError where it is none."""
    root = checkout_around(Path.cwd())
    folder = given or (results_folder(root) if root else Path.cwd() / _RESULTS)
    if not folder.is_dir() and (given is not None or root is None):
        raise UsageError(f"there is no folder {folder}: name one by --results, or measure something first")
    return Kept(folder, root)
