"""A history of many commits in few sessions, where an environment and engine starts for each cost too much.

    python -m studies.history export CONTROL COMMIT... --folder exported       # where the repository is
    python -m studies.history measure exported sessions.jsonl --tracked qwen2.5-0.5b --minutes 14
    python -m studies.history write sessions.jsonl --tracked qwen2.5-0.5b --machine h100-1x
    python -m studies.history show sessions.jsonl

`measure` has the control and as many commits as find room generate in turn, session after session, each
group of commits again and again until the minutes are over; the same command goes on. Every build is a folder
on the path of the Python that runs this, so all have that Python's vLLM. `write` makes the records of each
commit that asv would have made, with each session as a replicate. `show`, with which the others end, says of
each case how its rollouts vary, how much of that goes with the speed of the cores, and of each system under
test its ratio to the control, session by session: how far apart measurements of the same code are, in the
ratio and in the absolute time.
"""

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from rollout_bench import git
from rollout_bench.measure.asv_cases import METHOD
from rollout_bench.measure.asv_records import save
from rollout_bench.measure.control import BUILD, is_control, with_ratios
from rollout_bench.measure.pool import pool
from rollout_bench.measure.process import Interpreter
from rollout_bench.measure.sequence import ROLLOUTS
from rollout_bench.measure.session import Contestant, attempt
from rollout_bench.measure.sizing import at_once, shared_out
from rollout_bench.measure.tracked import read_tracked
from rollout_bench.schema.metrics import CONTROL_RATIO, STEP
from rollout_bench.schema.record import MEASURED, REFERENCE, Record, read_records
from rollout_bench.stats.rounds import slowed

from .asv_files import write_machine, write_results

ROOT = Path(__file__).resolve().parents[1]
_COMMITS = "commits"
_FINGERPRINT = "from rollout_bench.measure.shared import sut_fingerprint; print(sut_fingerprint())"


def export(given: argparse.Namespace) -> None:
    """The system under test of each commit, in a folder named by its hash; a file has their order."""
    hashes = []
    for name in given.commits:
        found = git.answer(ROOT, "rev-parse", "--verify", given=[f"{name}^{{commit}}"])
        assert found, f"no commit {name}"
        hashes.append(found.strip())
        with tempfile.TemporaryDirectory() as scratch:
            whole = Path(scratch) / "whole"
            git.export(ROOT, hashes[-1], whole)
            for part in ("rollout_perf", "requirements"):
                shutil.copytree(whole / part, given.folder / hashes[-1] / part, dirs_exist_ok=True)
    (given.folder / _COMMITS).write_text("\n".join(hashes) + "\n")


def measure(given: argparse.Namespace) -> None:
    """Sessions, kept as they go, until the time is over."""
    begin = time.monotonic()
    tracked = read_tracked(ROOT)[given.tracked]
    control, *commits = (given.folder / _COMMITS).read_text().split()
    lock = (given.folder / control / "requirements" / f"{given.lock}.lock").read_bytes()
    controls = [
        Contestant(
            REFERENCE,
            f"{BUILD}0",
            _interpreter(given.folder / control),
            {"commit": control, "lock": sha256(lock).hexdigest()[:12]},
        )
    ]
    room = min(given.most, at_once(tracked.preset, tracked.tensor_parallel_size, tracked.workloads))
    groups = shared_out(commits, room - 1)
    done = {one.provenance["replicate"] for one in read(given.sessions) if one.status == MEASURED}
    took = 0.0
    for number in range(given.replicates * len(groups)):
        if number in done:
            continue
        if time.monotonic() - begin + took > given.minutes * 60:
            break
        session = time.monotonic()
        builds = [
            Contestant(
                path, commit[:8], _interpreter(given.folder / commit), _facts(given.folder / commit, commit)
            )
            for commit in groups[number % len(groups)]
            for path in given.path
        ]
        contestants = [*controls, *builds]
        found, reason = attempt(
            tracked.preset,
            contestants,
            tracked.workloads,
            given.rounds,
            1,
            lambda text: print(f"{time.monotonic() - begin:6.1f} {text}", flush=True),
            tracked.tensor_parallel_size,
            {"command": "studies.history", "method": METHOD, "replicate": number},
            dict(tracked.engine_arguments),
            keep=given.sessions,
            timeline=True,
        )
        if len(found) < len(contestants) * len(tracked.workloads):
            print(f"session {number} has {len(found)} records: {reason}", flush=True)
        took = time.monotonic() - session
    show(read(given.sessions))


