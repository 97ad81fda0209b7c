"""Reads a workload from a trace: rows of any of `formats` become one rollout, checked row against row.

What a file says of one row `formats` checks; here is what rows say of each other, and what the model takes.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import formats
from .formats import FORMATS, Encode, Format, Row
from .lines import ACCEPTED, BadFile, first, lines
from .workload import Workload

SAMPLE_BYTES = 4096
"""The least memory of a sample under way: its request at the front and in the engine, without its tokens."""


def recognised(path: Path, column: str | None, told: str | None = None) -> Format | None:
    """The form of a file, by its first line or as `told`; None: it holds prompts, in `column` if given.

    Raises BadFile where it is neither a trace nor one of prompts.
    """
    if path.suffix == ".parquet":
        return None
    where, line = first(path)
    name = told or formats.form_of(line, column)
    if name == "chats":
        return replace(FORMATS[name], prompt=formats.chat_column(line, column) or column or formats.TEXT[0])
    if name is not None:
        return FORMATS[name]
    if any(name in line for name in ([column] if column else formats.TEXT)):
        return None
    own = FORMATS["lengths"]
    if any(name in line for name in (own.prompt, own.output, own.group)):
        return own
    names = ", ".join(line) or "nothing"
    if {"input", "output"} <= line.keys() or "resourceSpans" in line:
        raise BadFile(f"{where} has {names}; make a workload of it with `rollout-perf record`")
    wanted = f"no column {column}" if column else "none that says what it is"
    raise BadFile(f"{where} has {names}, and {wanted}; {ACCEPTED}")


def read_replay(
    path: Path,
    form: Format,
    longest: int | None,
    memory_bytes: int,
    encode: Encode,
    output_tokens: int | None = None,
) -> Workload:
    """The workload of a trace. `longest` is what the model takes of prompt and answer together;
    `output_tokens` is of answers whose length the file does not say.

    Raises BadFile, naming line and field, for what cannot be replayed.
    """
    rows = formats.rows(form, lines(path), output_tokens, encode)
    return workload(path, form, _checked(form, rows, longest, memory_bytes))


def workload(path: Path, form: Format, rows: Iterable[Row]) -> Workload:
    """Rows that are checked, as one rollout: samples of a group stand together, where its first one stood."""
    groups: dict[Any, list[Row]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(("row", number) if row.group is None else row.group, []).append(row)
    if not groups:
        raise BadFile(f"{path} has no samples")
    prompts = [group[0] for group in groups.values()]
    samples = [row for group in groups.values() for row in group]
    begin = next((row.arrival_seconds for row in samples if row.arrival_seconds is not None), None)
    arrivals = tuple(
        None if row.arrival_seconds is None else round(row.arrival_seconds - (begin or 0.0), 6)
        for row in samples
    )
    sessions = any(row.session is not None for row in samples)
    return Workload(
        prompts=len(prompts),
        samples=tuple(len(group) for group in groups.values()),
        prompt_tokens=tuple(row.prompt_length for row in prompts),
        output_tokens=tuple(row.output_length for row in samples),
        name="replay",
        source=path.name,
        ids=tuple(row.ids for row in prompts if row.ids) or None,
        blocks=tuple(row.blocks or () for row in prompts) if any(row.blocks for row in prompts) else None,
        block_tokens=form.block_tokens,
        arrival_seconds=None if begin is None else arrivals,
        session=tuple(row.session for row in samples) if sessions else None,
        turn=tuple(row.turn or 1 for row in samples) if sessions else None,
        delay_seconds=tuple(row.delay_seconds for row in samples) if sessions else None,
    )


def _checked(form: Format, rows: Iterable[Row], longest: int | None, memory_bytes: int) -> Iterator[Row]:
    """The rows, each with its turn, and of a later turn all that it sends."""
    groups: dict[Any, Row] = {}
    last: dict[str, Row] = {}
    earlier: Row | None = None
    for number, row in enumerate(rows, 1):
        if number * SAMPLE_BYTES > memory_bytes:
            raise BadFile(
                f"{row.where}: more samples than the {memory_bytes} bytes of memory of this "
                f"machine could hold, at {SAMPLE_BYTES} bytes or more for each"
            )
        before = last.get(row.session) if row.session is not None else None
        row = _turn(form, row, before)
        if longest and row.prompt_length + row.output_length > longest:
            raise BadFile(
                f"{row.where}: {form.prompt} {row.prompt_length} and {form.output} {row.output_length} make "
                f"{row.prompt_length + row.output_length} tokens; the model takes {longest} at most: leave "
                "the line out, or take another model"
            )
        _check_times(form, row, before, earlier)
        if row.group is not None:
            _check_group(form, row, groups.setdefault(row.group, row))
        if row.session is not None:
            last[row.session] = row
        if row.turn in (None, 1):
            earlier = row
        yield row


def _turn(form: Format, row: Row, before: Row | None) -> Row:
    expected = 1 if before is None or before.turn is None else before.turn + 1
    if row.session is None:
        for name, given in ((form.turn, row.turn), (form.delay, row.delay_seconds)):
            if given:
                raise BadFile(f"{row.where} has {name}, and no {form.session}; add it")
    elif row.turn not in (None, expected):
        raise BadFile(
            f"{row.where}: {form.turn or 'turn'} is {row.turn}, and {form.session} {row.session} has no turn "
            f"{(row.turn or 1) - 1} right before it; its next turn is {expected}"
        )
    shared = 0 if before is None else before.prompt_length + before.output_length
    sent = row.prompt_length + (shared if form.adds else 0)
    if sent <= shared and before is not None:
        raise BadFile(
            f"{row.where}: {form.prompt} is {sent}, but the turn before sent {before.prompt_length} and was "
            f"answered with {before.output_length}, to which a turn adds; if it forgets them, give it a "
            f"{form.session} of its own"
        )
    needed = math.ceil((sent - shared) / form.block_tokens)
    if row.blocks is not None and len(row.blocks) != needed:
        raise BadFile(
            f"{row.where}: {form.blocks} has {len(row.blocks)} blocks of {form.block_tokens} tokens, and "
            f"{sent - shared} tokens of {form.prompt} take {needed}; say how large a block is: --block-tokens"
        )
    turn = None if row.session is None else expected
    return replace(row, turn=turn, prompt_length=sent)


def _check_times(form: Format, row: Row, before: Row | None, earlier: Row | None) -> None:
    """First turns arrive in the order of the file, later ones in their session's; all first ones, or none."""
    other = earlier if before is None else before
    if other is None:
        return
    known, now = other.arrival_seconds, row.arrival_seconds
    if now is None or known is None:
        if before is None and (now is None) != (known is None):
            has, lacks = (row, other) if known is None else (other, row)
            raise BadFile(f"{lacks.where} has no {form.arrival}, and {has.where} has one; give all or none")
    elif now < known:
        raise BadFile(
            f"{row.where}: {form.arrival} goes back by {known - now:g} s, from that of {other.where}; "
            "sort the lines by it"
        )


def _check_group(form: Format, row: Row, first: Row) -> None:
    if row.prompt_length != first.prompt_length or row.blocks != first.blocks:
        raise BadFile(
            f"{row.where}: {form.prompt} is {row.prompt_length}, but {first.where} of the same group has "
            f"{first.prompt_length}; samples of a group answer one prompt, with the same {form.blocks}"
        )
    if row is not first and (row.turn or 1) > 1:
        raise BadFile(
            f"{row.where}: {form.group} is {row.group}, which {first.where} has too; a later turn goes on "
            "with one answer: give it a group of its own"
        )
