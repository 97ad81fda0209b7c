"""Reads workloads from files: recorded lengths, or real prompts through the model's own tokenizer.

A line of a replay file is one sample: {"prompt_length": 61, "output_length": 208, "group": 0};
samples of a group answer one prompt. A file of prompts is JSONL or Parquet with a column of chats, see
`chat.turns`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .chat import MEDIA, turns
from .workload import Workload

_LENGTHS = ("prompt_length", "output_length")

_ACCEPTED = (
    "give JSONL: a line a sample with prompt_length, output_length and group, "
    "or a line a prompt with a column of chats (--chat-column)"
)

SAMPLE_BYTES = 4096
"""The least memory of a sample under way: its request at the front and in the engine, without its tokens."""


class BadFile(ValueError):
    """A file is not what it should be; the message names it, the line and the field."""


def read_replay(path: Path, longest: int | None, memory_bytes: int) -> Workload:
    """The workload of a replay file. `longest` is what the model takes of prompt and answer together.

    Raises BadFile, naming line and field, for what cannot be replayed.
    """
    groups: dict[Any, tuple[int, int, list[int]]] = {}
    for number, line in _lines(path, memory_bytes):
        where = f"{path} line {number}"
        missing = [name for name in (*_LENGTHS, "group") if name not in line]
        if missing:
            raise BadFile(f"{where} has {', '.join(line) or 'nothing'}, and no {missing[0]}; {_ACCEPTED}")
        prompt, output = (_length(line, name, where) for name in _LENGTHS)
        if longest and prompt + output > longest:
            raise BadFile(
                f"{where}: prompt_length {prompt} and output_length {output} make {prompt + output} tokens; "
                f"the model takes {longest} at most"
            )
        if not isinstance(line["group"], str | int):
            raise BadFile(f"{where}: group is {json.dumps(line['group'])}; give a number or a name")
        first, known, outputs = groups.setdefault(line["group"], (number, prompt, []))
        if prompt != known:
            raise BadFile(
                f"{where}: prompt_length is {prompt}, but line {first} of the same group has {known}; "
                "samples of a group answer one prompt"
            )
        outputs.append(output)
    if not groups:
        raise BadFile(f"{path} has no samples")
    return Workload(
        prompts=len(groups),
        samples=tuple(len(outputs) for _first, _prompt, outputs in groups.values()),
        prompt_tokens=tuple(prompt for _first, prompt, _outputs in groups.values()),
        output_tokens=tuple(output for *_rest, outputs in groups.values() for output in outputs),
        name="replay",
        source=path.name,
    )


def is_replay(path: Path, column: str) -> bool:
    """Whether the first line of a file has lengths; it is a file of prompts if it has their column.

    Raises BadFile where it has neither.
    """
    if path.suffix == ".parquet":
        return False
    for number, line in _lines(path):
        if column in line and not any(name in line for name in _LENGTHS):
            return False
        if any(name in line for name in (*_LENGTHS, "group")):
            return True
        names = ", ".join(line) or "nothing"
        raise BadFile(f"{path} line {number} has {names}, and no column {column}; {_ACCEPTED}")
    raise BadFile(f"{path} has no line with anything in it")


def read_prompts(
    path: Path, column: str, count: int, tokenizer: Any, longest: int | None = None
) -> list[list[int]]:
    """The first `count` prompts of a file as token ids, through a tokenizer's chat template.

    Begins again at the first one where the file has fewer. Raises BadFile, naming line or row and
    column, for what is no chat or has more than `longest` tokens.
    """
    rows = _parquet(path, column, count) if path.suffix == ".parquet" else _rows(path, column)
    prompts: list[list[int]] = []
    for where, row in rows:
        if len(prompts) == count:
            break
        try:
            chat = turns(row, column)
        except ValueError as error:
            raise BadFile(f"{where}: {error}") from None
        try:
            ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        except Exception as error:  # a template is a program of the model's own
            why = f"{type(error).__name__}: {error}"
            raise BadFile(f"{where}: {column} does not pass the model's chat template: {why}") from None
        if not len(ids):
            raise BadFile(f"{where}: {column} has no tokens")
        if longest is not None and len(ids) > longest:
            raise BadFile(f"{where}: {column} has {len(ids)} tokens; {longest} fit beside the answer")
        prompts.append(list(ids))
    if not prompts:
        raise BadFile(f"{path} has no prompts")
    return [prompts[number % len(prompts)] for number in range(count)]


def _rows(path: Path, column: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in _lines(path):
        if column not in line:
            raise BadFile(f"{path} line {number}: {column} is missing; it has {', '.join(line)}")
        yield f"{path} line {number}", line


def _parquet(path: Path, column: str, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise BadFile(f"{path} is Parquet, which needs pyarrow (pip install pyarrow)") from None
    try:
        file = parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise BadFile(f"{path} is no Parquet file: {error}") from None
    names = file.schema_arrow.names
    if column not in names:
        raise BadFile(f"{path}: {column} is missing; it has {', '.join(names)}")
    number = 0
    columns = [name for name in names if name in (column, *MEDIA)]
    for batch in file.iter_batches(batch_size=count, columns=columns):
        for row in batch.to_pylist():
            number += 1
            yield f"{path} row {number}", row


def _lines(path: Path, memory_bytes: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and content of every line that is not empty."""
    most = None if memory_bytes is None else memory_bytes // SAMPLE_BYTES
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, text in enumerate(file, 1):
                if not text.strip():
                    continue
                if most is not None and number > most:
                    raise BadFile(
                        f"{path} line {number}: more samples than the {memory_bytes} bytes of memory of this "
                        f"machine could hold, at {SAMPLE_BYTES} bytes or more for each"
                    )
                try:
                    content = json.loads(text)
                except json.JSONDecodeError as error:
                    why = f"{error.msg} at column {error.colno}"
                    raise BadFile(f"{path} line {number} is not JSON: {why}{_seems(path, text)}") from None
                except (ValueError, RecursionError) as error:  # too long a number, too deep a list
                    raise BadFile(f"{path} line {number} cannot be read: {error}") from None
                if not isinstance(content, dict):
                    raise BadFile(f"{path} line {number} is no JSON object{_seems(path, text)}")
                yield number, content
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} cannot be read: {error}") from None


def _seems(path: Path, text: str) -> str:
    """What a file seems to be that has such a line, and what it should be."""
    text, kind = text.strip(), ""
    if path.suffix in (".csv", ".tsv"):
        kind = f"CSV with {text}"
    elif text.startswith("["):
        kind = "a JSON array"
    elif text == "{":
        kind = "a JSON object over many lines"
    return f"; it seems to be {kind}; {_ACCEPTED}" if kind else f"; {_ACCEPTED}"


def _length(line: dict[str, Any], name: str, where: str) -> int:
    value = line[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadFile(f"{where}: {name} is {json.dumps(value)}; it must be a whole number, at least 1")
    return value
