"""Builds a commit in an environment of asv, by the commands and locks of asv.conf.json.

The base takes the environment that `asv run` has, the head a second one beside it, so that both
are there at once and each holds what its own lock names. asv does the work; this asks it to. Both are of
one Python: asv takes the first of its version on PATH, which may be another build today than when the
base's environment was made, and a rollout 15 % slower by that alone.
"""

import contextlib
import importlib.metadata
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .. import git
from ..errors import UsageError
from ..measure.installed import why_not_installed
from .asv_runs import path_from

_SHOWN_LINES = 15


class PythonBuild(NamedTuple):
    """A Python that environments are made of."""

    executable: str
    version: str
    """With its build, as `sys.version` has it."""

    @classmethod
    def of(cls, python: str) -> "PythonBuild":
        """The one that the environment of this `python` was made of."""
        asked = (
            "import sys; print(f'{sys.base_prefix}/bin/python{sys.version_info[0]}.{sys.version_info[1]}')"
        )
        done = subprocess.run(
            [python, "-c", f"{asked}; print(sys.version)"], capture_output=True, text=True, check=True
        )
        executable, version = done.stdout.split("\n", 1)
        return cls(executable, " ".join(version.split()))


@dataclass(frozen=True)
class Build:
    """A commit that is installed, and how to run it."""

    name: str
    commit: str
    folder: Path
    """The environment; what is measured must come from there."""
    python: str
    variables: dict[str, str]
    python_build: PythonBuild


def build(
    root: Path,
    name: str,
    commit: str,
    suffix: str,
    say: Callable[[str], None],
    python_build: PythonBuild | None = None,
) -> Build:
    """Install `commit` into asv's environment, in a folder that ends in `suffix`.

    A new one is of `python_build`, or of the Python that runs this; one that is there is kept, unless
    `python_build` is given and it is of another.
    Raises UsageError where it cannot be installed; the last lines of what the installer
    said go to `say`, all of them are in .asv/rollout-perf-gate-NAME.log.
    """
    from asv.config import Config
    from asv.environment import EnvironmentUnavailable, get_environments
    from asv.repo import get_repo
    from asv.util import ProcessError, UserError

    log = root / ".asv" / f"rollout-perf-gate-{name}.log"
    log.parent.mkdir(exist_ok=True)
    first = Path(python_build.executable if python_build else sys.executable).parent
    # asv takes the current directory for the project's, and prints where it should not.
    with contextlib.chdir(root), contextlib.redirect_stdout(sys.stderr), _logged(log, say), _around(first):
        try:
            configuration = Config.load()
            configuration.env_dir += suffix
            environment = next(iter(get_environments(configuration, None)), None)
            if environment is None:
                raise UserError("asv.conf.json names no environment that can be made here")
            folder = (root / configuration.env_dir / environment.dir_name).resolve()
            _remove_unless_of(python_build, folder, say)
            environment.create()
            environment.install_project(configuration, get_repo(configuration), commit)
            if reason := why_not_installed(folder):
                raise UserError(reason)
            python = environment.find_executable("python")
        except (ProcessError, UserError, EnvironmentUnavailable, OSError) as error:
            for line in _last_lines(log):
                say(f"  {line}")
            raise UsageError(
                f"the {name}, {commit[:8]}, cannot be built: {error} (all of it: {log})"
            ) from None
    return Build(name, commit, folder, python, _variables(folder), PythonBuild.of(python))


def _remove_unless_of(wanted: PythonBuild | None, folder: Path, say: Callable[[str], None]) -> None:
    if wanted is None or not folder.exists():
        return
    found = None
    with contextlib.suppress(OSError, subprocess.CalledProcessError):  # what it was made of may have gone
        found = PythonBuild.of(str(folder / "bin" / "python"))
    if found != wanted:
        say(f"{folder} is not of {wanted.executable}, as the base's environment is, and is made anew")
        shutil.rmtree(folder)


@contextlib.contextmanager
def _around(folder: Path) -> Iterator[None]:
    """The environment that asv, which is called in this process, works and starts git and pip in.

    A GIT_DIR of a hook or a bisect would have it check commits out in the user's repository.
    """
    before = dict(os.environ)
    _set_environment(git.environment() | {"PATH": path_from(folder)})
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(wanted: dict[str, str]) -> None:
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)


def _variables(folder: Path) -> dict[str, str]:
    """What asv gives to the processes of an environment."""
    variables = git.environment()
    variables["PATH"] = path_from(folder / "bin")
    variables.pop("PYTHONPATH", None)
    if "ASV_PYTHONPATH" in variables:
        variables["PYTHONPATH"] = variables["ASV_PYTHONPATH"]
    return variables


@contextlib.contextmanager
def _logged(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """All that asv logs goes to a file; what it is doing goes to `say` too."""
    root = logging.getLogger()
    level, whole, progress = root.level, logging.FileHandler(path, mode="w"), _Progress(say)
    root.addHandler(whole)
    root.addHandler(progress)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(progress)
        root.removeHandler(whole)
        whole.close()


class _Progress(logging.Handler):
    def __init__(self, say: Callable[[str], None]):
        super().__init__(logging.INFO)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.INFO:
            self._say(f"asv: {record.getMessage()}")


def _last_lines(log: Path) -> list[str]:
    lines = [line.rstrip() for line in log.read_text(errors="replace").splitlines()]
    return [line for line in lines if line][-_SHOWN_LINES:]


def find_commit(root: Path, given: str) -> str:
    """The hash of a commit. Raises UsageError where git knows none of that name, or is not there."""
    git.require()
    found = git.answer(root, "rev-parse", "--verify", "--quiet", given=[f"{given}^{{commit}}"])
    if found is None:
        if refused := git.refusal(root):
            raise UsageError(f"git gives no commit of {root}: {refused}")
        raise UsageError(
            f"unknown commit {given!r}: give a hash, a branch, a tag, or such as HEAD~1 "
            "(a shallow clone has few)"
        )
    return found


def differences(base: Build, head: Build) -> list[str]:
    """Python, and packages, that the two environments have in other versions, in a line."""
    before, after = ({"python": one.python_build.version} | _packages(one.folder) for one in (base, head))
    changed = [
        f"{name} {before.get(name, 'none')} -> {after.get(name, 'none')}"
        for name in sorted({*before, *after} - {"rollout-perf"})
        if before.get(name) != after.get(name)
    ]
    return [f"the environments differ: {', '.join(changed)}"] if changed else []


def _packages(folder: Path) -> dict[str, str]:
    places = [str(place) for place in folder.glob("lib/python*/site-packages")]
    return {
        distribution.name.lower().replace("_", "-"): distribution.version
        for distribution in importlib.metadata.distributions(path=places)
    }
