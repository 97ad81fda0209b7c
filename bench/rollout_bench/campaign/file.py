"""CAMPAIGN.toml: what is to be measured. docs/campaigns.md shows one.

Knows tracked.toml, whose tables it names, and no cluster.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..history.asv_runs import MACHINE_NAME
from ..measure.tracked import DEFAULT_SET, FILE, Kind, Tracked, checked, choose_set, read_toml


@dataclass(frozen=True)
class Campaign:
    """What a campaign's file asks for."""

    tables: Mapping[str, Tracked]
    """Of tracked.toml, by name."""
    are_named: bool = True
    """Else they are all, and those that the cluster has no hardware for are left out."""
    range: str | None = None
    releases: str | None = None
    set: str = DEFAULT_SET
    replicates: int | None = None
    sessions_per_node: int = 1
    """On a node without a GPU."""
    machines: Mapping[str, str] = field(default_factory=dict)
    """Kinds of nodes to measure on, and what each is called in results/; none where there is but one."""
    folder: str | None = None
    """On the nodes."""
    sessions: int | None = None
    hours: float | None = None


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_hours(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < float("inf")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(map(_is_text, value))


def _is_names(value: Any) -> bool:
    names = [*value.values()] if isinstance(value, dict) else []
    return names != [] and all(isinstance(one, str) and MACHINE_NAME.fullmatch(one) for one in names)


_TEXT = Kind("a text", _is_text)
_TEXTS = Kind("a list of texts", _is_texts)
_WHOLE = Kind("a whole number of 1 or more", _is_whole)
KEYS = {
    "range": _TEXT.of("commits, as `track` takes them"),
    "releases": _TEXT.of("a ledger of releases, as `releases` makes it; `range` may choose of them"),
    "tables": _TEXTS.of(f"cases: tables of {FILE} (default: all that the cluster has the hardware for)"),
    "presets": _TEXTS.of(f"only the tables of {FILE} that have one of these presets"),
    "set": _TEXT.of(f"of the paths of each table (default: {DEFAULT_SET})"),
    "replicates": _WHOLE.of("sessions with fresh engines for a value, in the place of the table's own"),
    "sessions_per_node": _WHOLE.of("at once, on a node without a GPU, each on cores of its own (default: 1)"),
    "machines": Kind("a table of KIND = NAME, a name of letters, digits, spaces and . _ + @ -", _is_names).of(
        "kinds of nodes to measure on, and the name of each in results/ (needed where there are several)"
    ),
    "folder": _TEXT.of("on the nodes, for environments (default: ~/.cache/rollout-perf/HOST)"),
    "budget": Kind("a table of sessions or hours", lambda value: isinstance(value, dict) and value != {}).of(
        "of one run of the command"
    ),
}
BUDGET = {
    "sessions": _WHOLE.of("that begin at most"),
    "hours": Kind("a number above 0", _is_hours).of("within which what begins should end"),
}


def read_campaign(file: Path, tracked: Mapping[str, Tracked]) -> Campaign:
    """What a file asks for. Raises UsageError, in a line, for what it may not have."""
    given = dict(checked(str(file), read_toml(file), KEYS, ()))
    budget = checked(f"{file} budget", given.pop("budget", {}), BUDGET, ())
    if "range" not in given and "releases" not in given:
        raise UsageError(f"{file} has neither range nor releases: name the commits, or a ledger of releases")
    chosen = choose_set(tracked, given.get("set", DEFAULT_SET), f"{file} set")
    names, presets = given.pop("tables", None), given.pop("presets", None)
    tables = _tables(file, names, presets, chosen, tracked)
    return Campaign(tables, names is not None or presets is not None, **given, **budget)


def _tables(
    file: Path,
    names: list[str] | None,
    presets: list[str] | None,
    chosen: str,
    tracked: Mapping[str, Tracked],
) -> dict[str, Tracked]:
    known = {one.preset for one in tracked.values()}
    for key, given, allowed in (("tables", names, tracked), ("presets", presets, sorted(known))):
        for one in given or ():
            if one not in allowed:
                raise UsageError(f"{file} {key} has {one!r}; those of {FILE}: {', '.join(allowed)}")
    for name in names or ():
        if not tracked[name].sets.get(chosen):
            have = ", ".join(tracked[name].sets)
            raise UsageError(f"{file} tables has {name!r}, which has no path of the set {chosen!r}: {have}")
    found = {
        name: one
        for name, one in tracked.items()
        if (names is None or name in names)
        and (presets is None or one.preset in presets)
        and one.sets.get(chosen)
    }
    if not found:
        raise UsageError(
            f"{file}: none of its tables has one of its presets, {', '.join(presets or ())}, and paths of "
            f"the set {chosen!r}"
        )
    return found
