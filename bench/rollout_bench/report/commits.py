"""The site's answer as text: for a commit, or for two and what changed between them. Pure.

    report(results, commits=[newest], markdown=False)

Plain text fits a terminal; Markdown is for pull requests and issues.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..history.detect import ChangePoint
from ..history.results import Commit, Results, key_of
from ..schema.metrics import CONTROL_RATIO, is_worse, title
from ..schema.metrics import metric as metric_facts
from ..schema.record import MEASURED
from .answer import STEP_TIME, Answer, answers, sentence
from .change_points import NO_COMMAND
from .estimate import Estimate, ratio
from .footnotes import Footnotes
from .names import Group, series_name
from .numbers import change, interval
from .pipe import pipe_table
from .ratios import ratio_table
from .reasons import first_line
from .table import escaped, items, listed, table, wrapped


def report(
    results: Results,
    commits: Sequence[Commit],
    points: Sequence[ChangePoint] = (),
    markdown: bool = False,
    metric: str = STEP_TIME,
) -> str:
    """What was measured at the last of `commits`, and against the first where there are two."""
    head = commits[-1]
    base = commits[0] if len(commits) > 1 else None
    heading = f"commit {head}" if base is None else f"commit {head}, against {base}"
    parts = [f"## {escaped(heading)}" if markdown else heading]
    now = answers(results, metric, head)
    then = {} if base is None else {(a.group, a.batch): a for a in answers(results, metric, base)}
    over = [
        {(a.group, a.batch): a.values for a in answers(results, CONTROL_RATIO, commit)}
        if commit is not None and metric == STEP_TIME
        else {}
        for commit in (head, base)
    ]
    if not now:
        parts.append(f"{title(metric)} was not measured at {head.hash[:8]}.")
    notes = Footnotes()
    for group in dict.fromkeys(answer.group for answer in now):
        some = [answer for answer in now if answer.group == group]
        parts.append(f"### {escaped(str(group))}" if markdown else str(group))
        said = [f"batch {answer.batch}: {sentence(answer, metric, notes)}" for answer in some]
        parts.append("\n".join(items(said) if markdown else map(wrapped, said)))
        parts.append(_table(some, then, over, base, metric, markdown, notes))
        parts += _sessions(some, metric, markdown)
    if base is not None and now and not metric_facts(metric).exact:
        judge = f"`rollout-perf gate {base.hash[:8]} {head.hash[:8]}`"
        apart = f"the commits were measured apart, so that nothing is judged; side by side: {judge}"
        if any(over[0].values()):
            apart = f"what is over the control's `rollout-perf detect` judges along the history; else {apart}"
        parts.append(escaped(apart) if markdown else wrapped(apart))
    if lines := notes.lines():
        parts.append("\n".join(items(lines) if markdown else map(wrapped, lines)))
    for pipe in [pipe for pipe in results.pipes if pipe.commit == head][-1:]:
        text = pipe_table(pipe.result)
        parts.append(f"```\n{text}\n```" if markdown else text)
    found = [point for point in points if point.first == head]
    if found:
        parts.append(_change_points(found, markdown))
    missing = _missing(results, head)
    if missing:
        parts.append(listed("Without values", missing, markdown))
    if results.damaged:
        parts.append(listed("Damaged and passed over", results.damaged_lines(), markdown))
    return "\n\n".join(parts)


def as_json(
    results: Results, commits: Sequence[Commit], points: Sequence[ChangePoint], metric: str
) -> dict[str, Any]:
    """What `report` shows of cases, for programs: base units, bounds None where there is no interval."""

    def value(one: Estimate) -> dict[str, Any]:
        bounds = [one.low, one.high] if one.has_interval else None
        known = {"replicates": one.replicates, "warnings": one.warnings}
        return {"value": one.middle, "interval": bounds, **known}

    return {
        "metric": metric,
        "commits": [
            {
                "commit": commit.hash,
                "cases": [
                    {
                        **one.group._asdict(),
                        "batch": one.batch,
                        "paths": {path: value(its) for path, its in one.values.items()},
                        "side_by_side": None if one.sessions is None else asdict(one.sessions),
                    }
                    for one in answers(results, metric, commit)
                ],
            }
            for commit in commits
        ],
        "change_points": [
            asdict(point) | {"key": point.key._asdict()} for point in points if point.first == commits[-1]
        ],
        "missing": _missing(results, commits[-1]),
    }


def _table(
    now: Sequence[Answer],
    then: Mapping[tuple[Group, int], Answer],
    over: Sequence[Mapping[tuple[Group, int], Mapping[str, Estimate]]],
    base: Commit | None,
    metric: str,
    markdown: bool,
    notes: Footnotes,
) -> str:
    """A row a path and batch, the best first; with a base, the ratio to its value.

    `over` has ratios to the control, at the last commit and at the base: if both, the ratio is of them.
    """
    exact = metric_facts(metric).exact
    titles = ["batch", "path", f"{title(metric)}{'' if exact else ' [99 %]'}"]
    several = any(value.replicates > 1 for one in now for value in one.values.values())
    titles += ["replicates"] * several
    cases = [((one.group, one.batch), path, value) for one in now for path, value in one.values.items()]
    ratios = [[some.get(case, {}).get(path) for some in over] for case, path, _value in cases]
    controlled = any(new for new, _old in ratios)
    if controlled:
        titles.append("over the control's [99 %]")
    if base is not None:
        titles += [f"ratio to {base.hash[:8]}", ""]
    rows = []
    for (case, path, value), (new, old) in zip(cases, ratios, strict=True):
        row = [str(case[1]), path, interval(value, metric) + notes.mark(value)]
        row += [str(value.replicates)] * several
        if controlled:
            row.append(interval(new, CONTROL_RATIO) + notes.mark(new) if new else "")
        if base is not None:
            alone = value, then[case].values.get(path) if case in then else None
            pair = (new, old) if new and old else alone
            row += _since(*pair, metric, notes)
        rows.append(row)
    caption = "each case by itself, with its spread; only rounds side by side say which path is faster"
    return table(titles, rows, right=[0], markdown=markdown, caption=caption)


def _since(value: Estimate, before: Estimate | None, metric: str, notes: Footnotes) -> list[str]:
    """Ratio to an earlier value, and in a word what it says: of values that were measured apart nothing."""
    if before is None:
        return ["not measured there", ""]
    against = ratio(value, before)
    if against is None:
        return ["0 there", ""]
    if against.warnings or not metric_facts(metric).exact:
        word = "not judged"
    elif against.middle == 1:
        word = "same"
    else:
        word = "worse" if is_worse(against.middle, metric) else "better"
    return [interval(against) + notes.mark(against, marked=[value]), word]


def _sessions(some: Sequence[Answer], metric: str, markdown: bool) -> list[str]:
    """What sessions say of the paths: a table for each reference."""
    by_reference: dict[str, list[Any]] = {}
    for answer in some:
        if answer.sessions is not None:
            by_reference.setdefault(answer.sessions.reference, []).extend(answer.sessions.rows)
    tables = [ratio_table(rows, reference, metric) for reference, rows in by_reference.items()]
    return [f"```\n{one}\n```" if markdown else one for one in tables]


def _change_points(points: Sequence[ChangePoint], markdown: bool) -> str:
    lines = [
        f"{series_name(point.key)}, {title(point.metric)}: "
        f"{'worse' if point.worse else 'better'}{'' if point.state == 'lasting' else f' ({point.state})'}, "
        f"{change(point.ratio)}; "
        f"confirm: {point.confirm or NO_COMMAND}"
        for point in points
    ]
    return listed("Change points here", lines, markdown)


def _missing(results: Results, commit: Commit) -> list[str]:
    """Cells of the commit that have no values, and the first line of why."""
    return [
        f"{series_name(key_of(point))}: {point.record.status}: {first_line(point.record.reason)}"
        for point in results.points
        if point.commit == commit and point.record.status != MEASURED
    ]
