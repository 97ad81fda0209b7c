"""`rollout-perf report A [B]`: the site's answer as text, and what changed from A to B."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import UsageError
from ..history import git
from ..history.detect import find_change_points
from ..history.results import Commit, Results
from ..report.commits import report
from .checkout import kept_results, results_argument


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("commit", metavar="A", help="a commit that has results; or newest")
    parser.add_argument("head", metavar="B", nargs="?", help="a later one: what changed from A to B")
    results_argument(parser)
    parser.add_argument("--machine", metavar="NAME", help="of results/ (default: all of them)")
    parser.add_argument("--metric", default="step_seconds", help="default: step_seconds")
    parser.add_argument("--markdown", action="store_true", help="as Markdown, for a pull request")


def run(given: argparse.Namespace) -> int:
    """Print the report."""
    kept = kept_results(given.results)
    results = kept.read()
    if given.machine is not None:
        results = _of_machine(results, given.machine)
    metrics = sorted({name for point in results.points for name in point.record.metrics})
    if given.metric not in metrics:
        raise UsageError(f"no record has the metric {given.metric!r}; there are: {', '.join(metrics)}")
    measured = list(dict.fromkeys(point.commit for point in results.points))
    named = [given.commit] if given.head is None else [given.commit, given.head]
    commits = [_find(kept.root, name, measured) for name in named]
    points = find_change_points(results, kept.root, [given.metric])
    print(report(results, commits, points, given.markdown, given.metric))
    return 0


def _of_machine(results: Results, machine: str) -> Results:
    if machine not in results.machines:
        raise UsageError(f"no machine {machine!r} in results/; there are: {', '.join(results.machines)}")
    points = [point for point in results.points if point.machine == machine]
    if not points:
        raise UsageError(
            f"no record of the machine {machine!r} was read: `rollout-perf track` measures there"
        )
    return replace(results, points=points, pipes=[pipe for pipe in results.pipes if pipe.machine == machine])


def _find(root: Path | None, name: str, measured: Sequence[Commit]) -> Commit:
    """The measured commit that is meant: newest, a hash or its beginning, or what git understands."""
    if name == "newest":
        return measured[-1]
    wanted = name
    if root is not None:
        wanted = git.answer(root, "rev-parse", "--verify", "--quiet", given=[f"{name}^{{commit}}"]) or name
    found = [commit for commit in measured if len(wanted) >= 4 and commit.hash.startswith(wanted)]
    if len(found) != 1:
        recent = ", ".join(commit.hash[:8] for commit in measured[-5:])
        raise UsageError(f"{name!r} has no results; the newest commits that have: {recent}")
    return found[0]
