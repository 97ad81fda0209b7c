"""The site's answer as text: for a commit, or for two and what changed between them. Pure.

    report(results, commits=[newest], markdown=False)

Plain text fits a terminal; Markdown is for pull requests and issues.
"""

import textwrap
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from ..history.detect import Step
from ..history.results import Commit, Results
from ..schema.metrics import title
from .answer import REFERENCE, STEP_TIME, Answer, answers, sentence
from .table import WIDTH, Value, interval, number, pipe_table, ratio

_ONE_START = (
    "One engine start a path: intervals hold what differs from rollout to rollout, not from start to start."
)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ")


def _one_start(results: Results, commit: Commit) -> bool:
    points = [point for point in results.points if point.commit == commit]
    return any(point.record["observed"].get("engine_starts") == 1 for point in points)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def report(
    results: Results,
    commits: Sequence[Commit],
    steps: Sequence[Step] = (),
    markdown: bool = False,
    metric: str = STEP_TIME,
) -> str:
    """What was measured at the last of `commits`, and against the first where there are two."""
    head = commits[-1]
    base = commits[0] if len(commits) > 1 else None
    heading = f"commit {head}" if base is None else f"commit {head}, against {base}"
    parts = [f"## {_escaped(heading)}" if markdown else heading]
    now = answers(results, metric, head)
    then = {} if base is None else {(a.group, a.batch): a for a in answers(results, metric, base)}
    if not now:
        parts.append(f"{title(metric)} was not measured at {head.hash[:8]}.")
    for group in dict.fromkeys(answer.group for answer in now):
        some = [answer for answer in now if answer.group == group]
        parts.append(f"### {_escaped(str(group))}" if markdown else str(group))
        said = [f"batch {answer.batch}: {sentence(answer, metric)}" for answer in some]
        parts.append("\n".join(f"- {_escaped(line)}" if markdown else _wrapped(line) for line in said))
        table = _table(some, then, base, metric, markdown)
        parts.append(table)
    if now and _one_start(results, head):
        parts.append(_escaped(_ONE_START) if markdown else _wrapped(_ONE_START))
    for pipe in [pipe for pipe in results.pipes if pipe.commit == head][-1:]:
        text = pipe_table(pipe.result)
        parts.append(f"The pipe alone:\n\n```\n{text}\n```" if markdown else f"the pipe alone\n{text}")
    found = [step for step in steps if step.first == head]
    if found:
        parts.append(_steps(found, markdown))
    missing = _missing(results, head)
    if missing:
        parts.append(_listed("Without values", missing, markdown))
    if results.damaged:
        parts.append(_listed("Damaged and passed over", [str(one) for one in results.damaged], markdown))
    return "\n\n".join(parts)


def _table(
    now: Sequence[Answer], then: Mapping[tuple, Answer], base: Commit | None, metric: str, markdown: bool
) -> str:
    """A row a path and batch, fastest first; with a base, what changed since."""
    titles = ["batch", "path", f"{title(metric)} [99 %]", f"ratio to {REFERENCE}"]
    if base is not None:
        titles += [f"ratio to {base.hash[:8]}", ""]
    rows = []
    for answer in now:
        old = then.get((answer.group, answer.batch))
        before = {one.path: one.value for one in old.standings} if old else {}
        for standing in answer.standings:
            against = standing.against_reference
            own = "reference" if standing.path == REFERENCE else "" if against is None else interval(against)
            row = [str(answer.batch), standing.path, interval(standing.value, metric), own]
            if base is not None:
                row += _since(standing.value, before.get(standing.path))
            rows.append(row)
    shown = [[_escaped(cell) for cell in row] for row in rows] if markdown else rows
    style = "pipe" if markdown else "plain"
    return tabulate(shown, titles, tablefmt=style, disable_numparse=True, colalign=("right",))


def _since(value: Value, before: Value | None) -> list[str]:
    """Ratio to an earlier value, and in a word what it says."""
    if before is None:
        return ["not measured there", ""]
    change = ratio(value, before)
    if change[1] <= 1 <= change[2]:
        word = "cannot tell"
    else:
        word = "worse" if change[0] > 1 else "better"
    return [interval(change), word]


def _steps(steps: Sequence[Step], markdown: bool) -> str:
    lines = [
        f"{step.key.path} batch {step.key.batch}, {title(step.metric)}: "
        f"{'worse' if step.worse else 'better'}, {number(step.ratio)} times; confirm: {step.confirm}"
        for step in steps
    ]
    return _listed("Detected steps that begin here", lines, markdown)


def _missing(results: Results, commit: Commit) -> list[str]:
    """Cells of the commit that have no values, and the first line of why."""
    return [
        f"{point.record['path']} batch {point.record['workload']['batch']} on {point.machine}: "
        f"{point.record['status']}: {(point.record.get('reason') or 'no reason was given').splitlines()[0]}"
        for point in results.points
        if point.commit == commit and point.record["status"] != "measured"
    ]


def _listed(heading: str, lines: Sequence[str], markdown: bool) -> str:
    if markdown:
        return "\n".join([f"**{heading}**", "", *(f"- {_escaped(line)}" for line in lines)])
    return "\n".join([f"{heading}:", *(f"  {line}" for line in lines)])
