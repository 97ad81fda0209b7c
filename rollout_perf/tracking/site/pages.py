"""Writes the pages of our own into a folder: static files, the data they load, a page for each step.

    write_pages(Path("html"), results, steps=find_steps(results))

Data are scripts and no JSON files, since a page that was opened as a file may load scripts alone.
"""

import html
import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import as_file, files
from pathlib import Path
from string import Template
from typing import Any

from ..answer import grouped
from ..detect import Step
from ..results import Results
from .data import columns, commits_of, front
from .steps import step_data, step_slug

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
    _script(data / "front.js", "RP.front = {};", content | dict(told or {}))
    for number, batches in enumerate(grouped(results.points).values()):
        for batch, points in batches.items():
            for metric in content["groups"][number]["metrics"][batch]:
                name = f"g{number}-{batch}-{metric}"
                _script(data / f"{name}.js", f'RP.loaded("{name}", {{}});', columns(points, place, metric))
    shared = {name: content[name] for name in ("commits", "commit_url", "metrics", "reference", "machines")}
    for step, one in zip(steps, shown, strict=True):
        slug = step_slug(step)
        title = html.escape(one["title"])
        (pages / f"{slug}.html").write_text(template.substitute(title=title, slug=slug))
        _script(data / f"step-{slug}.js", "RP.step = {};", one)
    _script(data / "shared.js", "RP.front = {};", shared | {"groups": [], "steps": []})
    return folder / "index.html"


def _script(file: Path, call: str, content: Any) -> None:
    """A script that hands `content` over: JSON is JavaScript, NaN and Infinity included."""
    before, after = call.split("{}")
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    file.write_text(f"{before}{text}{after}\n", encoding="utf-8")
