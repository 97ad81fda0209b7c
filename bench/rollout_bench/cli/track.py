"""`rollout-perf track`: measure a range of commits with asv, publish the site, show the newest commits."""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BenchError, UsageError
from ..history import asv_runs, ledger
from ..history.passed_over import passed_over
from ..history.results import Commit, Results, key_of, read_results
from ..measure import machine
from ..measure.alone import alone
from ..measure.marked import let_end
from ..measure.tracked import DEFAULT_SET, FILE, FLAVOURS, Tracked, choose_set, read_tracked
from ..report.names import Group, group_of
from ..report.pipe import pipe_table
from ..report.rollouts import rollout_table
from ..schema import variables
from ..schema.metrics import METRICS
from ..schema.record import FAILED, REFERENCE, Record
from ..site.link import link
from ..site.publish import check_tools, publish
from .answer import answer, answer_arguments
from .checkout import checkout_lock, find_checkout, say_ignored
from .console import end, say
from .options import check_tables, keep_argument
from .outputs import check_folder

_SHOWN_COMMITS = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "range", nargs="?", metavar="RANGE", help="which commits, as in git (default: HEAD~2..HEAD)"
    )
    parser.add_argument(
        "--machine",
        metavar="NAME",
        help=f"the machine's name in results/ (default: {variables.MACHINE}, or the host's)",
    )
    parser.add_argument(
        "--set", default=DEFAULT_SET, metavar="NAME", help=f"which paths of {FILE} (default: {DEFAULT_SET})"
    )
    parser.add_argument("--bench", metavar="REGEX", help="run only the benchmarks that match")
    parser.add_argument(
        "--again", action="store_true", help="measure what results/ has, too, and pool the samples"
    )
    parser.add_argument("--no-publish", action="store_true", help="do not write the site")
    keep_argument(parser)
    answer_arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Run asv, publish, show; 0 where nothing failed."""
    if not given.no_publish:
        check_tools()
    root = find_checkout("track")
    wanted, commits = asv_runs.find_range(root, given.range)
    gpus = machine.gpus()
    tracked = read_tracked(root)
    choose_set(tracked, given.set, "--set")
    tracked = {table: one for table, one in tracked.items() if one.flavour == FLAVOURS[bool(gpus)]}
    check_tables(_chosen(tracked, given), [])  # of too few GPUs a record says that it is absent
    name = asv_runs.name_machine(given.machine, gpus)
    folder = asv_runs.results_folder(root) / name
    check_folder("the folder of results", folder.parent)
    check_folder("the folder of this machine's results", folder)
    if other := asv_runs.other_machine(folder, asv_runs.machine_entry(given.machine, gpus), say):
        say(
            f"warning: {folder} is of {other}, and from now on of this one: timings of both are one series "
            "unless this one gets a --machine NAME of its own"
        )
    say_ignored(root, folder)
    lock = checkout_lock(root)
    ledger.check_room(root, 2)  # a release's, and the control's
    say(f"{len(commits)} commit{'s' * (len(commits) > 1)}, newest first, on {name}:")
    for commit in commits:
        say(f"  {commit}")
    try:
        with alone(say, lock), ledger.environments(root, given.keep):
            asv_runs.set_damaged_aside(asv_runs.results_folder(root), name, say)
            code = _measure(root, given, wanted, commits, name, tracked)
    except asv_runs.Interrupted:
        done = asv_runs.saved(root, name, commits)
        say(f"{done} of {len(commits)} commits are saved; the same command goes on with the others")
        raise
    end()  # the view has a thread, and the site is written by forks
    log = asv_runs.log_file(root)
    if code not in (0, 2):
        raise BenchError(f"asv failed with exit code {code}: {asv_runs.last_line(log)} (all of it: {log})")
    site = None if given.no_publish else publish(asv_runs.results_folder(root), root, say)
    results = read_results(asv_runs.results_folder(root), commits[::-1])
    for damage in results.damaged_lines():
        say(f"damaged and passed over: {damage}")
    found = [_measured(results, name, commit) for commit in commits]
    lines = [line for number, one in enumerate(found) for line in _tables(one, number, log)]
    content: dict[str, Any] = {"machine": name, "commits": [_as_json(one) for one in found]}
    if site is not None:
        content["site"] = link(site, [point for point in results.points if point.machine == name])
        lines.append(f"site: {content['site']}")
    answer(given, "\n".join(lines), content)
    return 1 if code or any(one.failed or one.empty for one in found) else 0


def _chosen(tracked: Mapping[str, Tracked], given: argparse.Namespace) -> dict[str, Tracked]:
    """The tables that have the set, and a benchmark that --bench matches. Raises UsageError."""
    try:
        bench = re.compile(given.bench or "")
    except re.error as error:
        raise UsageError(f"--bench is {given.bench!r}, which is no regular expression: {error}") from None
    return {
        name: one
        for name, one in tracked.items()
        if one.sets.get(given.set)
        and any(bench.search(f"rollout.{kind}.track_{metric}") for kind in one.classes for metric in METRICS)
    }


def _measure(
    root: Path,
    given: argparse.Namespace,
    wanted: str,
    commits: Sequence[Commit],
    name: str,
    tracked: Mapping[str, Tracked],
) -> int:
    """Run asv over the range, and over what it passes over in it; its exit code."""
    classes = [name for one in tracked.values() if one.sets.get(given.set) for name in one.classes]
    bench = [given.bench] if given.bench else [_of_classes(classes), r"^transport_rpc\."]
    asked = [wanted, *(f"--bench={one}" for one in bench)]
    chosen = {variables.SET: given.set} | ({variables.AGAIN: "1"} if given.again else {})
    log = asv_runs.log_file(root)
    log.unlink(missing_ok=True)

    def run_asv(*asked: str) -> int:
        return asv_runs.run_asv(root, asked, commits, name, chosen, say, let_end)

    if given.again:
        return run_asv(*asked)
    code = run_asv(*asked, "--skip-existing")
    if given.bench:
        return code
    left, classes = passed_over(asv_runs.results_folder(root) / name, commits, tracked, given.set)
    if not left or code not in (0, 2):
        return code
    hashes = log.with_suffix(".commits")
    hashes.write_text("".join(f"{commit.hash}\n" for commit in left))
    return run_asv(f"HASHFILE:{hashes}", f"--bench={_of_classes(classes)}") or code


def _of_classes(names: Sequence[str]) -> str:
    return rf"^rollout\.({'|'.join(names)})\."


@dataclass(frozen=True)
class _Measured:
    """What results/ has of a commit on this machine."""

    commit: Commit
    groups: Mapping[Group, Sequence[Record]]
    pipes: Sequence[Mapping[str, Any]]

    @property
    def records(self) -> list[Record]:
        return [one for some in self.groups.values() for one in some]

    @property
    def failed(self) -> bool:
        return any(one.status == FAILED for one in self.records) or any(map(_failed, self.pipes))

    @property
    def empty(self) -> bool:
        return not self.groups and not self.pipes


def _failed(pipe: Mapping[str, Any]) -> bool:
    return bool(pipe.get("failed"))


def _measured(results: Results, machine: str, commit: Commit) -> _Measured:
    groups: dict[Group, list[Record]] = {}
    for point in results.points:
        if (point.machine, point.commit) == (machine, commit):
            groups.setdefault(group_of(key_of(point)), []).append(point.record)
    pipes = [pipe.result for pipe in results.pipes if (pipe.machine, pipe.commit) == (machine, commit)]
    return _Measured(commit, groups, pipes)


def _tables(found: _Measured, number: int, log: Path) -> list[str]:
    """The tables of a commit, of the newest ones and of those in which something failed."""
    if number >= _SHOWN_COMMITS and not found.failed and not found.empty:
        return []
    lines = [f"commit {found.commit}"]
    if found.empty:
        lines.append(f"failed: nothing was measured; see {log}")
    tables = (f"{group}\n{rollout_table(some, REFERENCE)}" for group, some in found.groups.items())
    lines.append("\n\n".join(tables))
    if found.pipes:
        lines += ["", pipe_table(found.pipes[-1])]
    return [*lines, ""]


def _as_json(found: _Measured) -> dict[str, Any]:
    records = [json.loads(one.to_json()) for one in found.records]
    return {"commit": found.commit.hash, "records": records, "pipe": found.pipes[-1] if found.pipes else None}
