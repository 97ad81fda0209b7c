"""Writes the pages of our own into a folder: static files, the data they load, a page for each step.

    write_pages(Path("html"), results, steps=find_steps(results))

Data are scripts and no JSON files, since a page that was opened as a file may load scripts alone.
"""

import html
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import as_file, files
from pathlib import Path
from string import Template
from typing import Any

from ..history.detect import Step
from ..history.results import Results
from ..report.answer import grouped
from .change_points import step_data, step_slug
from .data import column_name, columns, commits_of, front
from .names import literal

_SHARED = ("commits", "commit_url", "metrics", "reference", "machines", "warnings")
"""What of the front page's data every page has."""

_LIBRARY = ("plotly", "package_data/plotly.min.js")


def write_pages(
    folder: Path,
    results: Results,
    made: datetime,
    steps: Sequence[Step] = (),
    gates: Sequence[Mapping[str, Any]] = (),
    commit_url: str = "",
    told: Mapping[str, Any] | None = None,
) -> Path:
    """Write everything but asv's pages, and return the first page.

    `gates` are verdicts of gate runs; `commit_url` has {commit} where a commit's hash goes. `told`
    are more facts for the front page: "asv" (whether its pages are there) and "asv_reason".
    """
    data, pages = folder / "data", folder / "steps"
    for part in (data, pages):
        part.mkdir(parents=True)
    with as_file(files(__package__) / "static") as static:
        for file in static.iterdir():
            if file.name not in ("offline.js", "step.html"):
                shutil.copy2(file, folder / file.name)
        template = Template((static / "step.html").read_text())
    with as_file(files(_LIBRARY[0]) / _LIBRARY[1]) as library:
        shutil.copy2(library, folder / "plotly.min.js")

    commits = commits_of(results)
    place = {commit: number for number, commit in enumerate(commits)}
    content = front(results, commits, commit_url, made) | {"asv": True, "asv_reason": ""}
    groups = {(group["machine"], group["environment"], group["preset"], group["tensor_parallel_size"],
               group["workload"]): group["id"] for group in content["groups"]}  # fmt: skip
    series = {metric: results.series(metric) for metric in {step.metric for step in steps}}
    shown = [step_data(step, series[step.metric][step.key], place, groups, gates) for step in steps]
    content["steps"] = [{name: value for name, value in one.items() if name != "page"} for one in shown]
    _script(data / "front.js", f"RP.front = {literal(content | dict(told or {}))};")
    for number, batches in enumerate(grouped(results.points).values()):
        for batch, points in batches.items():
            for metric in content["groups"][number]["metrics"][batch]:
                name = column_name(content["groups"][number]["id"], batch, metric)
                history = literal(columns(points, place, metric))
                _script(data / f"{name}.js", f"RP.loaded({literal(name)},{history});")
    shared = {name: content[name] for name in _SHARED}
    for step, one in zip(steps, shown, strict=True):
        slug = step_slug(step)
        title = html.escape(one["title"])
        page = template.substitute(title=title, slug=slug)
        # Half of a surrogate pair, which JSON may hold, is no UTF-8.
        (pages / f"{slug}.html").write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
        _script(data / f"step-{slug}.js", f"RP.step = {literal(one)};")
    _script(data / "shared.js", f"RP.front = {literal(shared | {'groups': [], 'steps': []})};")
    return folder / "index.html"


def _script(file: Path, statement: str) -> None:
    file.write_text(f"{statement}\n", encoding="ascii")
