"""Versions by package in a lock, and what differs between two. Pure."""

import re
from collections.abc import Mapping
from urllib.parse import unquote

Changes = dict[str, tuple[str | None, str | None]]
"""What differs by name: what it was and what it is; None where it was not there."""

LOCKED = "lock: "
"""Before the name of a package, where the lock says its version and not what ran."""


def pins(lock: str) -> dict[str, str]:
    """Versions by package; of what is pinned by the address of a wheel, the one that its name has."""
    found = re.findall(r"^([\w.-]+)(?:==| @ )([^\s;]+)", lock, re.MULTILINE)
    return {name: version if "/" not in version else _of_wheel(version) for name, version in found}


def _of_wheel(address: str) -> str:
    return [*unquote(address.rpartition("/")[2]).split("-"), address][1]


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> Changes:
    """What differs, by name."""
    names = sorted({*before, *after})
    return {
        name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    }


def told(changes: Changes) -> Changes:
    """What people are told: without what the lock says of a package that ran so."""
    return {
        name: both
        for name, both in changes.items()
        if not (name.startswith(LOCKED) and changes.get(name.removeprefix(LOCKED)) == both)
    }
