"""How the package asks git. What somebody gives, or a file holds, is never read as an option.

    answer(root, "log", "--format=%H", given=["v1.0..main"])

Runs git alone; every answer is of the repository around `root`, whatever the environment names.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .errors import UsageError

_ELSEWHERE = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
"""Variables that point at another repository, as a hook of git sets them, or at a program to start."""

_SELECTS = re.compile(
    r"-\d+|--(max-count|skip)=\d+|--(since|after|until|before|author|grep)=.*"
    r"|--(all|branches|tags|merges|no-merges)",
    re.DOTALL,
)
"""Options that choose commits and do nothing else. Others write files, or start programs."""


def environment() -> dict[str, str]:
    """The environment without what points git at another repository than that of its folder.

    In it `git status` does not refresh the index.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    return kept | {"GIT_OPTIONAL_LOCKS": "0"}


def answer(root: Path, *arguments: str, given: Sequence[str] = (), data: str = "") -> str | None:
    """What git prints in `root`; None where it refuses or is not installed.

    `given` are revisions from elsewhere: they stand behind --end-of-options. `data` is git's input.
    """
    words = ["--end-of-options", *given] if given else []
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments, *words],
            env=environment(),
            input=data,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    except (FileNotFoundError, ValueError):  # ValueError: a NUL in a name, which is no name of git's
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def change(root: Path, *arguments: str, data: bytes | None = None) -> bytes:
    """Have git do something in `root`, with `data` as its input; what it prints, as it is.

    Raises UsageError where it refuses.
    """
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], input=data, capture_output=True, env=environment()
    )
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise UsageError(f"git {arguments[0]} in {root}: {said}")
    return done.stdout


class Logged(NamedTuple):
    """A commit as git logs it; the time is that of its committer, in seconds since 1970."""

    hash: str
    time: int
    subject: str


def log(root: Path, *options: str, given: Sequence[str]) -> list[Logged] | None:
    """Commits of first parents, newest first unless an option says otherwise; None where git refuses.

    A NUL ends every field: a subject may hold anything else, what splits lines elsewhere and nothing at all
    included.
    """
    form = ["--first-parent", "--no-show-signature", "--encoding=UTF-8", "-z", "--format=%H%x00%ct%x00%s"]
    logged = answer(root, "log", *form, *options, given=[*given, "--"])
    if logged is None:
        return None
    fields = logged.split("\0")[:-1]
    return [Logged(*row) for row in zip(fields[::3], map(int, fields[1::3]), fields[2::3], strict=True)]


def name_of(root: Path, commit: str) -> str:
    """The tag of a commit, as each release of a ledger has one; of another the first digits of its hash."""
    return answer(root, "describe", "--tags", "--exact-match", given=[commit]) or commit[:8]


_STATUS_FIELDS = {"1": 8, "u": 10}
"""Fields before the path by the kind of a row of `git status --porcelain=v2`."""


def changed_files(root: Path) -> list[str]:
    """Tracked files that differ from HEAD.

    Of status, since `diff` and `describe --dirty` write the index whatever GIT_OPTIONAL_LOCKS says.
    """
    asked = ["status", "--porcelain=v2", "-z", "--untracked-files=no", "--no-renames"]
    rows = (answer(root, *asked) or "").split("\0")
    return [row.split(" ", _STATUS_FIELDS[row[0]])[-1] for row in rows if row[:1] in _STATUS_FIELDS]


def export(root: Path, commit: str, folder: Path) -> bool:
    """Put a commit's files into a folder that is not there, whole or not at all; whether git gave them."""
    scratch = folder.with_suffix(".part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    archive = scratch / "archive.tar"
    if answer(root, "archive", "--output", str(archive), given=[commit]) is None:
        return False
    subprocess.run(["tar", "-xf", str(archive), "-C", str(scratch)], check=True)
    archive.unlink()
    scratch.rename(folder)
    return True


def require() -> None:
    """Raise UsageError where git is not installed."""
    if shutil.which("git") is None:
        raise UsageError("git is not installed, and commits are what is measured")


def split_range(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options and the revisions of a range.

    Raises UsageError for an option that does more than choose commits.
    """
    options = [word for word in words if word.startswith("-")]
    for option in options:
        if not _SELECTS.fullmatch(option):
            raise UsageError(
                f"a range has no option {option!r}: it may have -N, --max-count=N, --skip=N, --since=, "
                "--until=, --author=, --grep=, --all, --branches, --tags, --merges and --no-merges"
            )
    return options, [word for word in words if not word.startswith("-")]


def refusal(root: Path) -> str | None:
    """Why git gives no commit of the repository around `root`, in its own words; None where it gives one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "log", "-1", "--no-show-signature", "--format=%H"],
            env=environment() | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError:
        return "git is not installed"
    if done.returncode == 0:
        return None
    return " ".join(done.stderr.split()) or f"exit code {done.returncode}"
