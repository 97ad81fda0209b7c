"""Results in the order of the history, and what is to be known where git does not give it.

    results = read_in_order(Path("results"), root)
    for line in results.warnings: ...

Starts nothing but git.
"""

from dataclasses import replace
from pathlib import Path

from .. import git
from .results import Commit, Results, history, read_results

_BY_DATE = "commits are in the order of asv's dates"
_SHOWN = 5


def read_in_order(folder: Path, root: Path | None) -> Results:
    """Everything in a folder of results, with warnings of its order. `root` is the checkout, if any."""
    commits = [] if root is None else history(root)
    warning, whole = _warning(root, commits)
    results = read_results(folder, commits, whole)
    found = [warning, _unordered(results)]
    return replace(results, warnings=[line for line in found if line is not None])


def _warning(root: Path | None, commits: list[Commit]) -> tuple[str | None, bool]:
    """Why git does not give the order and what follows; and whether the commits are all of the history."""
    if root is None:
        return f"there is no checkout of rollout-perf from {Path.cwd()} upwards: {_BY_DATE}", True
    if not commits:
        refused = git.refusal(root) or "it names no commit"
        return (
            f"git gives no history of {root} ({refused}): {_BY_DATE}, and what locks changed is unknown",
            True,
        )
    if git.answer(root, "rev-parse", "--is-shallow-repository") == "true":
        have = f"{len(commits)} commit{'s' * (len(commits) > 1)}"
        return f"{root} is a shallow clone, of {have} (git fetch --unshallow): {_BY_DATE}", False
    return None, True


def _unordered(results: Results) -> str | None:
    """What has no place in the history."""
    if not results.unordered:
        return None
    names = sorted(commit.hash[:8] for commit in results.unordered)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    records = sum(point.commit in results.unordered for point in results.points)
    return (
        f"not judged, since neither git nor asv's files say when it was: {records} record"
        f"{'s' * (records != 1)} of {', '.join(names[:_SHOWN])}{more}"
    )
