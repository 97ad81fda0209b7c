"""`rollout-perf detect`: every change point in results/, up and down; tables, or JSON."""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from ..errors import UsageError, meant
from ..history.detect import judging, metrics_of
from ..history.findings import findings
from ..history.forks import uncollected
from ..history.triage import read_triage
from ..report.change_points import change_points_table
from ..schema.metrics import METRICS
from .answer import answer, answer_arguments
from .checkout import kept_results, results_argument
from .console import say
from .names import MANY, listed


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    for name in ("machine", "metric"):
        parser.add_argument(
            f"--{name}", action="extend", type=listed(), metavar="NAME", help=f"{MANY} (default: all)"
        )
    results_argument(parser)
    answer_arguments(parser)


@uncollected()
def run(given: argparse.Namespace) -> int:
    """Find the change points and show them; 1 where a regression is open: more than one commit shows it, and
    nobody has decided that it is expected or fixed."""
    kept = kept_results(given.results)
    results = kept.read()
    measured = metrics_of(results)
    known = [*METRICS, *(name for name in measured if name not in METRICS)]
    metrics = _chosen("metric", given.metric, known)
    machines = _chosen("machine", given.machine, list(results.machines))
    results = results.of_machines(machines)
    if line := results.outside_line():
        say(line)
    if not results.points:
        raise UsageError(
            f"no record of {', '.join(machines)} was read from {kept.folder}: measure there first"
        )
    if not results.ordered().points:
        raise UsageError("nothing can be judged: no commit has a place in git's history or a date of asv's")
    wanted = [name for name in metrics if name in measured]
    with judging(results, kept.root, wanted) as judged:
        found, short, series = judged().change_points, judged().short, judged().series
    read = {
        "records": len(results.points),
        "commits": len({point.commit.hash for point in results.points}),
        "series": series,
        "folder": str(kept.folder),
        "warnings": list(results.warnings),
    }
    line = "read: {records} records of {commits} commits, {series} series, from {folder}".format(**read)
    content = {
        "change_points": [asdict(one) | {"key": one.key._asdict()} for one in found],
        "short": dict(sorted(Counter(one.points for one in short).items())),
        "damaged": [str(damage) for damage in results.damaged],
        "read": read,
        "outside": [commit.hash for commit in results.outside_commits],
    }
    answer(given, f"{change_points_table(found, short, results)}\n\n{line}", content)
    return 1 if any(one.is_open for one in findings(found, read_triage(kept.folder))) else 0


def _chosen(what: str, given: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    for name in given or ():
        if name not in known:
            raise UsageError(
                f"no results of the {what} {name!r}{meant(name, known)}; known: {', '.join(known)}"
            )
    return list(dict.fromkeys(given or known))
