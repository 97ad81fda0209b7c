"""A chat as data sets have it, made into what a model's template takes: turns of a role and a text. Pure."""

import json
from collections.abc import Mapping
from typing import Any

MEDIA = ("image", "images", "video", "videos", "audio", "audios")
"""Columns beside a chat with what its placeholders stand for."""

_TEXT_ALONE = "only text can be rolled out"


def turns(row: Mapping[str, Any], column: str) -> list[dict[str, Any]]:
    """The turns of a row's chat: a text, a list of role and content, or such a list as JSON in a text.

    As vLLM's server has it, parts of text are joined by line breaks, and no content is an empty text.
    Raises ValueError, naming the column, for what is no chat, and for what is not text alone.
    """
    for name in MEDIA:
        if row.get(name):
            raise ValueError(f"{name} is not empty; {_TEXT_ALONE}")
    chat = row[column]
    if isinstance(chat, str):
        chat = _read_chat(chat) or [{"role": "user", "content": chat}]
    if not _is_chat(chat):
        raise ValueError(f"{column} is no chat: give a text, or a list of role and content")
    # Parquet gives every turn the fields that any of them has.
    return [
        {name: value for name, value in turn.items() if value is not None}
        | {"content": _text(turn["content"], f"{column} turn {number}")}
        for number, turn in enumerate(chat, 1)
    ]


def _read_chat(text: str) -> list[Any] | None:
    """The chat that a text holds as JSON, as ROLL keeps them; None where the text is itself what is said."""
    if not text.lstrip().startswith("["):
        return None
    try:
        chat = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return chat if any(isinstance(turn, dict) and "role" in turn for turn in chat) else None


def _is_chat(chat: Any) -> bool:
    return (
        isinstance(chat, list)
        and bool(chat)
        and all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in chat)
    )


def _text(content: Any, where: str) -> str:
    content = "" if content is None else content
    parts = content if isinstance(content, list) else [content]
    return "\n".join(_part(part, where) for part in parts)


def _part(part: Any, where: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text":
        part = part.get("text")
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    raise ValueError(f"{where} has a part of type {kind}; {_TEXT_ALONE}")
