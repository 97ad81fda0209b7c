"""`rollout-perf gate`: is a commit slower than another? Both measured now, side by side, with verdicts."""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from asv.machine import Machine

from rollout_perf.transports import find_transport

from .. import git
from ..errors import UsageError
from ..gate import replicates, sessions
from ..gate import report as gate_report
from ..gate.verdicts import Question
from ..history import asv_runs, environments, ledger
from ..history.noise import read_noise
from ..measure import machine
from ..measure.alone import alone
from ..measure.labels import LABELS
from ..measure.lanes import Lane
from ..measure.sizing import at_once
from ..measure.tracked import DEFAULT_SET, FILE, Tracked, first_of, read_tracked
from ..measure.workload import VARIANTS, Workload
from ..schema import variables
from ..schema.metrics import EXACT, STEP, WITHOUT_CONTROL
from ..schema.record import WayIn, now, path_and_entry
from ..stats.paired import THRESHOLD
from . import workloads
from .answer import answer, answer_arguments
from .checkout import checkout_lock, find_checkout, provenance, say_ignored
from .console import say
from .gate_records import Records, at_once_argument, lanes_of
from .names import MANY, listed, named, preset, unknown
from .options import check_entries, check_model, check_tables, keep_argument
from .outputs import check_file, check_folder

_ALL = "all"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("base", metavar="BASE", help="the commit to compare with")
    parser.add_argument("head", metavar="HEAD", help="the commit to judge")
    judging_arguments(parser)
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write the verdicts as Markdown")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the verdicts as JUnit XML")
    answer_arguments(parser)


def judging_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `question_of`, `engines_of` and `judge` read."""
    parser.add_argument(
        "--path",
        "--paths",
        dest="paths",
        action="extend",
        type=listed(_path_of_a_case),
        metavar="PATH[@ENTRY]",
        help=f"{MANY} (default: the set `default` of the table, or all)",
    )
    parser.add_argument(
        "--tracked",
        metavar="NAME",
        help=f"measure what asv does by this table of {FILE}, of its workloads those of --workload and "
        "--batch (default: the first table for this machine)",
    )
    parser.add_argument(
        "--preset",
        type=preset,
        help="measure this preset or local model folder instead, with the workload of --workload",
    )
    parser.add_argument("--tp", type=int, help="tensor-parallel size (default: 1)")
    workloads.arguments(parser)
    parser.set_defaults(workload=None, seed=None)
    parser.add_argument(
        "--metric",
        "--metrics",
        dest="metrics",
        action="extend",
        type=listed(named("metric", [*WITHOUT_CONTROL, _ALL])),
        metavar="NAME",
        help=f"{MANY}, or `{_ALL}`: what to judge (default: {STEP} and all exact ones)",
    )
    parser.add_argument(
        "--threshold",
        action="extend",
        type=listed(),
        default=[],
        metavar="[METRIC=]PERCENT",
        help=f"a smaller change is `same`; {MANY} (default: 1.5 for timings, 0 for exact metrics)",
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=60.0,
        metavar="MINUTES",
        help="how long to measure, at most (default: 60)",
    )
    at_once_argument(parser)
    parser.add_argument(
        "--machine",
        metavar="NAME",
        help=f"the machine's name in results/ (default: {variables.MACHINE}, or the host's)",
    )
    keep_argument(parser)


def run(given: argparse.Namespace) -> int:
    """Build, measure, judge; 0 nothing worse, 1 something worse, 2 something could not be measured."""
    root = find_checkout("gate")
    engines, loads = engines_of(given, read_tracked(root))
    question = question_of(given, engines)
    lanes = lanes_of(given.at_once, engines, question)
    _check_outputs(given)
    commits = {name: environments.find_commit(root, getattr(given, name)) for name in replicates.BUILDS}
    notes = _dirty(git.changed_files(root))
    for note in notes:
        say(note)
    folder = verdicts_folder(root, given.machine)
    with alone(say, checkout_lock(root)), ledger.environments(root, given.keep):
        content = judge(root, folder, question, (engines, loads), commits, lanes, notes)
    if given.summary:
        given.summary.write_text(gate_report.markdown(content))
    if given.junit:
        given.junit.write_text(gate_report.junit(content))
    answer(given, gate_report.text(content), content)
    return gate_report.exit_code(content)


def verdicts_folder(root: Path, name: str | None) -> Path:
    """Where this machine's verdicts go. Raises UsageError where they cannot, or the disk is too small."""
    entry = asv_runs.machine_entry(name, machine.gpus())
    folder = _folder(asv_runs.results_folder(root), entry)
    say_ignored(root, folder)
    ledger.check_room(root, len(replicates.BUILDS))
    return folder


