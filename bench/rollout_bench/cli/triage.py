"""`rollout-perf triage`: all regressions, and what is decided of one, kept in results/triage.json."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from .. import git
from ..errors import UsageError, meant
from ..history.detect import find_change_points
from ..history.findings import Finding, findings
from ..history.triage import FILE, Decision, State, read_triage, write_triage
from ..measure.alone import only_writer
from ..report.findings import findings_table
from .answer import answer, answer_arguments
from .checkout import kept_results, results_argument
from .console import say
from .outputs import check_file


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="a regression, as `triage` alone names it")
    decided = parser.add_mutually_exclusive_group()
    decided.add_argument("--acknowledged", action="store_true", help="it is known, and still open")
    decided.add_argument("--expected", action="store_true", help="an accepted cost: no longer open")
    decided.add_argument("--fixed-by", metavar="COMMIT", help="fixed by that commit: no longer open")
    decided.add_argument("--reopen", action="store_true", help="forget what was decided")
    parser.add_argument("--note", metavar="TEXT", help="why, for whoever reads the site")
    results_argument(parser)
    answer_arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Keep the decision, and list what there is."""
    kept = kept_results(given.results)
    decided = given.acknowledged or given.expected or given.fixed_by or given.reopen
    if bool(given.name) != bool(decided):
        raise UsageError(
            "a NAME takes --acknowledged, --expected, --fixed-by COMMIT or --reopen, and they a NAME"
        )
    points = find_change_points(kept.read(), kept.root)
    if given.name:
        check_file("the file of decisions", kept.folder / FILE)
        with only_writer(say, (kept.folder / FILE).with_suffix(".lock")):
            decisions = read_triage(kept.folder)
            worse = [one for one in findings(points, decisions) if one.worse]
            name = _named(given.name, worse, list(decisions))
            decisions.pop(name, None)
            if not given.reopen:
                decisions[name] = _decision(given, kept.root)
            write_triage(kept.folder, decisions)
    found = [one for one in findings(points, read_triage(kept.folder)) if one.worse]
    state = {one.name: None if one.decision is None else one.decision.state for one in found}
    content = {"open": [one.name for one in found if one.is_open], "regressions": state}
    answer(given, findings_table(found), content)
    return 0


def _named(name: str, found: Sequence[Finding], decided: Sequence[str]) -> str:
    """The name, if there is such a regression or decision; else raises UsageError."""
    known = list(dict.fromkeys([*(one.name for one in found), *decided]))
    if name not in known:
        near = meant(name, known)
        raise UsageError(f"no regression {name!r}{near}; there are: {', '.join(known) or 'none'}")
    return name


def _decision(given: argparse.Namespace, root: Path | None) -> Decision:
    state: State = "fixed" if given.fixed_by else "expected" if given.expected else "acknowledged"
    commit = given.fixed_by
    if commit and root is not None:
        commit = git.answer(root, "rev-parse", "--verify", "--quiet", given=[f"{commit}^{{commit}}"])
        if commit is None:
            raise UsageError(f"--fixed-by is {given.fixed_by!r}, which is no commit here")
    return Decision(state, datetime.now(UTC).date().isoformat(), given.note, commit and commit[:8])
