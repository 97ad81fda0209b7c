"""What the front page shows without JavaScript: a table of step times for each group, as HTML. Pure."""

from collections.abc import Mapping
from html import escape
from typing import Any

from ..report.names import Group
from ..report.numbers import bounds, number, quantity


def plain_tables(front: Mapping[str, Any]) -> str:
    """Tables of what `data.front` holds, the group that the page opens on first."""
    groups = front["groups"]
    if not groups:
        return "<p>Nothing has been measured yet.</p>"
    opened = groups[front["start"]]
    return "\n".join(
        _table(group, front["step_time"]) for group in sorted(groups, key=lambda one: one is not opened)
    )


def _table(group: Mapping[str, Any], metric: str) -> str:
    name = str(Group(*(group[field] for field in Group._fields)))
    sides = {batch: {row["path"]: row for row in found["rows"]} if found else {}
             for batch, found in group["side_by_side"].items()}  # fmt: skip
    paths = dict.fromkeys([*group["paths"], *(path for rows in sides.values() for path in rows)])
    cases = {(case["path"], case["batch"]): case["metrics"] for case in group["cases"]}
    head = "".join(f'<th scope="col">batch {batch}</th>' for batch in group["batches"])
    rows = []
    for path in paths:
        cells = []
        for batch in group["batches"]:
            alone = cases.get((path, batch), {}).get(metric)
            row = sides[batch].get(path)
            said = [quantity(alone[0], metric)] if alone else []
            reference = group["side_by_side"][batch]["reference"] if row else ""
            if path == reference:
                said.append("reference")
            elif row:
                about = f" {bounds(*map(number, row['interval']))}" if row["interval"] else ""
                said.append(f"{number(row['ratio'])} × {reference}{about}")
            cells.append(f"<td>{escape(', '.join(said) or 'absent')}</td>")
        rows.append(f'<tr><th scope="row">{escape(path)}</th>{"".join(cells)}</tr>')
    about = f"{name}: median step time at the newest commit; × is the ratio side by side"
    return (
        f'<table><caption>{escape(about)}</caption><thead><tr><th scope="col">path</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
