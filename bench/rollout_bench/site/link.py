"""What the site's first page opens on, and a link to it; static/selection.js reads the link. Pure."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from ..history.results import Point, Results, key_of
from ..report.answer import STEP_TIME, case_of
from ..report.names import Group, group_of
from ..report.side_by_side import cases_of, settled, side_by_side
from ..schema.record import measured_at


def newest(points: Sequence[Point]) -> Point | None:
    """The point that was measured last; of those beside it the one of the fixed workload's own engines.

    Beside it are others of its machine, preset and commit: a commit is measured with several workloads, and
    an environment's name is longer where a part of them had engines of its own.
    """
    if not points:
        return None

    def beside(point: Point) -> tuple[object, ...]:
        return point.machine, point.commit, point.record.preset, point.record.tensor_parallel_size

    last = max(points, key=lambda point: measured_at(point.record))
    return max(
        (point for point in points if beside(point) == beside(last)),
        key=lambda point: (
            point.record.workload["name"] == "fixed",
            -len(point.environment),
            measured_at(point.record),
        ),
    )


def opened(results: Results, groups: Sequence[Group]) -> int:
    """The place of the group that the page opens on: that of what was measured last, of a commit as it is."""
    place = 0
    point = newest(results.points)
    last = (False, "") if point is None else settled(point.record)
    if point is not None:
        place = groups.index(group_of(key_of(point)))
    for case, kept in cases_of(results).items():
        newest_there = max(settled(record) for _session, record in kept)
        if newest_there > last and side_by_side(kept, STEP_TIME):
            last = newest_there
            place = next(n for n, group in enumerate(groups) if case_of(group, case.batch) == case)
    return place


def link(page: Path, points: Sequence[Point]) -> str:
    """The address of `page` with the selection that shows the newest of the points."""
    point = newest(points)
    if point is None:
        return page.as_uri()
    group = group_of(key_of(point))
    chosen = {
        "machine": group.machine,
        "preset": group.preset,
        "workload": group.workload,
        "tp": group.tensor_parallel_size,
        "env": group.environment,
        "commit": point.commit.hash[:8],
    }
    return f"{page.as_uri()}#{urlencode(chosen, quote_via=quote)}"
