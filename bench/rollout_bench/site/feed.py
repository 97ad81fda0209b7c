"""What tells others of open regressions: an Atom feed, and a badge, as a picture and for shields.io."""

import html
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from asv.feed import FeedEntry, write_atom

from ..history.findings import Finding
from ..report.change_points import environment
from ..report.findings import summary
from ..report.table import in_xml

_LABEL = "rollout-perf"
_GOOD, _BAD = "#00795a", "#b34700"
_LETTER = 6.6  # pixels of a letter, about


def write_feed(file: Path, found: Sequence[Finding], page: str) -> None:
    """An entry for each open regression, which leads to its place on `page`, as seen from the file.

    A page that is a place itself has no places.
    """
    entries = [_entry(one, page) for one in found if one.is_open]
    title = "rollout-perf: what has become slower, and is open"
    write_atom(str(file), entries, author="rollout-perf", title=title, address="rollout-perf")


def write_badge(folder: Path, found: Sequence[Finding]) -> None:
    """badge.svg, and badge.json for https://img.shields.io/endpoint."""
    many = _many_open(found)
    message = f"{many or 'no'} open regression{'s' * (many > 1)}"
    color = _BAD if many else _GOOD
    content = {"schemaVersion": 1, "label": _LABEL, "message": message, "color": color}
    (folder / "badge.json").write_text(json.dumps(content))
    (folder / "badge.svg").write_text(_svg(message, color))


def link_text(found: Sequence[Finding]) -> str:
    """What pages call the page of regressions: with how many are open."""
    return f"Regressions ({_many_open(found)} open)"


def _many_open(found: Sequence[Finding]) -> int:
    return sum(one.is_open for one in found)


def _entry(one: Finding, page: str) -> FeedEntry:
    what, place = summary(one), f"{page}#{one.name}"
    link = page if "#" in page else place
    between = f"after {one.last_before}, up to {one.first}; {environment(one.environment)}"
    when = datetime.fromtimestamp(one.first.time, UTC)
    return FeedEntry(in_xml(what), when, link, in_xml(html.escape(f"{what}; {between}")), [place])


def _svg(message: str, color: str) -> str:
    left, right = (round(len(text) * _LETTER + 12) for text in (_LABEL, message))
    words = "".join(
        f'<text x="{x}" y="14" textLength="{round(len(text) * _LETTER)}">{text}</text>'
        for x, text in ((6, _LABEL), (left + 6, message))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{_LABEL}: {message}"><rect width="{left}" height="20" fill="#4d5663"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{color}"/>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{words}</g></svg>\n'
    )
