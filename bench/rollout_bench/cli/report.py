"""`rollout-perf report A [B]`: the site's answer as text, and what changed from A to B."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .. import git
from ..errors import UsageError, meant
from ..history.detect import find_change_points
from ..history.results import Commit
from ..report.commits import as_json, report
from .answer import answer, answer_arguments
from .checkout import kept_results, results_argument
from .console import say
from .names import MANY, listed


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("commit", metavar="A", help="a commit that has results; or newest")
    parser.add_argument("head", metavar="B", nargs="?", help="a later one: what changed from A to B")
    results_argument(parser)
    parser.add_argument(
        "--machine", action="extend", type=listed(), metavar="NAME", help=f"{MANY} (default: all)"
    )
    parser.add_argument("--metric", default="step_seconds", help="what to show (default: step_seconds)")
    parser.add_argument("--markdown", action="store_true", help="as Markdown, for a pull request")
    answer_arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Print the report."""
    kept = kept_results(given.results)
    results = kept.read()
    if given.machine:
        for name in given.machine:
            if name not in results.machines:
                known = ", ".join(results.machines)
                near = meant(name, results.machines)
                raise UsageError(f"no machine {name!r}{near} in results/; there are: {known}")
        results = results.of_machines(given.machine)
        if not results.points and not results.outside:
            raise UsageError(
                f"no record of {', '.join(given.machine)} was read: `rollout-perf track` measures there"
            )
    points = find_change_points(results, kept.root, [given.metric])
    if line := results.outside_line():
        say(line)
    measured = list(dict.fromkeys(point.commit for point in results.points))
    named = [given.commit] if given.head is None else [given.commit, given.head]
    commits = [_find(kept.root, name, measured, results.outside_commits) for name in named]
    for commit in dict.fromkeys(commits):
        if commit not in measured:
            results = results.with_outside(commit)
    metrics = sorted({name for point in results.points for name in point.record.metrics})
    if given.metric not in metrics:
        near = meant(given.metric, metrics)
        raise UsageError(f"no record has the metric {given.metric!r}{near}; there are: {', '.join(metrics)}")
    text = report(results, commits, points, given.markdown, given.metric)
    answer(given, text, as_json(results, commits, points, given.metric))
    return 0


def _find(root: Path | None, name: str, measured: Sequence[Commit], outside: Sequence[Commit]) -> Commit:
    """The measured commit that is meant: newest, a hash or its beginning, or what git understands.

    A commit that is not in the history is found by its hash; it is never the newest.
    """
    if name == "newest" and measured:
        return measured[-1]
    wanted = name
    if root is not None:
        wanted = git.answer(root, "rev-parse", "--verify", "--quiet", given=[f"{name}^{{commit}}"]) or name
    found = [
        commit for commit in (*measured, *outside) if len(wanted) >= 4 and commit.hash.startswith(wanted)
    ]
    if len(found) != 1:
        recent = ", ".join(commit.hash[:8] for commit in measured[-5:]) or "none in this history"
        raise UsageError(f"{name!r} has no results; the newest commits that have: {recent}")
    return found[0]
