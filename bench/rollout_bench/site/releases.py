"""The page of releases: of each ledger what was measured, release by release, and a site of its own below.

The page is HTML without a script. Its links lead into the ledger's site, under releases/NAME, where two
releases stand side by side and a change point has its parts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ..history.asv_runs import results_folder
from ..history.detect import ChangePoint, find_change_points
from ..history.ledger import Entry, Ledger
from ..history.ledgers import find_ledger, known_ledgers, notes_url
from ..history.order import read_in_order
from ..history.results import Commit, Point, Results
from ..report.releases import CAPTION, JUDGED, Case, Cell, day, read_releases
from ..schema.record import MEASURED
from .change_points import page_name

_ON_CPU = '<p class="how">On the CPU: counts and the host\'s time show here, not which path is fastest.</p>'

UP = "../../"
"""From a ledger's own site to the one around it."""


@dataclass(frozen=True)
class Measured:
    """A ledger and what was measured by it."""

    name: str
    package: str
    flavour: str
    entries: Sequence[Entry]
    results: Results
    change_points: Sequence[ChangePoint]


def read_ledgers(root: Path) -> list[Measured]:
    """The ledgers of a checkout."""
    return [_read(name, find_ledger(root, name)) for name in known_ledgers(root)]


def _read(name: str, ledger: Ledger) -> Measured:
    results = read_in_order(results_folder(ledger.folder), ledger.folder)
    points = find_change_points(results, ledger.folder, JUDGED)
    return Measured(name, ledger.package, ledger.flavour, ledger.entries(), results, points)


def site_of(name: str) -> str:
    """The folder of a ledger's own site, as seen from the page of releases."""
    return f"releases/{name}"


def releases_content(ledgers: Sequence[Measured]) -> str:
    """What the page says of the ledgers, as HTML: those of GPUs first."""
    return "\n".join(map(_ledger, sorted(ledgers, key=lambda one: one.flavour == "cpu")))


def _ledger(one: Measured) -> str:
    found = read_releases(one.entries, one.results, one.change_points)
    commits = {commit.subject: commit for commit in _commits(one.results)}
    heading = f'<h1 id="{one.name}">Releases of {escape(one.package)}</h1>'
    parts = [f'<section aria-labelledby="{one.name}">', heading, _ON_CPU * (one.flavour == "cpu")]
    if not found.cases:
        parts.append('<p class="message">No release has been measured yet.</p>')
    parts += [_case(case, one, commits) for case in found.cases]
    parts += [f'<p class="how">{escape(note)}</p>' for note in found.notes]
    if found.reasons:
        parts += ["<h2>Without values</h2>", _list(map(escape, found.reasons))]
    changes = (f"{_notes(one.package, name)}: {escape(what)}" for name, what in found.changes.items())
    parts += ["<h2>What changed in the lock</h2>", _list(changes), "</section>"]
    return "\n".join(parts)


def _case(case: Case, one: Measured, commits: Mapping[str, Commit]) -> str:
    head = "".join(f'<th scope="col">{escape(path)}</th>' for path in case.paths)
    rows, before = [], None
    for entry, cells in case.rows:
        row = "".join(f"<td>{_cell(cells[path], one.name)}</td>" for path in case.paths)
        link = _side_by_side(one.name, before, entry, cells, commits)
        rows.append(
            f'<tr><th scope="row">{_notes(one.package, entry.name)}</th><td>{day(entry.published)}</td>{row}'
            f"<td>{link}</td></tr>"
        )
        if _measured(cells) is not None:
            before = entry
    sentence = f"<p><strong>{escape(case.newest)}</strong></p>\n" if case.newest else ""
    said = [*map(escape, case.steps)]
    said += [f"{escape(text)} {_page(point, one.name)}" for point, text in case.change_points]
    return (
        f"<h2>{escape(case.title)}</h2>\n{sentence}"
        f'<div class="scroll"><table><caption>{escape(CAPTION)}</caption>'
        f'<thead><tr><th scope="col">release</th><th scope="col">published</th>{head}'
        f'<th scope="col">side by side</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        f"{_list(said) if said else ''}"
    )


def _cell(cell: Cell, name: str) -> str:
    text = escape(cell.text)
    return text if cell.change_point is None else f'<a href="{_place(cell.change_point, name)}">{text}</a>'


def _place(point: ChangePoint, name: str) -> str:
    return f"{site_of(name)}/change-points/{page_name(point)}.html"


def _page(point: ChangePoint, name: str) -> str:
    return f'(<a href="{_place(point, name)}">its parts and samples</a>)'


def _notes(package: str, version: str) -> str:
    return f'<a href="{escape(notes_url(package, version))}">{escape(version)}</a>'


def _measured(cells: Mapping[str, Cell]) -> Point | None:
    """A point of a release that was measured; None where it has none."""
    points = (cell.point for cell in cells.values())
    return next((one for one in points if one is not None and one.record.status == MEASURED), None)


def _side_by_side(
    name: str, before: Entry | None, entry: Entry, cells: Mapping[str, Cell], commits: Mapping[str, Commit]
) -> str:
    """A link to the release and the measured one before, on the compare page of the ledger's site."""
    point = _measured(cells)
    if point is None or before is None:
        return ""
    a, b = (f"{point.machine}@{commits[one.subject].hash[:8]}" for one in (before, entry))
    address = f"{site_of(name)}/compare.html#a={a}&amp;b={b}"
    return f'<a href="{address}">with {escape(before.name)}</a>'


def _commits(results: Results) -> list[Commit]:
    return list(dict.fromkeys(point.commit for point in results.points))


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"
