"""Rows and columns as text: plain, aligned to WIDTH columns, or Markdown. Knows no records. Pure."""

import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 100
GAP = "  "
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def table(
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Iterable[int] = (),
    markdown: bool = False,
) -> str:
    """A table, the columns `right` set to the right; a plain line that is longer than WIDTH goes on below.

    A plain row with fewer cells than titles ends with free text, which may run on. Markdown is escaped here.
    """
    lines = [list(titles), *map(list, rows)]
    columns = set(right)
    return "\n".join(_markdown(lines, columns) if markdown else _plain(lines, columns))


def _plain(lines: list[list[str]], right: set[int]) -> list[str]:
    aligned = [line if len(line) == len(lines[0]) else line[:-1] for line in lines]
    columns = range(len(lines[0]))
    widths = [max(len(line[place]) for line in aligned if place < len(line)) for place in columns]
    made = []
    for line, cells in zip(lines, aligned, strict=True):
        placed = [
            cell.rjust(wide) if place in right else cell.ljust(wide)
            for place, (cell, wide) in enumerate(zip(cells, widths, strict=False))
        ]
        text = GAP.join([*placed, *line[len(cells) :]]).rstrip()
        made.append(wrapped(text))
    return made


def _markdown(lines: list[list[str]], right: set[int]) -> list[str]:
    count = len(lines[0])
    rule = ["---:" if place in right else "---" for place in range(count)]
    titles, *rows = ([escaped(cell) for cell in line] + [""] * (count - len(line)) for line in lines)
    return [f"| {' | '.join(line)} |" for line in (titles, rule, *rows)]


def listed(heading: str, lines: Iterable[str], markdown: bool = False) -> str:
    """A heading and a line for each of `lines`."""
    if markdown:
        return "\n".join([f"**{escaped(heading)}**", "", *items(lines)])
    return "\n".join([f"{heading}:", *(f"{GAP}{line}" for line in lines)])


def items(lines: Iterable[str]) -> list[str]:
    """Lines as a list in Markdown, escaped."""
    return [f"- {escaped(line)}" for line in lines]


def escaped(text: str) -> str:
    """Text as Markdown that shows it as it is, in a table too."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def in_xml(text: str) -> str:
    """Text with a ? for each letter that XML cannot hold; what writes the XML escapes the rest."""
    return _NOT_IN_XML.sub("?", text)


def wrapped(text: str, width: int = WIDTH) -> str:
    """Text in lines of `width`, all but the first set in; a word that is longer stays whole."""
    return textwrap.fill(text, width, subsequent_indent=GAP, break_long_words=False, break_on_hyphens=False)
