"""The folder that a site goes to: a mark in it names the files that publish wrote; no other is touched.

with scratch_beside(Path("html")) as scratch:   # refuses what publish did not write, before the work
    put(scratch / "site", Path("html"))         # the new site over the old one
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ..errors import UsageError

MARK = "rollout-perf-site.json"
_PROJECT = "rollout-perf"


def check(folder: Path) -> None:
    """Raise UsageError unless a site may go to the folder: there is none, it is empty, or it has the mark."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is there and is no folder: give another one")
    if not any(folder.iterdir()) or _written(folder) is not None:
        return
    if _is_older_site(folder):
        raise UsageError(
            f"{folder} is a site of an older rollout-perf, which left no {MARK} in it: remove the folder, "
            "or give another one"
        )
    raise UsageError(
        f"{folder} is not empty and has no {MARK}, so it is no site that publish wrote: give another folder"
    )


def scratch_beside(folder: Path) -> "tempfile.TemporaryDirectory[str]":
    """A folder to make a site in, beside where it goes. Raises UsageError where none may go or be written."""
    try:
        check(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_dir():
            with tempfile.TemporaryFile(dir=folder):
                pass
        return tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent)
    except OSError as error:
        raise UsageError(
            f"the site cannot be written to {folder}: {error.strerror}; give another folder by --folder"
        ) from None


def put(new: Path, folder: Path) -> None:
    """Move the files of `new` into `folder`, and remove those that the site had there before and has no more.

    The mark names both until this is done, so that one that was broken off can be put again.
    Raises UsageError, with nothing moved, where a file is in the way that publish did not write.
    """
    check(folder)
    before = _written(folder) or set()
    files = {path.relative_to(new).as_posix() for path in new.rglob("*") if not path.is_dir()}
    in_the_way = sorted(one for one in files if _is_taken(folder, one, before))
    if in_the_way:
        raise UsageError(
            f"{folder} has files where the site's go that publish did not write: "
            f"{', '.join(in_the_way[:5])}; move them, or give another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    _mark(new, folder, before | files)
    for one in sorted(files):
        target = folder / one
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(new / one, target)
    for one in before - files:
        if not _leads_out(folder, one):
            _remove(folder, folder / one)
    _mark(new, folder, files)


def _written(folder: Path) -> set[str] | None:
    """The files that the mark names; None where there is no mark of ours."""
    try:
        content = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("project") != _PROJECT:
        return None
    files = content.get("files")
    if not isinstance(files, list):
        return None
    return {one for one in files if isinstance(one, str) and one and "\0" not in one}


def _mark(new: Path, folder: Path, files: Iterable[str]) -> None:
    about = "written by rollout-perf publish, which replaces these files and leaves others alone"
    content = {"project": _PROJECT, "about": about, "files": sorted(files)}
    (new / MARK).write_text(f"{json.dumps(content, indent=1)}\n", encoding="utf-8")
    shutil.move(new / MARK, folder / MARK)


def _is_older_site(folder: Path) -> bool:
    try:
        with (folder / "data" / "front.js").open("rb") as file:
            return file.read(11) == b"RP.front = "
    except OSError:
        return False


def _is_taken(folder: Path, name: str, before: set[str]) -> bool:
    """Whether somebody else's file, folder or link is where one of the site's goes."""
    target = folder / name
    if target.is_dir() or _leads_out(folder, name):
        return True
    return os.path.lexists(target) and name not in before


def _leads_out(folder: Path, name: str) -> bool:
    """Whether a name of a mark, which may come from anywhere, or a link on its way is of another place."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return True
    between = [folder / parent for parent in path.parents if parent.parts]
    return any(one.is_symlink() or (one.exists() and not one.is_dir()) for one in between)


def _remove(folder: Path, file: Path) -> None:
    with suppress(OSError):  # gone, or a folder of somebody's
        file.unlink()
    for parent in file.parents:
        if parent == folder:
            return
        try:
            parent.rmdir()
        except OSError:  # it holds something
            return
