"""Holds plain JSON against the fields of a dataclass, so that what is read is what it is taken for. Pure.

    reason = unlike({"path": 5}, Record)  # "'path' is no text"

A field may be left out where None is one of its types. `Annotated[dict[str, Any], Shape]` is an object
that has the fields of another dataclass, and may have more.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

_WORDS = {str: "text", int: "whole number", float: "number", dict: "object", list: "list"}


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
        if value is None or not field.is_right(value):
            return f"{whose}{name!r} is {field.words}"
        if field.items is not None:
            for key, item in value.items():
                if not field.items.is_right(item):
                    return f"{_of(name)}{key!r} is {field.items.words}"
        if field.shape is not None and (reason := unlike(value, field.shape, _of(name))):
            return reason
    return None


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
        kinds = _kinds(get_origin(inner[0]) or inner[0])
        words = f"no list of {_WORDS[kinds[0]]}s"
        return _Field(
            lambda value: isinstance(value, list) and all(isinstance(one, kinds) for one in value),
            words, True, None, None,
        )  # fmt: skip
    if origin is dict:
        items = None if inner[1] is Any else _field(inner[1])
        return _Field(lambda value: isinstance(value, dict), f"no {_WORDS[dict]}", True, items, None)
    kinds = _kinds(hint)
    return _Field(lambda value: isinstance(value, kinds), f"no {_WORDS[hint]}", True, None, None)


def _kinds(kind: type) -> tuple[type, ...]:
    return (float, int) if kind is float else (kind,)
