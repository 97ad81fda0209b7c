"""Rows and columns as text: plain, in the terminal's width or WIDTH, or Markdown. Knows no records."""

import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest

WIDTH = 100
GAP = "  "
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def table(
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Iterable[int] = (),
    markdown: bool = False,
    caption: str = "",
) -> str:
    """A table, the columns `right` set to the right, below what it is; too wide, its widest ones are folded.

    A plain row with fewer cells than titles ends with free text, which may run on. Markdown is escaped here.
    """
    lines = [list(titles), *map(list, rows)]
    columns = set(right)
    if markdown:
        return "\n".join([f"{escaped(caption)}\n"] * bool(caption) + _markdown(lines, columns))
    return "\n".join([wrapped(caption)] * bool(caption) + _plain(lines, columns))


def width() -> int:
    """Columns of the terminal that standard output goes to, WIDTH at most and where it is none."""
    return min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns)


def _plain(lines: list[list[str]], right: set[int]) -> list[str]:
    aligned = [line if len(line) == len(lines[0]) else line[:-1] for line in lines]
    columns = range(len(lines[0]))
    held = [[line[place] for line in aligned if place < len(line)] for place in columns]
    widths = [max(map(len, column)) for column in held]
    words = [max((len(word) for cell in column for word in cell.split()), default=0) for column in held]
    titles = [max(len(one) for one in (*column[1:], *column[0].split(), "")) for column in held]
    for least in (titles, words):  # first those that a title alone makes wide
        while sum(widths) + len(GAP) * (len(widths) - 1) > width():
            wide = [place for place in columns if widths[place] > least[place]]
            if not wide:
                break
            widths[max(wide, key=widths.__getitem__)] -= 1
    made = []
    for line, cells in zip(lines, aligned, strict=True):
        folded = [_folded(cell, wide) for cell, wide in zip(cells, widths, strict=False)]
        for number, parts in enumerate(zip_longest(*folded, fillvalue="")):
            placed = [
                part.rjust(widths[place]) if place in right else part.ljust(widths[place])
                for place, part in enumerate(parts)
            ]
            rest = line[len(cells) :] if number == 0 else []
            made.append(wrapped(GAP.join([*placed, *rest]).rstrip()))
    return made


def _folded(cell: str, wide: int) -> list[str]:
    return [cell] if len(cell) <= wide else wrapped(cell, wide, "").splitlines()


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


def wrapped(text: str, wide: int | None = None, indent: str = GAP) -> str:
    """Text in lines of that width, all but the first set in; a word that is longer stays whole."""
    return textwrap.fill(
        text, wide or width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
