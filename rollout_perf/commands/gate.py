"""`rollout-perf gate`: is a commit slower than another? Both measured now, in alternation, with verdicts."""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from ..transports import find_transport
from .common import find_ruler, provenance, ruler, say

SUMMARY = "say whether a commit is slower than another, measured now in alternation"
_PRIMARY = "step_seconds"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("base", metavar="BASE", help="the commit to compare with")
    parser.add_argument("head", metavar="HEAD", help="the commit to judge")
    parser.add_argument("--paths", metavar="A,B", help="only these (default: all)")
    parser.add_argument(
        "--metrics", metavar="A,B", help=f"what to judge, or `all` (default: {_PRIMARY} and all exact ones)"
    )
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        metavar="[METRIC=]PERCENT",
        help="a smaller change is `same`; repeatable (default: 1.5 for timings, 0 for exact metrics)",
    )
    parser.add_argument(
        "--budget", type=float, default=60.0, metavar="MINUTES", help="to measure for, at most (default: 60)"
    )
    parser.add_argument(
        "--machine", metavar="NAME", help="the machine's name in results/ (default: the host's)"
    )
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write the verdicts as Markdown")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the verdicts as JUnit XML")


def run(given: argparse.Namespace) -> int:
    """Build, measure, judge; 0 nothing worse, 1 something worse, 2 something could not be measured."""
    from ..tracking import gate, gate_report, sides, track

    root = find_ruler(Path.cwd())
    question = _question(given)
    commits = {name: sides.find_commit(root, getattr(given, name)) for name in gate.SIDES}
    notes = _dirty(sides.changed_files(root))
    for note in notes:
        say(note)
    machine = track.machine_entry(given.machine, ruler("machine").gpus())
    folder = _folder(track.results_folder(root), machine)
    base = sides.build(root, gate.BASE, commits[gate.BASE], "", say)
    head = sides.build(root, gate.HEAD, commits[gate.HEAD], "-head", say, base.python_build)
    built = {gate.BASE: base, gate.HEAD: head}
    begin = ruler("record").now()
    name = f"{commits[gate.BASE][:8]}-{commits[gate.HEAD][:8]}-{begin.translate(_FILE_NAME)}"
    records = _Records(built, folder / f"{name}.jsonl")
    outcome = gate.run_gate(question, records.measure, say)
    notes += sides.differences(base, head) + records.differences()
    facts = commits | {"machine": machine["machine"], "measured_at": begin, **provenance(), "notes": notes}
    content = gate_report.content(outcome, facts)
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    if given.summary:
        given.summary.write_text(gate_report.markdown(content))
    if given.junit:
        given.junit.write_text(gate_report.junit(content))
    print(gate_report.table(content))
    print(json.dumps(content))
    return gate_report.exit_code(content)


_FILE_NAME = str.maketrans({":": None, "-": None, "+": "Z"})


def _question(given: argparse.Namespace) -> Any:
    from ..tracking.gate import Question
    from ..tracking.verdict import THRESHOLD

    labels, metrics = ruler("record").LABELS, ruler("metrics").METRICS
    exact = frozenset(name for name, metric in metrics.items() if metric.exact)
    paths = _listed(given.paths, labels, "path") or list(labels)
    for path in paths if given.paths else ():
        if reason := find_transport(path).absent(bool(ruler("machine").gpus())):
            raise ConfigurationError(f"the path {path!r} cannot be taken here: {reason}")
    if given.metrics == "all":
        judged = list(metrics)
    else:
        judged = _listed(given.metrics, metrics, "metric") or [_PRIMARY, *sorted(exact)]
    own = dict(_threshold(text, metrics) for text in given.threshold)
    timing = own.pop("", THRESHOLD)
    thresholds = {name: own.get(name, 0.0 if name in exact else timing) for name in judged}
    for option in ("summary", "junit"):
        file = getattr(given, option)
        if file and not file.parent.is_dir():
            raise ConfigurationError(f"--{option} is {file}; there is no folder {file.parent}")
        if file and file.is_dir():
            raise ConfigurationError(f"--{option} is {file}; that is a folder, and a file is wanted")
    if not 0 < given.budget < math.inf:
        raise ConfigurationError(f"--budget is {given.budget:g}; it must be a number above 0 minutes")
    return Question(paths, thresholds, exact & set(judged), given.budget * 60)


