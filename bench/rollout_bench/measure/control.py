"""The control: a pinned build, of which `vllm-mp` is a contestant of every session that is tracked.

A host that others share is faster one day than another, and so is one engine start than another. Two commits
that were measured days apart are compared by their ratios to the same control, each of one session. The file
control.toml of the checkout says which build it is. Standard library only, as all that asv's own process
runs.
"""

import math
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from .. import git
from ..errors import BenchError
from ..schema import variables
from ..schema.metrics import CONTROL_RATIO, ENGINE_STEP, PARTS, STEP
from ..schema.record import MEASURED, REFERENCE, Record
from ..stats.rounds import hodges_lehmann
from . import machine
from .process import Interpreter
from .session import Contestant

FILE = "control.toml"

BUILD = "control"
"""What the build is called, with the number of its place in the file behind it."""


class NoControl(BenchError):
    """There is no control to measure with; the message says why."""


def find_controls(
    root: Path,
    measured: str,
    inherited: dict[str, str],
    say: Callable[[str], None],
    records: Path | None = None,
) -> list[Contestant]:
    """The controls that control.toml names, the one that counts first; made where they are not there.

    `root` is the checkout, `measured` the commit under measurement: where the lock of both is the same, both
    use its environment, which is this Python's. `inherited` are the environment variables of what is
    measured, `records` the folder of this machine's: the previous control, which costs an engine more, is
    measured where there are ratios to it. Raises NoControl.
    """
    first, *previous = _commits(root)
    needed = [first, *(commit for commit in previous if _counts(commit, records))]
    return [
        _contestant(root, commit, f"{BUILD}{place}", measured, inherited, say)
        for place, commit in enumerate(needed)
    ]


def _counts(commit: str, records: Path | None) -> bool:
    """Whether there is a record with a ratio to this commit."""
    wanted = f'"control": {{"commit": "{commit}'
    return records is not None and any(wanted in file.read_text() for file in records.glob("*.jsonl"))


def with_ratios(records: Sequence[Record]) -> list[Record]:
    """The records that are not controls', each with its ratio to the control of its session, if there is one.

    The metric `control_ratio` has one value, the Hodges-Lehmann estimate of its rounds'. observed["control"]
    has the control's commit, lock, step times and what explains them, and where a previous control was
    measured too, the "link" to that one.
    """
    controls: dict[tuple[str, str], dict[str, Record]] = {}
    for record in records:
        if is_control(record) and record.status == MEASURED:
            controls.setdefault(_work(record), {})[record.provenance["side"]] = record
    found = []
    for record in records:
        if is_control(record):
            continue
        there = controls.get(_work(record), {})
        first, previous = there.get(f"{BUILD}0"), there.get(f"{BUILD}1")
        if record.status == MEASURED and first is not None:
            facts = _facts(first) | {"metrics": _explaining(first)}
            if previous is not None:
                facts["link"] = _facts(previous) | {"ratio": _ratios(first, previous)}
            record = replace(
                record,
                metrics=record.metrics
                | {CONTROL_RATIO: [math.exp(hodges_lehmann([*map(math.log, _ratios(record, first))]))]},
                observed=record.observed | {"control": facts},
            )
        found.append(record)
    return found


def is_control(record: Record) -> bool:
    """Whether a record is a control's and not of what is measured."""
    return str(record.provenance.get("side", "")).startswith(BUILD)


def _work(record: Record) -> tuple[str, str]:
    return record.provenance.get("session", ""), record.workload["fingerprint"]


def _facts(control: Record) -> dict[str, Any]:
    return {name: control.provenance[name] for name in ("commit", "lock")}


def _explaining(control: Record) -> dict[str, list[float]]:
    """Its step times by round, and of what explains them."""
    names = dict.fromkeys(
        (STEP, ENGINE_STEP, *(one for both in PARTS.values() for some in both for one in some))
    )
    return {name: control.metrics[name] for name in names if name in control.metrics}


def _ratios(record: Record, other: Record) -> list[float]:
    """Of the step times, round by round.

    A control of another path is as measured: what it is corrected by, where the commit's own engine of its
    path is in the session too, is of these two alone.
    """
    its = other.comparable(STEP) if other.way == record.way else other.metrics[STEP]
    return [one / another for one, another in zip(record.comparable(STEP), its, strict=True)]


def _commits(root: Path) -> list[str]:
    """The control's commit and the one before it, each by its whole hash where git knows it."""
    file = root / FILE
    try:
        content = tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise NoControl(f"{file} cannot be read: {error}") from None
    commits = content.get("commits")
    if not (isinstance(commits, list) and 1 <= len(commits) <= 2) or not all(
        isinstance(one, str) and re.fullmatch("[0-9a-f]{7,40}", one) for one in commits
    ):
        raise NoControl(f"{file}: commits is {commits!r}; give one or two hashes, the control's first")
    home, asked = file.resolve().parent, ["rev-parse", "--verify", "--quiet"]
    return [git.answer(home, *asked, given=[f"{one}^{{commit}}"]) or one for one in commits]


def _contestant(
    root: Path,
    commit: str,
    build: str,
    measured: str,
    inherited: dict[str, str],
    say: Callable[[str], None],
) -> Contestant:
    home = (root / FILE).resolve().parent  # a ledger of releases has the file of the checkout around it
    folder = home / ".asv" / "control" / commit
    source = folder / "source"
    if not source.exists() and not git.export(home, commit, source):
        why = git.refusal(home) or f"this repository has no commit {commit}"
        raise NoControl(f"git gives no control: {why}")
    lock = f"requirements/{'cuda' if machine.gpus() else 'cpu'}.lock"
    own = (source / lock).read_text()
    lent = "ASV_PYTHONPATH" in inherited
    if lent and root.resolve() != home and variables.CONTROL_PACKAGES not in inherited:
        raise NoControl(
            "ASV_PYTHONPATH lends the packages of a release, and the control's must stay the same: "
            f"name a folder of them in {variables.CONTROL_PACKAGES}"
        )
    if lent or own.strip() == git.answer(root, "show", given=[f"{measured}:{lock}"]):
        packages = inherited.get(variables.CONTROL_PACKAGES) or inherited.get("PYTHONPATH")
        path = os.pathsep.join(filter(None, [str(source), packages]))
        interpreter = Interpreter(sys.executable, inherited | {"PYTHONPATH": path})
    else:
        interpreter = Interpreter(str(_install(home, folder, say)), inherited)
    provenance = {"commit": commit, "lock": sha256(own.encode()).hexdigest()[:12]}
    return Contestant(REFERENCE, build, interpreter, provenance)


def _install(root: Path, folder: Path, say: Callable[[str], None]) -> Path:
    """The Python of an environment that holds the control and its lock."""
    environment = folder / "environment"
    python = environment / "bin" / "python"
    say("control: installing its lock, which differs")
    try:
        if not python.exists():
            _call([sys.executable, "-m", "venv", str(environment)])
        install = [sys.executable, str(root / "requirements" / "install.py"), "--python", str(python)]
        source = folder / "source"
        _call([*install, "--locks", str(source / "requirements"), "--editable", str(source)])
    except subprocess.CalledProcessError as error:
        raise NoControl(f"the control cannot be installed: {error.stdout.decode()[-300:]}") from None
    return python


def _call(command: list[str]) -> None:
    subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
