"""A history whose truth is known: commits that change nothing, one that is slower, and one that undoes it.

    python -m studies.planted_history FOLDER kernel --size 600000
    cd FOLDER
    python -m studies.history export CONTROL $(git rev-list --reverse -6 HEAD) --folder suts

FOLDER becomes a clone of this checkout with six more commits. The fourth has a change of studies/planted.py,
the fifth takes it back, so five have the same system under test. Dates and names are fixed: with the same
checkout, change and size the hashes are the same.
"""

import argparse
import os
import subprocess
from pathlib import Path

from .planted import PLANTS, ROOT, change

SUBJECTS = ("Note 1", "Note 2", "Note 3", "Slower", "As before", "Note 6")
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


def write_commits(folder: Path, what: str, size: int) -> list[str]:
    """Clone, add the commits, and return their hashes, oldest first."""
    clone(folder)
    hashes: list[str] = []
    for subject in SUBJECTS:
        if subject == "Slower":
            change(folder, what, size)
        elif subject == "As before":
            _git(folder, "checkout", "--quiet", hashes[-2], "--", "rollout_perf")
        else:
            (folder / "NOTES").write_text(f"{subject}\n")
        hashes.append(commit(folder, subject))
    return hashes


def _git(folder: Path, *words: str, **variables: str) -> str:
    asked = ["git", "-C", str(folder), *words]
    done = subprocess.run(asked, check=True, env=os.environ | variables, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def main() -> None:
    """Write the history and say its hashes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="which is not there yet")
    parser.add_argument("plant", choices=PLANTS)
    parser.add_argument("--size", type=int, required=True, help="as studies.planted takes it")
    given = parser.parse_args()
    hashes = write_commits(given.folder, given.plant, given.size)
    for one, subject in zip(hashes, SUBJECTS, strict=True):
        print(one, subject)


if __name__ == "__main__":
    main()
