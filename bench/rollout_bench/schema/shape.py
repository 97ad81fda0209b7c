"""Reads JSON, and holds it against the fields of a dataclass: what is read is what it is taken for. Pure.

    reason = unlike({"path": 5}, Record)  # "'path' is no text"

A field may be left out where None is one of its types. `Annotated[dict[str, Any], Shape]` is an object
that has the fields of another dataclass, and may have more. A number is one that can be reckoned with.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

_WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "truth value",
    dict: "object",
    list: "list",
}
_DEEPEST = 100
_LARGEST = 1e18
"""And 1 / it the smallest: beyond them are no bytes, seconds or shares, and sums and ratios may overflow."""


def read_json(text: str) -> Any:
    """What a text of JSON holds.

    Raises ValueError, which says why, where it is none, is nested too deep to be written again, or has half a
    surrogate pair, which cannot be printed.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if text.count("[") + text.count("{") > _DEEPEST and _is_deep(content):
        raise ValueError(f"nested more than {_DEEPEST} deep")
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("a text in it has half a surrogate pair") from None
    return content


def _is_deep(content: Any) -> bool:
    level = [content]
    for _ in range(_DEEPEST):
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(level)


class _Field(NamedTuple):
    is_right: Callable[[Any], bool]
    words: str
    required: bool
    items: "_Field | None"
    """Of an object that has values of one type."""
    shape: type | None


def unlike(content: Any, shape: type, whose: str = "") -> str | None:
    """In what `content` is not of a shape, in a line; None where it is."""
    if not isinstance(content, dict):
        return "not an object"
    for name, field in _fields(shape).items():
        value = content.get(name)
        if value is None and not field.required:
            continue
        if name not in content:
            return f"{whose}{name!r} is missing"
        if reason := _wrong(value, field, name, whose):
            return reason
    return None


def _wrong(value: Any, field: _Field, name: str, whose: str) -> str | None:
    if not field.is_right(value):
        return f"{whose}{name!r} is {field.words}"
    if field.items is not None:
        for key, item in value.items():
            if reason := _wrong(item, field.items, key, _of(name)):
                return reason
    return unlike(value, field.shape, _of(name)) if field.shape is not None else None


def surplus(content: Mapping[str, Any], shape: type) -> list[str]:
    """Names in `content` that are no fields of the shape."""
    return sorted(set(content) - set(_fields(shape)))


def shapes(shape: type) -> dict[str, type]:
    """The fields of a shape that are objects with a shape of their own."""
    return {name: field.shape for name, field in _fields(shape).items() if field.shape is not None}


def _of(name: str) -> str:
    return f"the {name}' " if name.endswith("s") else f"the {name}'s "


@cache
def _fields(shape: type) -> dict[str, _Field]:
    hints = get_type_hints(shape, include_extras=True)
    return {field.name: _field(hints[field.name]) for field in fields(shape)}


def _field(hint: Any) -> _Field:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        [kind] = (one for one in inner if one is not NoneType)
        return _field(kind)._replace(required=False)
    if origin is Annotated:
        return _field(inner[0])._replace(shape=inner[1])
    if origin is Literal:
        return _Field(lambda value: value in inner, f"not one of {', '.join(inner)}", True, None, None)
    if origin is list:
        [kind] = inner
        kind = get_origin(kind) or kind
        return _Field(
            lambda value: isinstance(value, list) and all(_is_a(kind, one) for one in value),
            f"no list of {_WORDS[kind]}s", True, None, None,
        )  # fmt: skip
    if origin is dict:
        items = None if inner[1] is Any else _field(inner[1])
        return _Field(lambda value: isinstance(value, dict), f"no {_WORDS[dict]}", True, items, None)
    return _Field(lambda value: _is_a(hint, value), f"no {_WORDS[hint]}", True, None, None)


def _is_a(kind: type, value: Any) -> bool:
    if kind is float and type(value) is float and value > 0:  # samples, of which a long history has millions
        return 1 / _LARGEST <= value <= _LARGEST
    if kind not in (int, float):
        return isinstance(value, kind)
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
        return False
    return value == 0 or 1 / _LARGEST <= abs(value) <= _LARGEST  # and none of NaN
