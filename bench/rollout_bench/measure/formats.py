"""The forms in which traces are published, as one table; and the reader of all, which makes rows of lines.

docs/workloads.md says where each form comes from. A reader takes what a line says and nothing else: what it
does not say is refused by line and field.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .chat import MEDIA
from .lines import BadFile, Line

TEXT = ("prompt", "messages", "text_input", "text")
"""Fields with a chat or a text, the first that a line has."""

Encode = Callable[[Mapping[str, Any], str, str], list[int]]
"""Ids of the chat in a field of a line; and where the line stands, for messages."""


@dataclass(frozen=True)
class Format:
    """What a form calls the parts of a row; an empty name: it has no such part."""

    source: str
    marks: tuple[str, ...]
    """Fields by which a first line is of this form."""
    prompt: str
    output: str
    arrival: str = ""
    unit_seconds: float = 1.0
    """Seconds of a unit of arrival and delay."""
    group: str = ""
    session: str = ""
    turn: str = ""
    """Without it the lines of a session are its turns, in their order."""
    delay: str = ""
    adds: bool = False
    """Whether the prompt of a later turn counts what it adds, and not all that it sends."""
    blocks: str = ""
    block_tokens: int = 512
    text: bool = False
    """Whether the prompt is a text or a chat, and not its length."""
    media: tuple[str, ...] = ()
    """Fields that say that a row is not of text alone, unless they are empty or 0; `type` by one of MEDIA."""
    empty: str = ""
    """What to do about an answer of no tokens."""


FORMATS = {
    "lengths": Format(
        "our own, as `record` writes it",
        ("prompt_length",),
        "prompt_length",
        "output_length",
        "arrival_seconds",
        group="group",
        session="session",
        turn="turn",
        delay="delay_seconds",
        blocks="hash_ids",
        block_tokens=16,
    ),
    "bailian": Format(
        "Alibaba's Qwen-Bailian traces",
        ("chat_id", "input_length"),
        "input_length",
        "output_length",
        "timestamp",
        blocks="hash_ids",
        block_tokens=16,
        media=("type",),
    ),
    "mooncake": Format(
        "Mooncake's traces, and AIPerf's with session_id and delay",
        ("input_length",),
        "input_length",
        "output_length",
        "timestamp",
        1e-3,
        session="session_id",
        delay="delay",
        adds=True,
        blocks="hash_ids",
    ),
    "aiperf": Format(
        "AIPerf's sessions, a line each, with texts",
        ("turns",),
        "text",
        "output_length",
        "timestamp",
        1e-3,
        session="session_id",
        delay="delay",
        text=True,
        media=MEDIA,
    ),
    "chats": Format(
        "chats with the length of their answers, as AIPerf replays them",
        ("output_length",),
        "prompt",  # or the `chat_column` of the first line
        "output_length",
        "timestamp",
        1e-3,
        text=True,
        media=MEDIA,
    ),
    "azure": Format(
        "Azure's LLM inference traces, CSV",
        ("ContextTokens", "GeneratedTokens"),
        "ContextTokens",
        "GeneratedTokens",
        "TIMESTAMP",
        media=("NumImages",),
    ),
    "burstgpt": Format(
        "BurstGPT, CSV",
        ("Request tokens", "Response tokens"),
        "Request tokens",
        "Response tokens",
        "Timestamp",
        empty="take the files without failures, BurstGPT_without_fails_*.csv",
    ),
}
"""The forms by name; a file is of the first one whose marks its first line has."""


@dataclass(frozen=True)
class Row:
    """One sample, whatever form it was read from; times in seconds, lengths in tokens."""

    where: str
    prompt_length: int
    """All that is sent; of a later turn where `adds`, what it adds."""
    output_length: int
    group: int | str | None = None
    """Samples of a group answer one prompt; None: this prompt has one."""
    ids: tuple[int, ...] | None = None
    blocks: tuple[int | str, ...] | None = None
    session: str | None = None
    turn: int | None = None
    delay_seconds: float = 0.0
    arrival_seconds: float | None = None


def form_of(line: Mapping[str, Any], column: str | None) -> str | None:
    """The name of the form that a first line has, if any; `column` is where a user says that chats are."""
    for name, form in FORMATS.items():
        if all(mark in line for mark in form.marks) and (name != "chats" or chat_column(line, column)):
            return name
    return None


def chat_column(line: Mapping[str, Any], column: str | None) -> str | None:
    """The field of a line with a chat or a text, if any: the one that a user names, or the first of TEXT."""
    return next((name for name in ([column] if column else TEXT) if line.get(name) is not None), None)


def rows(form: Format, lines: Iterator[Line], output_tokens: int | None, encode: Encode) -> Iterator[Row]:
    """The rows of a file's lines. `output_tokens` is of those that do not say it. Raises BadFile."""
    for where, line in lines:
        if "turns" in form.marks:
            yield from _turns(form, where, line, output_tokens, encode)
        else:
            yield _row(form, where, line, output_tokens, encode)


