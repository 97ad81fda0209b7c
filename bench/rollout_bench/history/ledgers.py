"""The ledgers of a checkout, and what a package and its ledger are called."""

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError, meant
from ..measure import machine
from ..schema import variables
from .ledger import Ledger
from .locks import pins

FLAVOURS = ("cpu", "cuda")

_OF_COMMITS = "-commits"
_NAME = re.compile(rf"(.+?)-({'|'.join(FLAVOURS)})({_OF_COMMITS})?")


@dataclass(frozen=True)
class Named:
    """A package of a lock."""

    package: str
    flavour: str
    of_commits: bool = False
    """The ledger is of commits of the package, and not of releases."""

    @property
    def folder(self) -> str:
        """What its ledger is called: vllm-cpu, vllm-cuda, ray-cpu, vllm-cpu-commits."""
        return f"{self.package.removesuffix('-cpu')}-{self.flavour}{_OF_COMMITS * self.of_commits}"


def name_of(root: Path, package: str, flavour: str | None, of_commits: bool = False) -> Named:
    """The package as the lock of this machine, or of a flavour, calls it. Raises UsageError for another."""
    chosen = flavour or os.environ.get(variables.FLAVOUR) or FLAVOURS[bool(machine.gpus())]
    if chosen not in FLAVOURS:
        raise UsageError(f"{variables.FLAVOUR} is {chosen!r}; use {' or '.join(FLAVOURS)}")
    lock = root / "requirements" / f"{chosen}.lock"
    known = pins(lock.read_text())
    package = package.lower().replace("_", "-")
    if package == "vllm" and "vllm-cpu" in known:
        package = "vllm-cpu"
    if package not in known:
        raise UsageError(
            f"unknown package {package!r}{meant(package, known)}: {lock} has none of it; "
            "it has vllm, ray, torch and others"
        )
    return Named(package, chosen, of_commits)


def known_ledgers(root: Path) -> list[str]:
    """Names of the ledgers that a checkout keeps, of packages of its locks: that of `upgrade` is of none."""
    found = []
    for bundle in sorted((root / "releases").glob("*/ledger.bundle")):
        with contextlib.suppress(UsageError):
            _named(root, bundle.parent.name, None)
            found.append(bundle.parent.name)
    return found


def find_ledger(root: Path, of: str, flavour: str | None = None) -> Ledger:
    """The ledger of a package, or the one of a name: vllm, vllm-cpu, vllm-cpu-commits. Raises UsageError."""
    named = _named(root, of, flavour)
    known = known_ledgers(root)
    if named.folder not in known:
        raise UsageError(
            f"there is no ledger {named.folder}: `rollout-perf releases {named.package}` makes it; "
            f"ledgers: {', '.join(known) or 'none'}"
        )
    return Ledger(root, named.folder, named.package, named.flavour)


def _named(root: Path, of: str, flavour: str | None) -> Named:
    """What a package, or a ledger's name, stands for."""
    if parts := _NAME.fullmatch(of):
        return name_of(root, parts[1], flavour or parts[2], bool(parts[3]))
    return name_of(root, of, flavour)


_NOTES: Mapping[str, str] = {
    "vllm": "https://github.com/vllm-project/vllm/releases/tag/v{version}",
    "vllm-cpu": "https://github.com/vllm-project/vllm/releases/tag/v{version}",
    "ray": "https://github.com/ray-project/ray/releases/tag/ray-{version}",
    "torch": "https://github.com/pytorch/pytorch/releases/tag/v{version}",
}


def notes_url(package: str, version: str) -> str:
    """Where a release's notes are, of some projects; else its page on PyPI."""
    page = _NOTES.get(package, f"https://pypi.org/project/{package}/{{version}}/")
    return page.format(version=version)