def _listed(text: str | None, known: Mapping[str, Any], what: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))
    for name in names:
        if name not in known:
            raise ConfigurationError(f"unknown {what} {name!r}; known: {', '.join(known)}")
    return names


def _threshold(text: str, metrics: Mapping[str, Any]) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    if name and name not in metrics:
        raise ConfigurationError(f"unknown metric {name!r}; known: {', '.join(metrics)}")
    try:
        share = float(value.rstrip("% ")) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share < 10:
        raise ConfigurationError(f"--threshold is {text!r}; give a percentage such as 3 or wire_bytes=1")
    return name, share


def _dirty(files: Sequence[str]) -> list[str]:
    if not files:
        return []
    own = [file for file in files if file.startswith("benchmarks/")]
    ruled = f"; the ruler is that of the working tree, with {', '.join(own)} changed" if own else ""
    count = f"{len(files)} file{'s' * (len(files) > 1)}"
    return [
        f"the working tree has uncommitted changes ({count}): what is measured is the two commits, "
        f"without them{ruled}"
    ]


def _folder(results: Path, own: Mapping[str, str]) -> Path:
    """Where verdicts of this machine go. Raises ConfigurationError where the name is another machine's."""
    from asv.machine import Machine

    from ..tracking import track

    file = results / own["machine"] / "machine.json"
    if file.exists():
        try:
            known = dict(json.loads(file.read_text()))
        except ValueError as error:
            say(f"damaged and passed over: {file}: {error}")
            known = {}
        for fact in ("arch", "cpu", "num_cpu", "gpu"):
            if fact in known and known[fact] != own.get(fact):
                raise ConfigurationError(
                    f"{file.parent} is of another machine ({fact} {known[fact]}, here "
                    f"{own.get(fact, 'none')}): give this one a --machine NAME of its own"
                )
    track.name_machine(own["machine"], ruler("machine").gpus())
    Machine.load(machine_name=own["machine"]).save(str(results))
    gates = file.parent / "gates"
    gates.mkdir(parents=True, exist_ok=True)
    return gates


class _Records:
    """Measures a side by the ruler, and keeps every record as soon as it is there."""

    def __init__(self, built: Mapping[str, Any], file: Path):
        self._built = built
        self._file = file
        cells = ruler("cells")
        self._preset = cells.TRACKED[bool(ruler("machine").gpus())]
        self._workloads = cells.fixed(self._preset, cells.BATCHES[self._preset])
        self._first: dict[tuple[str, str, int], Any] = {}

    def measure(self, name: str, paths: Sequence[str], seconds_left: float) -> list[Any]:
        """One engine start of each path of a side."""
        cells, side = ruler("cells"), self._built[name]
        records = cells.run_cells(
            self._preset,
            paths,
            self._workloads,
            provenance={**provenance(), "commit": side.commit, "side": name},
            say=lambda text: say(f"{name} {text}"),
            deadline_seconds=min(cells.CELL_DEADLINE_SECONDS, seconds_left),
            interpreter=ruler("process").Interpreter(side.python, side.variables),
        )
        records = [_of_side(record, side) for record in records]
        with self._file.open("a") as file:
            file.write("".join(f"{record.to_json()}\n" for record in records))
        for record in records:
            if record.status == ruler("record").MEASURED:
                self._first.setdefault((name, record.path, record.workload["batch"]), record)
        return records

    def differences(self) -> list[str]:
        """In what the live processes of the two sides differed, other than in speed."""
        work = ruler("record").work
        found: dict[str, list[str]] = {}
        for (name, path, batch), record in self._first.items():
            other = self._first.get(("head", path, batch))
            if name == "base" and other is not None:
                before, after = work(record), work(other)
                for fact in sorted({*before, *after}):
                    if before.get(fact) != after.get(fact):
                        change = f"{fact} {before.get(fact)!r} -> {after.get(fact)!r}"
                        found.setdefault(change, []).append(f"{path} batch {batch}")
        return [f"the engines differ in {change} ({', '.join(cells)})" for change, cells in found.items()]


def _of_side(record: Any, side: Any) -> Any:
    """The record, failed where what it measured did not come from the side's environment."""
    subject = record.observed.get("subject")
    if record.status != ruler("record").MEASURED or Path(subject).resolve().is_relative_to(side.folder):
        return record
    return record.failed(f"measured {subject}, which is not the {side.name}'s environment {side.folder}")