def _row(form: Format, where: str, line: Mapping[str, Any], output_tokens: int | None, encode: Encode) -> Row:
    _check_text_alone(form, where, line)
    output = _output(form, where, line, output_tokens)
    ids = None
    if form.text:
        beyond = [name for name in ("session_id", "delay") if line.get(name) is not None]
        if beyond:
            raise BadFile(f"{where}: {beyond[0]} beside {form.prompt}; give a session as one line with turns")
        if line.get(form.prompt) is None:
            raise BadFile(f"{where} has {', '.join(line)}, and no {form.prompt}, which the first line has")
        ids = tuple(encode(line, form.prompt, where))
    return Row(
        where,
        _length(line, form.prompt, where) if ids is None else len(ids),
        output,
        _group(form, where, line),
        ids,
        _blocks(form, where, line),
        _session(form, where, line),
        _length(line, form.turn, where) if form.turn and line.get(form.turn) is not None else None,
        _seconds(form, form.delay, where, line) or 0.0,
        _seconds(form, form.arrival, where, line),
    )


def _turns(
    form: Format, where: str, line: Mapping[str, Any], output_tokens: int | None, encode: Encode
) -> Iterator[Row]:
    """The turns of one line. A prompt is as long as the chat until then, whose answers are forced."""
    turns = line.get("turns")
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise BadFile(f"{where}: turns is no list of turns; give each a text and an output_length")
    session = _session(form, where, line) or where
    chat: list[dict[str, str]] = []
    answered = 0
    for number, turn in enumerate(turns, 1):
        here = f"{where} turn {number}"
        _check_text_alone(form, here, turn)
        text = turn.get(form.prompt)
        if not isinstance(text, str):
            has = ", ".join(turn) or "nothing"
            raise BadFile(f"{here} has {has}, and no text; one text a turn can be rolled out")
        output = _output(form, here, turn, output_tokens)
        chat.append({"role": turn.get("role") or "user", "content": text})
        length = len(encode({form.prompt: chat}, form.prompt, here)) + answered
        yield Row(
            here,
            length,
            output,
            session=session,
            delay_seconds=_seconds(form, form.delay, here, turn) or 0.0,
            arrival_seconds=_seconds(form, form.arrival, here, turn),
        )
        chat.append({"role": "assistant", "content": ""})
        answered += output


def _check_text_alone(form: Format, where: str, line: Mapping[str, Any]) -> None:
    for name in form.media:
        value = line.get(name)
        if value and (name != "type" or value in MEDIA):
            raise BadFile(
                f"{where}: {name} is {_shown(value)}; only text can be rolled out: leave the line out"
            )


def _output(form: Format, where: str, line: Mapping[str, Any], output_tokens: int | None) -> int:
    if line.get(form.output) is None:
        if output_tokens is None:
            has = ", ".join(line) or "nothing"
            raise BadFile(f"{where} has {has}, and no {form.output}; add it, or give --output-tokens for all")
        return output_tokens
    if output_tokens is not None:
        raise BadFile(f"{where}: {form.output} is {line[form.output]}; --output-tokens is for a file without")
    return _length(line, form.output, where, form.empty)


def _length(line: Mapping[str, Any], name: str, where: str, fix: str = "") -> int:
    if name not in line:
        raise BadFile(f"{where} has {', '.join(line) or 'nothing'}, and no {name}; add it")
    value = line[name]
    if type(value) is not int or value < 1:
        fix = fix or "leave the line out if it is no sample"
        raise BadFile(f"{where}: {name} is {_shown(value)}; it must be a whole number, at least 1: {fix}")
    return value


def _group(form: Format, where: str, line: Mapping[str, Any]) -> int | str | None:
    value = line.get(form.group) if form.group else None
    if form.group and form.group not in line:
        raise BadFile(
            f"{where} has {', '.join(line)}, and no group; give samples of one prompt the same group"
        )
    if form.group and type(value) not in (int, str):
        raise BadFile(f"{where}: {form.group} is {_shown(value)}; give a number or a name")
    return value


def _session(form: Format, where: str, line: Mapping[str, Any]) -> str | None:
    value = line.get(form.session) if form.session else None
    if value is not None and type(value) not in (int, str):
        raise BadFile(f"{where}: {form.session} is {_shown(value)}; give a number or a name")
    return None if value is None else str(value)


def _blocks(form: Format, where: str, line: Mapping[str, Any]) -> tuple[int | str, ...] | None:
    value = line.get(form.blocks) if form.blocks else None
    if value is None:
        return None
    if not isinstance(value, Sequence) or not all(type(one) in (int, str) for one in value):
        raise BadFile(f"{where}: {form.blocks} is {_shown(value)}; give a list of numbers or names")
    return tuple(value)


def _seconds(form: Format, name: str, where: str, line: Mapping[str, Any]) -> float | None:
    value = line.get(name) if name else None
    if value is None:
        return None
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except ValueError:
            raise BadFile(
                f"{where}: {name} is {_shown(value)}; give a number, or a date and a time"
            ) from None
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise BadFile(f"{where}: {name} is {_shown(value)}; it must be a number, at least 0")
    return float(value * form.unit_seconds)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else f"{text[:56]} ..."