def write(given: argparse.Namespace) -> None:
    """The records of each commit, into results/MACHINE/records, and asv's own files beside them."""
    tracked = read_tracked(ROOT)[given.tracked]
    found = read(given.sessions)
    show(found)
    cases: dict[str, dict[tuple[str, str], list[Record]]] = defaultdict(lambda: defaultdict(list))
    for one in with_ratios(found):
        own = {name: fact for name, fact in one.provenance.items() if name not in ("side", "replicate")}
        case = one.way, one.workload["fingerprint"]
        cases[own["commit"]][case].append(replace(one, provenance=own))
    records = given.results / given.machine / "records"
    records.mkdir(parents=True, exist_ok=True)
    order = [load.fingerprint() for load in tracked.workloads]
    for commit, its in cases.items():
        name = f"{commit[:8]}-{given.environment}-{tracked.name}.jsonl"
        ordered = sorted(its.items(), key=lambda case: order.index(case[0][1]))
        pooled = [one for _case, some in ordered for one in pool([[each] for each in some])]
        save(pooled, records / name)
        write_machine(records.parent, pooled[0].provenance["machine"])
        write_results(records.parent, ROOT, commit, given.environment, [(tracked, pooled)])


def show(records: list[Record]) -> None:
    """How rollouts and sessions of the same code vary, case by case."""
    found = with_ratios(records)
    cases: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for one in found:
        if one.status == MEASURED:
            cases[one.way, one.workload["batch"]].append(one)
        else:
            print(one.provenance["side"], one.way, one.workload["batch"], one.status, one.reason)
    for (path, batch), some in cases.items():
        spreads = [statistics.stdev(map(math.log, one.metrics[STEP])) for one in some]
        print(f"\n{path}, batch {batch}: standard deviation of an engine's rollouts {_span(spreads, '.1%')}")
        if together := [value for one in some if (value := _with_slowness(one)) is not None]:
            print(f"  correlation with the slowness of the cores: {_span(together, '.2f')}")
        same: dict[str, list[Record]] = defaultdict(list)
        for one in some:
            if CONTROL_RATIO in one.metrics:
                same[_code(one.provenance["commit"])].append(one)
        for code, its in same.items():
            ratios = [statistics.median(one.metrics[CONTROL_RATIO]) for one in its]
            steps = [statistics.median(one.metrics[STEP]) for one in its]
            each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
            print(f"  {code} over the control: {each}{_cv(ratios, steps)}")
    for batch in sorted({batch for _path, batch in cases}):
        apart = _slowness_over_control([one for one in records if one.workload["batch"] == batch])
        if len(apart) > 1:
            mean, error = statistics.fmean(apart), statistics.stdev(apart) / math.sqrt(len(apart))
            print(f"\nbatch {batch}: cores {mean:.1%} slower than the control's, standard error {error:.1%}")


def read(sessions: Path) -> list[Record]:
    """The records of a file, or none. Records that have `slowness` alone get `slowed`, as sessions do it."""
    records = read_records(sessions.read_text()) if sessions.exists() else []
    together: dict[tuple[str, str, str], dict[str, Record]] = defaultdict(dict)
    for one in records:
        if one.status == MEASURED and _rounds_of(one).get("slowness") and "slowed" not in _rounds_of(one):
            work = one.provenance["session"], one.workload["fingerprint"], one.way
            together[work][one.provenance["side"]] = one
    for some in together.values():
        if len(some) < 2:
            continue
        seconds = {name: one.metrics[STEP] for name, one in some.items()}
        longer = slowed(seconds, {name: _rounds_of(one)["slowness"] for name, one in some.items()})
        for name, its in longer.items():
            _rounds_of(some[name])["slowed"] = its
    return records


