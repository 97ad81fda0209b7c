"""A gate's verdicts as JSON, table, Markdown and JUnit XML. Pure: one content in, text out.

The content is what results/MACHINE/gates/*.json holds, and what `--json` prints.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..report.names import work_name
from ..report.numbers import change, change_interval, quantity
from ..report.parts import explained
from ..report.reasons import first_line
from ..report.table import in_xml, items, table
from ..schema.metrics import metric
from ..schema.record import ABSENT, FAILED
from ..stats.paired import BETTER, CANNOT_TELL, SAME, WORSE
from .replicates import BASE, HEAD, Case
from .sessions import Outcome
from .verdicts import Verdict

SCHEMA = 1
NOTHING = "nothing measured"
_OVERALL = (WORSE, FAILED, BETTER, CANNOT_TELL, SAME)
_COLUMNS = (
    "path",
    "workload",
    "batch",
    "metric",
    "verdict",
    "base",
    "head",
    "change",
    "interval",
    "would see",
)
_RIGHT = (2, 5, 6, 7, 9)
_CAPTION = (
    "change is head against base, on this machine alone; the intervals hold all together with 95 %; "
    "would see: the smallest slowdown that as many sessions would have called worse in 9 of 10 gates"
)


def content(outcome: Outcome, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything a gate has to say. `facts` are base, head, machine, measured_at, command, notes, and
    where the commits have better names than their hashes, names."""
    verdicts = [_row(verdict) for verdict in outcome.verdicts]
    return {
        "schema": SCHEMA,
        **facts,
        "verdict": overall(verdicts),
        "sessions": outcome.sessions,
        "at_once": outcome.at_once,
        "seconds": round(outcome.seconds, 1),
        "stopped": outcome.stopped,
        "verdicts": verdicts,
    }


def _row(verdict: Verdict) -> dict[str, Any]:
    found = verdict.finding
    return {
        **verdict.case._asdict(),
        "metric": verdict.metric,
        "verdict": verdict.verdict,
        "ratio": found and found.ratio,
        "interval": found and found.interval and list(found.interval),
        "detectable": found and found.detectable,
        "replicates": found.pairs if found else 0,
        "logs": list(verdict.logs),
        "threshold": verdict.threshold,
        "base": verdict.base,
        "head": verdict.head,
        "parts": [asdict(part) for part in verdict.parts],
        "reason": verdict.reason,
    }


def overall(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """The verdict that a gate ends with: the first of worse, failed, better, cannot tell, same."""
    found = {row["verdict"] for row in verdicts}
    return next((verdict for verdict in _OVERALL if verdict in found), NOTHING)


def exit_code(gate: Mapping[str, Any]) -> int:
    """0: nothing worse. 1: something worse beyond its threshold. 2: something could not be measured."""
    return {WORSE: 1, FAILED: 2, NOTHING: 2}.get(gate["verdict"], 0)


def text(gate: Mapping[str, Any]) -> str:
    """For a terminal."""
    rows = table(_COLUMNS, _rows(gate), _RIGHT, caption=_CAPTION)
    return "\n".join([_headline(gate), rows, *_explained(gate), *_reasons(gate), _cost(gate), *gate["notes"]])


def markdown(gate: Mapping[str, Any]) -> str:
    """For a pull request."""
    rows = table(_COLUMNS, _rows(gate), _RIGHT, markdown=True, caption=_CAPTION)
    lines = items([*_explained(gate), *_reasons(gate), _cost(gate), *gate["notes"]])
    return "\n".join([f"### {_headline(gate)}", "", rows, "", *lines, ""])


def junit(gate: Mapping[str, Any]) -> str:
    """For a CI that shows tests: worse fails, absent and cannot tell are skipped, failed is an error."""
    suite = ET.Element("testsuite", name="rollout-perf gate", timestamp=gate["measured_at"])
    counts = {"failure": 0, "error": 0, "skipped": 0}
    for row, shown in zip(gate["verdicts"], _rows(gate), strict=True):
        load = "" if row["workload"] == "fixed" else f".{row['workload']}"
        name = f"{row['path']}.{row['preset']}{load}.batch-{row['batch']}"
        case = ET.SubElement(suite, "testcase", classname=name, name=row["metric"])
        numbers = " ".join(f"{title} {text}" for title, text in zip(_COLUMNS, shown, strict=True))
        detail = "; ".join(filter(None, [row["replicates"] and numbers, _parts(gate, row), row["reason"]]))
        kind = {WORSE: "failure", FAILED: "error", ABSENT: "skipped", CANNOT_TELL: "skipped"}.get(
            row["verdict"]
        )
        if kind:
            counts[kind] += 1
            ET.SubElement(case, kind, message=in_xml(f"{row['verdict']}: {detail}"))
    suite.set("tests", str(len(gate["verdicts"])))
    suite.set("failures", str(counts["failure"]))
    suite.set("errors", str(counts["error"]))
    suite.set("skipped", str(counts["skipped"]))
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def _headline(gate: Mapping[str, Any]) -> str:
    works = [
        work_name(row["preset"], row.get("tensor_parallel_size", 1), row.get("workload", "fixed"))
        for row in gate["verdicts"]
    ]
    where = [gate["machine"], *dict.fromkeys(works)]
    names = {build: gate[build][:8] for build in (BASE, HEAD)} | gate.get("names", {})
    return f"{gate['verdict']}: {names[BASE]}..{names[HEAD]} on {', '.join(where)}"


def _cost(gate: Mapping[str, Any]) -> str:
    count, at_once = gate["sessions"], gate.get("at_once", 1)
    sessions = f"{count} session{'s' * (count > 1)}" + f", {at_once} at once," * (at_once > 1)
    return f"{sessions} in {gate['seconds'] / 60:.1f} minutes; {gate['stopped']}"


def _rows(gate: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            row["path"],
            row["workload"],
            str(row["batch"]),
            row["metric"],
            row["verdict"],
            *(_quantity(row[build], row["metric"]) for build in (BASE, HEAD)),
            "" if row["ratio"] is None else change(row["ratio"]),
            "" if row["interval"] is None else change_interval(*row["interval"]),
            "" if row["detectable"] is None else change(1 + row["detectable"]),
        ]
        for row in gate["verdicts"]
    ]


def _explained(gate: Mapping[str, Any]) -> list[str]:
    """A line for each step time that has changed, or may have: by what."""
    return [
        f"{row['path']} {row['workload']} {row['batch']} {row['verdict']}: {parts}"
        for row in gate["verdicts"]
        if row["verdict"] != SAME and (parts := _parts(gate, row))
    ]


def _parts(gate: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """What explains a change of the step time, with the counts of its case that have changed."""
    counts = {
        other["metric"]: other["ratio"]
        for other in gate["verdicts"]
        if all(other[name] == row[name] for name in Case._fields)
        and other["verdict"] in (WORSE, BETTER)
        and other["ratio"] is not None
        and metric(other["metric"]).exact
    }
    return explained(row["ratio"], row["parts"], counts)


def _quantity(value: float | None, metric: str) -> str:
    return "" if value is None else quantity(value, metric)


def _reasons(gate: Mapping[str, Any]) -> list[str]:
    """Why a path is absent or failed, or what a verdict leaves out; a line for those that share it."""
    found: dict[str, list[str]] = {}
    for row in gate["verdicts"]:
        if row["reason"]:
            why = f"{row['verdict']}: {first_line(row['reason'])}"
            found.setdefault(why, []).append(f"{row['path']} {row['workload']} {row['batch']}")
    return [f"{', '.join(dict.fromkeys(cases))} {why}" for why, cases in found.items()]
