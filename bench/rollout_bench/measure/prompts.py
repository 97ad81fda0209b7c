"""Real prompts of a file as token ids, through the model's own tokenizer and its chat template."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .chat import MEDIA, turns
from .formats import TEXT
from .lines import BadFile, Line, lines


def encode(tokenizer: Any, row: Mapping[str, Any], column: str, where: str) -> list[int]:
    """Ids of the chat in a row's column. Raises BadFile, naming row and column, for what is no chat."""
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
    return list(ids)


def read_prompts(
    path: Path, column: str | None, count: int, tokenizer: Any, longest: int | None = None
) -> list[list[int]]:
    """The first `count` prompts of a file as token ids, through a tokenizer's chat template.

    They are in the first of TEXT that the file has, where no column is named. Begins again at the first one
    where the file has fewer. Raises BadFile, naming line or row and column, for what is no chat or has more
    than `longest` tokens.
    """
    rows = _parquet(path, column, count) if path.suffix == ".parquet" else lines(path)
    prompts: list[list[int]] = []
    for where, row in rows:
        if len(prompts) == count:
            break
        column = column or next((name for name in TEXT if name in row), TEXT[0])
        if column not in row:
            raise BadFile(f"{where}: {column} is missing; it has {', '.join(row)}")
        ids = encode(tokenizer, row, column, where)
        if longest is not None and len(ids) > longest:
            raise BadFile(f"{where}: {column} has {len(ids)} tokens; {longest} fit beside the answer")
        prompts.append(ids)
    if not prompts:
        raise BadFile(f"{path} has no prompts")
    return [prompts[number % len(prompts)] for number in range(count)]


def _parquet(path: Path, column: str | None, count: int) -> Iterator[Line]:
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
    number = 0
    columns = [name for name in names if name in ((column,) if column else TEXT) or name in MEDIA]
    if not set(columns) - set(MEDIA):
        raise BadFile(f"{path}: {column or TEXT[0]} is missing; it has {', '.join(names)}")
    for batch in file.iter_batches(batch_size=count, columns=columns):
        for row in batch.to_pylist():
            number += 1
            yield f"{path} row {number}", row