def _rounds_of(record: Record) -> dict[str, Any]:
    rounds: dict[str, Any] = (record.observed.get("host") or {}).get("rounds") or {}
    return rounds


def _code(commit: str) -> str:
    """The commit, or what git calls its system under test, which commits may share, where it knows it."""
    found = git.answer(ROOT, "rev-parse", "--verify", given=[f"{commit}:rollout_perf"])
    return f"code {found[:8]}" if found else f"commit {commit[:8]}"


def _cv(ratios: list[float], steps: list[float]) -> str:
    if len(ratios) < 2:
        return ""
    of_ratios, of_steps = (statistics.stdev(each) / statistics.mean(each) for each in (ratios, steps))
    return f"; CV {of_ratios:.1%}, of the absolute times {of_steps:.1%}"


def _span(values: list[float], form: str) -> str:
    low, high = (format(each, form) for each in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _with_slowness(record: Record) -> float | None:
    """Correlation of a contestant's step times with how slow its cores were; None where that is not known."""
    slow = _rounds_of(record).get("slowness") or []
    steps = record.metrics[STEP]
    if len(slow) != len(steps) or None in slow or len(set(slow)) < 3:
        return None
    return statistics.correlation(*(list(map(math.log, each)) for each in (slow, steps)))


def _slowness_over_control(records: list[Record]) -> list[float]:
    """By session how much slower the cores of the others were than the control's, as a logarithm."""
    sessions: dict[str, dict[bool, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in records:
        if slow := [value for value in _rounds_of(one).get("slowness") or () if value]:
            sessions[one.provenance["session"]][is_control(one)].append(statistics.fmean(map(math.log, slow)))
    both = [found for found in sessions.values() if len(found) == 2]
    return [statistics.fmean(found[False]) - statistics.fmean(found[True]) for found in both]


def _facts(folder: Path, commit: str) -> dict[str, str]:
    its = _interpreter(folder)
    asked = [its.python, "-P", "-c", _FINGERPRINT]  # not of the folder in which this runs
    done = subprocess.run(asked, env=dict(its.variables), capture_output=True, text=True, check=True)
    return {"commit": commit, "sut": done.stdout.strip()}


def _interpreter(folder: Path) -> Interpreter:
    path = os.pathsep.join(filter(None, [str(folder.resolve()), os.environ.get("PYTHONPATH")]))
    return Interpreter(sys.executable, {**os.environ, "PYTHONPATH": path})


def main() -> None:
    """Read the command line and do one of the three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(required=True)
    one = kinds.add_parser("export")
    one.add_argument("commits", nargs="+")
    one.add_argument("--folder", type=Path, required=True)
    one.set_defaults(run=export)
    one = kinds.add_parser("measure")
    one.add_argument("folder", type=Path)
    one.add_argument("sessions", type=Path)
    one.add_argument("--tracked", default="nano")
    one.add_argument("--path", action="append", required=True)
    one.add_argument("--lock", choices=["cpu", "cuda"], default="cuda")
    one.add_argument("--rounds", type=int, default=ROLLOUTS)
    one.add_argument("--replicates", type=int, default=2, help="sessions of each group of commits")
    one.add_argument("--most", type=int, default=8, help="contestants at once, the control among them")
    one.add_argument("--minutes", type=float, default=10.0, help="no session begins that would end later")
    one.set_defaults(run=measure)
    one = kinds.add_parser("write")
    one.add_argument("sessions", type=Path)
    one.add_argument("--tracked", default="nano")
    one.add_argument("--machine", required=True)
    one.add_argument("--environment", default="virtualenv-py3.12")
    one.add_argument("--results", type=Path, default=ROOT / "results")
    one.set_defaults(run=write)
    one = kinds.add_parser("show")
    one.add_argument("sessions", type=Path)
    one.set_defaults(run=lambda given: show(read(given.sessions)))
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
