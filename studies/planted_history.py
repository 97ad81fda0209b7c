"""A history whose truth is known: commits that change nothing, slower ones, and ones that undo them.

    python -m studies.planted_history FOLDER worker:150 driver:300
    cd FOLDER
    python -m studies.history export CONTROL $(git rev-list --reverse -7 HEAD) --folder suts

FOLDER becomes a clone of this checkout with seven more commits (six with one change). The fourth has the
first change of studies/planted.py, of that size, the fifth takes it back, and so on: five have the same
system under test. Dates and names are fixed: with the same checkout and changes the hashes are the same.
"""

import argparse
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .planted import PLANTS, ROOT, change

SAME, BEFORE = 5, 3
"""Commits of the same system under test, and how many of them come before the first change."""

_PERSON = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A"), ("EMAIL", "a@example.org"))
}


def clone(folder: Path) -> None:
    """Make a folder a clone of this checkout, on its branch main."""
    _git(ROOT, "clone", "--quiet", str(ROOT), str(folder))
    _git(folder, "checkout", "--quiet", "-B", "main")


def commit(folder: Path, subject: str) -> str:
    """Commit all that has changed, a second after the commit before, and return the hash."""
    _git(folder, "add", "--all")
    date = f"{int(_git(folder, 'show', '--no-patch', '--format=%ct', 'HEAD')) + 1} +0000"
    dated = _PERSON | {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    _git(folder, "commit", "--quiet", "--no-verify", "--no-gpg-sign", "--message", subject, **dated)
    return _git(folder, "rev-parse", "HEAD")


def write_commits(folder: Path, plants: Sequence[tuple[str, int]]) -> dict[str, str]:
    """Clone, add the commits, and return each one's subject by its hash, oldest first."""
    clone(folder)
    before = _git(folder, "rev-parse", "HEAD")
    subjects: dict[str, str] = {}

    def add(subject: str) -> None:
        subjects[commit(folder, subject)] = subject

    def note() -> None:
        subject = f"Note {len(subjects) + 1}"
        (folder / "NOTES").write_text(f"{subject}\n")
        add(subject)

    for _ in range(BEFORE):
        note()
    for what, size in plants:
        change(folder, what, size)
        add(f"Slower: {what} {size}")
        _git(folder, "checkout", "--quiet", before, "--", "rollout_perf")
        add("As before")
    while len(subjects) < SAME + len(plants):
        note()
    return subjects


def _git(folder: Path, *words: str, **variables: str) -> str:
    asked = ["git", "-C", str(folder), *words]
    done = subprocess.run(asked, check=True, env=os.environ | variables, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def _plant(text: str) -> tuple[str, int]:
    what, _, size = text.partition(":")
    if what not in PLANTS or not size.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}': give {' or '.join(PLANTS)}, a colon and a size")
    return what, int(size)


def main() -> None:
    """Write the history and say its hashes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="which is not there yet")
    parser.add_argument("plants", type=_plant, nargs="+", metavar="PLANT:SIZE", help="one or two of them")
    given = parser.parse_args()
    if len(given.plants) > SAME - BEFORE:
        parser.error(f"{len(given.plants)} changes; give one or two")
    for one, subject in write_commits(given.folder, given.plants).items():
        print(one, subject)


if __name__ == "__main__":
    main()
