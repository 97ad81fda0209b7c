"""Writes the pages of our own into a folder: static files, the data they load, a page for each change point.

    write_pages(Path("html"), results, change_points=find_change_points(results))

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

from ..history.detect import ChangePoint
from ..history.findings import findings
from ..history.forks import MANY_POINTS, over
from ..history.results import Results
from ..history.triage import Decision
from ..report.answer import groups_of
from ..report.side_by_side import cases_of
from .change_points import change_point_data, finding_data, gates_data, page_name
from .columns import column_name, histories
from .data import commits_of, front
from .docs import Docs
from .feed import link_text, write_badge, write_feed
from .libraries import Libraries, copy_plotly
from .names import literal
from .plain import plain_tables
from .traces import trace_name, traces_of

_ASV = '<a href="asv/index.html">Explorer</a> <a href="asv/classic.html">asv classic</a>'

_SHARED = ("commits", "commit_url", "metrics", "reference", "machines", "warnings", "words")
"""What of the front page's data every page has."""


def write_pages(
    folder: Path,
    results: Results,
    made: datetime,
    change_points: Sequence[ChangePoint] = (),
    gates: Sequence[Mapping[str, Any]] = (),
    commit_url: str = "",
    facts: Mapping[str, Any] | None = None,
    libraries: Libraries | None = None,
    decisions: Mapping[str, Decision] | None = None,
    docs: Docs | None = None,
    releases: str = "",
    up: str = "",
) -> Path:
    """Write everything but asv's pages, and return the first page.

    `gates` are verdicts of gate runs; `commit_url` has {commit} where a commit's hash goes. `facts`
    are more facts for the front page: "asv" (whether its pages are there), "asv_reason", and "triage" (why
    `decisions`, by names of regressions, could not be read). `docs` says where the documents are. `releases`
    is what the page of releases says, as HTML; `up` leads to the site around this one, which has that page.
    """
    data, pages = folder / "data", folder / "change-points"
    for part in (data, pages):
        part.mkdir(parents=True)
    with as_file(files(__package__) / "static") as static:
        for file in static.iterdir():
            if file.suffix != ".html" and file.name != "offline.js":
                shutil.copy2(file, folder / file.name)
        templates = {page.stem: Template(page.read_text()) for page in static.glob("*.html")}
    copy_plotly(libraries, folder)
    for trace in traces_of(one for kept in cases_of(results).values() for one in kept):
        (folder / "traces").mkdir(exist_ok=True)
        shutil.copyfile(trace, folder / trace_name(trace))

    commits = commits_of(results)
    place = {commit: number for number, commit in enumerate(commits)}
    groups = groups_of(results)
    content = front(results, commits, commit_url, made, groups) | {"asv": True, "asv_reason": ""}
    ids = {(group["machine"], group["environment"], group["preset"], group["tensor_parallel_size"],
               group["workload"]): group["id"] for group in content["groups"]}  # fmt: skip
    shown = [
        change_point_data(point, results.series_of(point.key, point.metric), place, ids, gates)
        for point in change_points
    ]
    content["change_points"] = [
        {name: value for name, value in one.items() if name != "page"} for one in shown
    ]
    docs = docs or Docs()
    content |= {"words": dict(docs.words), "docs_plain": docs.plain, **(facts or {})}
    found = findings(change_points, decisions or {})
    words = {"regressions": link_text(found), "plain": plain_tables(content), "releases": releases}
    has_releases = bool(releases or up)

    def header(here: str) -> dict[str, str]:
        """Links of a page's header; `here` leads to the folder of the first page."""
        page = f'<a href="{here}{up}releases.html">Releases</a>' if has_releases else ""
        return {"up": here, "docs": docs.link(here), "releases_page": page}

    first = header("") | {"asv": _ASV if content["asv"] else ""}
    for name in ("index", "compare", "regressions", *(["releases"] if releases else [])):
        _page(folder / f"{name}.html", templates["frame"], templates[name], words | first)
    write_feed(folder / "regressions.xml", found, "regressions.html")
    write_badge(folder, found)
    _script(data / "front.js", f"RP.front = {literal(content)};")
    _script(data / "gates.js", f"RP.gates = {literal({'gates': gates_data(gates)})};")
    histories_of = [
        (group["id"], batch, group["metrics"][batch], points)
        for group, batches in zip(content["groups"], groups.values(), strict=True)
        for batch, points in batches.items()
    ]

    def write(number: int) -> None:
        group, batch, metrics, points = histories_of[number]
        for metric, history in histories(points, place, metrics):
            name = column_name(group, batch, metric)
            _script(data / f"{name}.js", f"RP.loaded({literal(name)},{literal(history)});")

    list(over(write, range(len(histories_of)), len(results.points) > MANY_POINTS))
    shared = {name: content[name] for name in _SHARED}
    for point, one in zip(change_points, shown, strict=True):
        slug = page_name(point)
        title = html.escape(one["title"])
        more = header("../") | {"asv": "", "title": title, "slug": slug}
        _page(pages / f"{slug}.html", templates["frame"], templates["change-point"], words | more)
        _script(data / f"change-point-{slug}.js", f"RP.changePoint = {literal(one)};")
    shared |= {"groups": [], "change_points": []}
    _script(data / "shared.js", f"RP.front = {literal(shared)};")
    listed = {"findings": [finding_data(one, place) for one in found], "triage": content.get("triage")}
    listed |= {name: content[name] for name in ("step_times", "least_commits", "least_replicates")}
    _script(data / "regressions.js", f"RP.front = {literal(shared | listed)};")
    return folder / "index.html"


def _page(file: Path, frame: Template, page: Template, words: Mapping[str, str]) -> None:
    """A page in the frame that all have: of the page what is before its <body> goes into the frame's head."""
    head, _, content = page.substitute(words).partition("<body>\n")
    text = frame.substitute(words, head=head.rstrip(), content=content.rstrip())
    text = text.replace(f'href="{file.name}">', f'href="{file.name}" aria-current="page">')
    # Half of a surrogate pair, which JSON may hold, is no UTF-8.
    file.write_text(text, encoding="utf-8", errors="xmlcharrefreplace")


def _script(file: Path, statement: str) -> None:
    file.write_text(f"{statement}\n", encoding="ascii")
