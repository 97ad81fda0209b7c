"""`rollout-perf upgrade vllm==0.27.0`: is it slower with that package moved? Both locks side by side."""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from ..errors import UsageError
from ..gate import report as gate_report
from ..gate.replicates import BASE, HEAD
from ..history import index
from ..history.environments import find_commit
from ..history.ledger import Entry, Ledger, home
from ..history.ledger import environments as ledger_environments
from ..history.ledgers import name_of
from ..history.locks import pins
from ..measure import machine
from ..measure.alone import alone
from ..measure.tracked import DEFAULT_SET, FLAVOURS, Tracked, read_tracked
from ..measure.workload import Workload
from .answer import answer, answer_arguments
from .checkout import checkout_lock, find_checkout
from .console import say
from .gate import engines_of, judge, judging_arguments, own_options, question_of, verdicts_folder
from .gate_records import lanes_of
from .releases import OLDEST, flavour_argument

_TODAY = "today"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "requirement", metavar="PACKAGE==VERSION", help="a package of the lock, such as vllm or ray"
    )
    flavour_argument(parser)
    judging_arguments(parser)
    answer_arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Resolve, build, measure, judge; 0 nothing worse, 1 something worse, 2 something not measured."""
    root = home(find_checkout("upgrade"))
    asked, version = _asked(given.requirement)
    named = name_of(root, asked, given.flavour)
    requirement = f"{named.package}=={version}"
    lock = (root / "requirements" / f"{named.flavour}.lock").read_text()
    if Version(pins(lock)[named.package].partition("+")[0]) == version:
        raise UsageError(f"the lock has {requirement} already: name another version")
    _check_known(named.package, version)
    tables = _tables(root, given)
    questions = {name: question_of(given, engines) for name, (engines, _loads) in tables.items()}
    lanes = {name: lanes_of(given.at_once, tables[name][0], one) for name, one in questions.items()}
    ledger = Ledger(root, f"upgrade-{named.flavour}", named.package, named.flavour)
    folder = verdicts_folder(ledger.folder, given.machine)
    found, texts = {}, []
    with alone(say, checkout_lock(ledger.folder)), ledger_environments(ledger.folder, given.keep):
        ledger.take_sut(say)
        say(f"{requirement}: resolving the lock with it")
        head = Entry(f"{named.package}-{version}", int(time.time()), requirement, ledger.resolve(requirement))
        if head.reason:
            raise UsageError(f"{requirement} cannot be resolved: {head.reason}")
        ledger.write([Entry(_TODAY, head.published, "the lock of today", lock), head])
        commits = {BASE: find_commit(ledger.folder, _TODAY), HEAD: find_commit(ledger.folder, head.name)}
        for number, (name, measured) in enumerate(tables.items(), 1):
            budget = questions[name].budget_seconds / len(tables)
            say(f"{name}, {number} of {len(tables)}, {budget / 60:.0f} minutes at most")
            question = replace(questions[name], budget_seconds=budget)
            content = judge(ledger.folder, folder, question, measured, commits, lanes[name])
            texts.append(f"{name}: {requirement} against the lock of today\n{gate_report.text(content)}")
            say(f"{name}: {content['verdict']}")
            found[name] = content
    answer(given, "\n\n".join(texts), {"requirement": requirement, "gates": found})
    codes = [gate_report.exit_code(content) for content in found.values()]
    return 1 if 1 in codes else max(codes)


def _asked(text: str) -> tuple[str, Version]:
    """The package and the version. Raises UsageError for anything else."""
    try:
        asked = Requirement(text)
        (one,) = asked.specifier
        if one.operator == "==":
            return asked.name, Version(one.version)
    except (InvalidRequirement, ValueError):
        pass
    raise UsageError(f"{text!r} is no release: give PACKAGE==VERSION, such as vllm==0.27.0")


def _check_known(package: str, version: Version) -> None:
    """Raise UsageError for a release that is too old, or that the index does not have; without a network uv
    says the latter."""
    oldest = OLDEST.get(package)
    if oldest is not None and version < Version(oldest):
        raise UsageError(f"{package}=={version} is older than is supported: name {oldest} or a later release")
    try:
        known = [one.name for one in index.releases_of(package, None, pre=True)]
    except index.Unreachable:
        return
    if str(version) not in known:
        raise UsageError(f"unknown release {package}=={version}; the newest are {', '.join(known[-5:])}")


def _tables(root: Path, given: argparse.Namespace) -> Mapping[str, tuple[Tracked, Sequence[Workload]]]:
    """What is measured, by name: what the options choose, as `gate`'s do, else all that is tracked here."""
    tracked = read_tracked(root)
    chosen = given.tracked is not None or given.workload is not None or given.batch
    if chosen or own_options(given):
        measured = engines_of(given, tracked)
        return {measured[0].name or measured[0].preset: measured}
    here = FLAVOURS[bool(machine.gpus())]
    return {
        name: engines_of(argparse.Namespace(**vars(given) | {"tracked": name}), tracked)
        for name, one in tracked.items()
        if one.flavour == here and one.sets.get(DEFAULT_SET)
    }
