"""The lines of a file that people give: JSON objects, or CSV with a header. What is wrong names its line."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ACCEPTED = (
    "give JSONL: a line a sample with prompt_length, output_length and group, "
    "or a line a prompt with a column of chats (--chat-column), or a published trace (docs/workloads.md)"
)

Line = tuple[str, dict[str, Any]]
"""Where it stands, for messages; and its fields."""


class BadFile(ValueError):
    """A file is not what it should be; the message names it, the line and the field."""


def lines(path: Path) -> Iterator[Line]:
    """Every line of a file that is not empty. Raises BadFile."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = [name.strip('" ') for name in file.readline().split(",")]
            file.seek(0)
            yield from _csv(path, file) if len(header) > 1 and header[0].isidentifier() else _json(path, file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadFile(f"{path} cannot be read: {error}") from None


def first(path: Path) -> Line:
    """The first line that is not empty. Raises BadFile where there is none."""
    for line in lines(path):
        return line
    raise BadFile(f"{path} has no line with anything in it")


def _json(path: Path, file: Any) -> Iterator[Line]:
    for number, text in enumerate(file, 1):
        if not text.strip():
            continue
        where = f"{path} line {number}"
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            why = f"{error.msg} at column {error.colno}"
            raise BadFile(f"{where} is not JSON: {why}{_seems(path, text)}") from None
        except (ValueError, RecursionError) as error:  # too long a number, too deep a list
            raise BadFile(f"{where} cannot be read: {error}") from None
        if not isinstance(content, dict):
            raise BadFile(f"{where} is no JSON object{_seems(path, text)}")
        yield where, content


def _csv(path: Path, file: Any) -> Iterator[Line]:
    reader = csv.reader(file)
    names = [name.strip() for name in next(reader)]
    for cells in reader:
        if not cells:
            continue
        where = f"{path} line {reader.line_num}"
        if len(cells) != len(names):
            raise BadFile(f"{where} has {len(cells)} cells; the header has {len(names)}: {', '.join(names)}")
        yield where, dict(zip(names, map(_number, cells), strict=True))


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _seems(path: Path, text: str) -> str:
    """What a file seems to be that has such a line, and what it should be."""
    text, kind = text.strip(), ""
    if path.suffix in (".csv", ".tsv"):
        kind = f"CSV with {text}"
    elif text.startswith("["):
        kind = "a JSON array"
    elif text == "{":
        kind = "a JSON object over many lines"
    return f"; it seems to be {kind}; {ACCEPTED}" if kind else f"; {ACCEPTED}"