def judge(
    root: Path,
    folder: Path,
    question: Question,
    measured: tuple[Tracked, Sequence[Workload]],
    commits: Mapping[str, str],
    lanes: Sequence[Lane],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Build both commits, measure and judge them, by a session in each lane at once; what it says, which
    `folder` keeps. Who calls is alone."""
    engines, loads = measured
    name = folder.parent.name
    known = read_noise(asv_runs.results_folder(ledger.home(root)) / name)
    base = environments.build(root, replicates.BASE, commits[replicates.BASE], "", say)
    head = environments.build(
        root, replicates.HEAD, commits[replicates.HEAD], "-head", say, base.python_build
    )
    begin = now()
    file = f"{commits[replicates.BASE][:8]}-{commits[replicates.HEAD][:8]}-{begin.translate(_FILE_NAME)}"
    question = replace(question, noise=known)
    built = {replicates.BASE: base, replicates.HEAD: head}
    records = Records(built, engines, loads, question, folder / f"{file}.jsonl", lanes)
    room = at_once(engines.preset, engines.tensor_parallel_size, engines.workloads, len(lanes))
    outcome = sessions.run_gate(question, room, records.measure, say, at_once=len(lanes))
    notes = [*notes, *environments.differences(base, head), *records.notes()]
    names = {build: git.name_of(root, commit) for build, commit in commits.items()}
    facts = {**commits, "names": names, "machine": name, "measured_at": begin, **provenance(), "notes": notes}
    content = gate_report.content(outcome, facts)
    (folder / f"{file}.json").write_text(json.dumps(content, indent=1) + "\n")
    return content


_FILE_NAME = str.maketrans({":": None, "-": None, "+": "Z"})


def question_of(given: argparse.Namespace, engines: Tracked) -> Question:
    """What is judged, and how. Raises UsageError."""
    exact = frozenset(EXACT)
    tracked = engines.sets.get(DEFAULT_SET, engines.paths)
    paths = list(dict.fromkeys(given.paths or tracked or LABELS))
    for case in given.paths or ():
        path, entry = path_and_entry(case)
        if reason := find_transport(path).absent(bool(machine.gpus())):
            raise UsageError(f"the path {path!r} cannot be taken here: {reason}")
        check_entries([WayIn.of(entry).entry])
    asked = given.metrics or [STEP, *sorted(exact)]
    judged = list(WITHOUT_CONTROL if _ALL in asked else dict.fromkeys(asked))
    own = dict(_threshold(text) for text in given.threshold)
    timing = own.pop("", THRESHOLD)
    for name in own:
        if name not in judged:
            raise UsageError(
                f"--threshold names {name!r}, which is not judged: add it to --metrics, or leave it out; "
                f"judged: {', '.join(judged)}"
            )
    thresholds = {name: own.get(name, 0.0 if name in exact else timing) for name in judged}
    if not 0 < given.budget < math.inf:
        raise UsageError(f"--budget is {given.budget:g}; it must be a number above 0 minutes")
    return Question(paths, thresholds, exact & set(judged), given.budget * 60)


def _check_outputs(given: argparse.Namespace) -> None:
    """Raise UsageError where a file that is asked for cannot be written."""
    for option in ("summary", "junit"):
        file = getattr(given, option)
        if file and not file.parent.is_dir():
            raise UsageError(f"--{option} is {file}; there is no folder {file.parent}")
        if file and file.is_dir():
            raise UsageError(f"--{option} is {file}; that is a folder, and a file is wanted")
        if file:
            check_file(f"--{option}", file)


_OWN = (
    "preset",
    "tp",
    "prompt_tokens",
    "output_tokens",
    "samples",
    "seed",
    *VARIANTS,
    "separately",
    *workloads.OF_A_FILE,
)
"""Options of a workload that no table has, beside --workload and --batch, which choose of a table's too."""


def own_options(given: argparse.Namespace) -> list[str]:
    """Those of `_OWN` that are given, as they are written."""
    values = {name: getattr(given, name) for name in _OWN}
    return [
        f"--{name.replace('_', '-')}"
        for name, value in values.items()
        if value is not None and value is not False
    ]


def engines_of(
    given: argparse.Namespace, tracked: Mapping[str, Tracked]
) -> tuple[Tracked, Sequence[Workload]]:
    """The engines that start, and what is measured with them. Raises UsageError."""
    gpus = machine.gpus()
    name = first_of(tracked, bool(gpus)) if given.tracked is None else given.tracked
    own = own_options(given)
    if given.tracked is None and (own or given.workload is not None or given.batch):
        given.preset = tracked[name].preset if given.preset is None else given.preset
        given.workload = "fixed" if given.workload is None else given.workload
        given.seed = given.seed or 0
        size = 1 if given.tp is None else given.tp
        loads = workloads.choose(given)
        model = check_model(given.preset, size, loads, gpus)
        return Tracked(model, loads, tensor_parallel_size=size), loads
    if name not in tracked:
        raise UsageError(unknown("--tracked", name, tracked))
    if own:
        raise UsageError(
            f"{', '.join(own)} cannot be given with --tracked {name}, which settles the rest: beside it give "
            "--workload and --batch alone, which choose"
        )
    engines = tracked[name]
    check_tables({name: engines}, gpus)
    named = [load for load in engines.workloads if given.workload in (None, load.name)]
    missing = {*(given.batch or ())} - {load.batch for load in named}
    if not named or missing:
        asked = [] if given.workload is None else [f"--workload {given.workload or repr(given.workload)}"]
        asked += [f"--batch {batch}" for batch in sorted(missing)]
        has = ", ".join(f"{load.name} {load.batch}" for load in engines.workloads)
        raise UsageError(f"--tracked {name} has no {' '.join(asked)}; it has {has}")
    return engines, [load for load in named if not given.batch or load.batch in given.batch]


def _path_of_a_case(text: str) -> str:
    """For argparse: a path, and the entry before it, as tables of tracked.toml and alerts have them."""
    path, _entry = path_and_entry(text)
    named("path", LABELS)(path)
    return text


def _threshold(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    if name and name not in WITHOUT_CONTROL:
        raise UsageError(unknown("metric", name, WITHOUT_CONTROL))
    try:
        share = float(value.rstrip("% ")) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share < 10:
        raise UsageError(f"--threshold is {text!r}; give a percentage such as 3 or wire_bytes=1")
    return name, share


def _dirty(files: Sequence[str]) -> list[str]:
    if not files:
        return []
    own = [file for file in files if file.startswith(("bench/", "benchmarks/"))]
    harness = f"; the harness is that of the working tree, with {', '.join(own)} changed" if own else ""
    count = f"{len(files)} file{'s' * (len(files) > 1)}"
    return [
        f"the working tree has uncommitted changes ({count}): what is measured is the two commits, "
        f"without them{harness}"
    ]


def _folder(results: Path, own: Mapping[str, str]) -> Path:
    """Where verdicts of this machine go. Raises UsageError where the name is another machine's."""
    folder = results / own["machine"]
    if other := asv_runs.other_machine(folder, own, say):
        raise UsageError(f"{folder} is of {other}: give this one a --machine NAME of its own")
    gates = folder / "gates"
    check_folder("the folder of this machine's verdicts", gates)
    asv_runs.name_machine(own["machine"], machine.gpus())
    Machine.load(machine_name=own["machine"]).save(str(results))
    return gates
