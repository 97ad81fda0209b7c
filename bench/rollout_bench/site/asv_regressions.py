"""asv's regressions page and its feed over the open regressions, in place of what asv's own steps are.

asv-tachyon's explorer shows the same file. asv names a series by its benchmark, a record by its workload: the
version of a benchmark holds the fingerprints of its workloads (`measure.asv_cases`).
"""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from asv.graph import Graph

from ..errors import UsageError
from ..history.detect import ChangePoint, find_change_points
from ..history.findings import Finding, findings
from ..history.order import read_in_order
from ..history.results import Results
from ..history.triage import Decision, read_triage
from ..history.values import measured
from ..report.names import series_name
from .feed import write_feed


def detect_regressions(folder: Path, index: Mapping[str, Any], kept: Path, root: Path) -> list[str]:
    """`write_regressions` of what is found in `kept`, for pages of plain asv; with what was passed over."""
    results = read_in_order(kept, root)
    said = [*results.warnings, *(f"damaged and passed over: {damage}" for damage in results.damaged_lines())]
    decisions: dict[str, Decision] = {}
    try:
        decisions = read_triage(kept)
    except UsageError as error:
        said.append(f"damaged and passed over: {error}")
    found = findings(find_change_points(results, root), decisions)
    return said + write_regressions(folder, index, found, results, "index.html#regressions")


def write_regressions(
    folder: Path, index: Mapping[str, Any], found: Sequence[Finding], results: Results, page: str
) -> list[str]:
    """Write regressions.json and regressions.xml of asv's pages; what the first leaves out, a line each.

    Both have what is open. asv's page can show what asv has a benchmark and a graph of. The feed leads to
    `page`.
    """
    worse = [point for one in found if one.is_open for point in one.points if point.slower_still]
    rows = [_row(folder, index, one, results) for one in worse]
    kept = [row for row in rows if row is not None]
    (folder / "regressions.json").write_text(json.dumps({"regressions": kept}))
    write_feed(folder / "regressions.xml", found, page)
    lacking = [series_name(one.key) for one, row in zip(worse, rows, strict=True) if row is None]
    more = f" and {len(lacking) - 1} more series" if len(lacking) > 1 else ""
    return (
        [f"asv's regressions page leaves out {lacking[0]}{more}: asv has no graph of it"] if lacking else []
    )


def _row(folder: Path, index: Mapping[str, Any], found: ChangePoint, results: Results) -> list[Any] | None:
    """What asv's page reads: name, graph and its parameters, number of the case, last, best, the change."""
    benchmark = _benchmark(index["benchmarks"], found)
    revisions = {commit: int(revision) for revision, commit in index["revision_to_hash"].items()}
    last, first = (revisions.get(commit.hash) for commit in (found.last_before, found.first))
    if benchmark is None or last is None or first is None:
        return None
    name, number, values = benchmark
    for params in index["graph_param_list"]:
        path = Graph.get_file_path(params, name) + ".json"
        if params["machine"] == found.key.machine and _has(folder / path, first, number):
            break
    else:
        return None
    series = measured(results.series_of(found.key, found.metric), found.metric)
    levels = [
        value for commit, value in zip(series.commits, series.values, strict=True) if commit in found.before
    ]
    before = median(levels)
    after = before * found.ratio
    entry = f"{name}({', '.join(values)}), {series_name(found.key)}"
    apart = {param: value for param, value in params.items() if len(index["params"].get(param, ())) > 1}
    return [entry, path, apart, number, after, before, [[last, first, before, after]]]


def _benchmark(benchmarks: Mapping[str, Any], found: ChangePoint) -> tuple[str, int, list[str]] | None:
    """The benchmark that tracks the metric of a case, the number of the case in it, and its parameters."""
    case = {"path": repr(found.key.path), "batch": repr(found.key.batch)}
    for name, facts in benchmarks.items():
        tracks = name.endswith(f".track_{found.metric}") and found.key.fingerprint in facts["version"].split(
            "-"
        )
        wanted = [case.get(param) for param in facts["param_names"]]
        for number, values in enumerate(product(*facts["params"])) if tracks else ():
            if list(values) == wanted:
                return name, number, list(values)
    return None


def _has(graph: Path, revision: int, number: int) -> bool:
    """Whether a graph has a value of that case at a revision."""
    return graph.is_file() and any(
        at == revision and values[number] is not None for at, values in json.loads(graph.read_text())
    )
