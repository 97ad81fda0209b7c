"""An engine step's call and its reply as what they change of those before.

Steps resemble each other: the same requests, each a token further. So of the objects that vLLM passes, which
are dataclasses, these parts travel:

- a long list of requests' names, and the keys of a long dict: what was taken out of one of the last two such
  lists and what was appended, which is mostly nothing;
- a long list of numbers, or of lists with one number each: packed;
- of what is small and plain: only what is not as in the object before;
- everything else as it is.

Encoder and decoder remember the same, so every delta must be decoded, in order; a decoder that has missed one
says so. Pure: no sockets, no processes, and nothing of vLLM.
"""

from array import array
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

LONG = 16
"""Lists and dicts with fewer entries are not worth packing."""

_NUMBERS = 256  # deltas are numbered modulo this, in one byte
_PLAIN = {int, bool, type(None), str, float, bytes}
_CONTAINERS = {list, dict, set, tuple}
_COPIED = {list, dict, set}
_NEVER_SEEN = object()


class DeltaError(ValueError):
    """A delta does not follow the one that was decoded last."""


class _Names:
    """The last two lists of names, the newer one first; both ends keep the same."""

    def __init__(self) -> None:
        self._recent: list[list] = []

    def shorten(self, names: list) -> Any:
        """(which of the lists,), with what was taken out and what was appended where it has changed; or
        the names themselves where they are like neither list. None where they could change."""
        for which, old in enumerate(self._recent):
            if old == names:
                self._renew(which, old)
                return (which,)
        if not _PLAIN.issuperset(map(type, names)):
            return None
        kept = names.copy()
        for which, old in enumerate(self._recent):
            change = _change(old, names)
            if change is not None:
                self._renew(which, kept)
                return (which, *change)
        self._add(kept)
        return names

    def restore(self, code: Any) -> list:
        """What `shorten` was given: not to be changed, and the same object while it is the same."""
        if type(code) is list:
            self._add(code)
            return code
        which, *change = code
        names = self._recent[which]
        if change:
            taken, appended = change
            names = names.copy()
            for position in reversed(taken):
                del names[position]
            names += appended
        self._renew(which, names)
        return names

    def _renew(self, which: int, names: list) -> None:
        del self._recent[which]
        self._recent.insert(0, names)

    def _add(self, names: list) -> None:
        self._recent = [names, *self._recent[:1]]


def _change(old: Sequence, new: Sequence) -> tuple[list[int], list] | None:
    """Positions of `old` to take out and what to append, to get `new`; None where that is too much."""
    most = len(old) // 4
    if not len(old) - most <= len(new) <= len(old) + most:
        return None
    taken: list[int] = []
    met, count = 0, len(new)
    for position, name in enumerate(old):
        if met < count and new[met] == name:
            met += 1
        elif len(taken) < most:
            taken.append(position)
        else:
            return None
    return (taken, list(new[met:])) if count - met <= most else None


_SAME, _ORDINALS, _INTEGERS, _SINGLES, _NAMES, _DICT, _OBJECT = range(7)
"""Kinds of what is packed."""


def _pack(values: list) -> tuple | None:
    """A long list, packed; None where it is better left as it is."""
    first, last = values[0], values[-1]
    kind = type(first)
    if kind is int or first is None:
        if first == last and values.count(first) == len(values):
            return (_SAME, first, len(values))
        if first == 0 and last == len(values) - 1 and values == list(range(len(values))):
            return (_ORDINALS, len(values))
    try:
        if kind is int:
            return (_INTEGERS, array("i", values).tobytes())
        if kind is list:
            return (_SINGLES, array("i", [value for (value,) in values]).tobytes())
    except (TypeError, ValueError, OverflowError):
        pass
    return None


def _unpack(code: tuple) -> list:
    kind = code[0]
    if kind == _SAME:
        return [code[1]] * code[2]
    if kind == _ORDINALS:
        return list(range(code[1]))
    numbers = array("i")
    numbers.frombytes(code[1])
    return numbers.tolist() if kind == _INTEGERS else [[number] for number in numbers]


def _is_plain(value: Any) -> bool:
    """Whether a short value holds nothing that could change under whoever remembers it."""
    if type(value) is dict:
        return _PLAIN.issuperset(map(type, value)) and _PLAIN.issuperset(map(type, value.values()))
    return _PLAIN.issuperset(map(type, value))


class _End:
    """What encoder and decoder remember."""

    def __init__(self) -> None:
        self._number = 0
        self._names = _Names()
        self._remembered: dict[tuple[str, type], dict[str, Any]] = {}

    def _next(self) -> int:
        self._number = (self._number + 1) % _NUMBERS
        return self._number


class DeltaEncoder(_End):
    """Turns the values of one direction into deltas, which pickle takes."""

    def __init__(self) -> None:
        super().__init__()
        self._fields: dict[tuple[str, type], list[str]] = {}

    def encode(self, value: Any) -> tuple:
        """The delta of a value to those before. What is no dataclass is in it as it is."""
        code = self._object(value, "")
        return (self._next(), None, value) if code is None else (self._next(), code)

    def _object(self, value: Any, place: str) -> tuple | None:
        """(its class, what it has that is to be remembered, what is not, what is packed) of a dataclass."""
        where = (place, type(value))
        fields = self._fields.get(where)
        if fields is None:
            fields = self._fields[where] = list(vars(value)) if _is_simple(type(value)) else []
        if not fields or list(vars(value)) != fields:
            return None
        before = self._remembered.setdefault(where, {})
        new: dict[str, Any] = {}
        passing: dict[str, Any] = {}
        packed: dict[str, tuple] = {}
        for name, item in vars(value).items():
            kind = type(item)
            if kind in _CONTAINERS:
                if len(item) >= LONG:
                    code = self._long(item)
                    if code is None:
                        passing[name] = item
                    else:
                        packed[name] = code
                    continue
                if item and not _is_plain(item):
                    passing[name] = item
                    continue
            elif kind not in _PLAIN:
                code = self._object(item, f"{place}.{name}") if hasattr(item, "__dict__") else None
                if code is None:
                    passing[name] = item
                else:
                    packed[name] = (_OBJECT, code)
                continue
            old = before.get(name, _NEVER_SEEN)
            if type(old) is not kind or old != item:
                before[name] = item.copy() if kind in _COPIED else item
                new[name] = item
        return (type(value), new, passing, packed)

    def _long(self, item: Any) -> tuple | None:
        if type(item) is list and type(item[0]) is not str:
            return _pack(item)
        if type(item) not in (list, dict):
            return None
        names = self._names.shorten(list(item) if type(item) is dict else item)
        if names is None:
            return None
        if type(item) is list:
            return (_NAMES, names)
        values = list(item.values())
        return (_DICT, names, _pack(values) or values)


class DeltaDecoder(_End):
    """Turns the deltas of one direction back."""

    def __init__(self) -> None:
        super().__init__()
        self._dicts: dict[str, tuple[list, Any, dict]] = {}

    def decode(self, delta: tuple) -> Any:
        """The value that `encode` was given, or one that equals it. Raises DeltaError for a delta that does
        not follow the last."""
        number, code, *value = delta
        expected = self._next()
        if number != expected:
            raise DeltaError(f"delta {number} came where {expected} was to come")
        return value[0] if code is None else self._object(code, "")

    def _object(self, code: tuple, place: str) -> Any:
        kind, new, passing, packed = code
        before = self._remembered.setdefault((place, kind), {})
        before.update(new)
        state = {name: item.copy() if type(item) in _COPIED else item for name, item in before.items()}
        state.update(passing)
        for name, item in packed.items():
            state[name] = self._item(item, f"{place}.{name}")
        value = kind.__new__(kind)
        value.__dict__.update(state)
        return value

    def _item(self, code: tuple, place: str) -> Any:
        kind, *rest = code
        if kind == _OBJECT:
            return self._object(rest[0], place)
        if kind == _NAMES:
            return self._names.restore(rest[0]).copy()
        return self._dict(rest[0], rest[1], place) if kind == _DICT else _unpack(code)

    def _dict(self, names: Any, values: Any, place: str) -> dict:
        names = self._names.restore(names)
        if type(values) is not tuple:
            return dict(zip(names, values, strict=True))
        made_of, made_with, made = self._dicts.get(place, (None, None, {}))
        if made_of is not names or made_with != values:  # copying is faster than making
            made = dict(zip(names, _unpack(values), strict=True))
            self._dicts[place] = names, values, made
        return made.copy()


def _is_simple(kind: type) -> bool:
    """Whether pickle would do no more with a class's objects than take their attributes."""
    own = ("__getnewargs__", "__getnewargs_ex__", "__setstate__", "__slots__")
    return (
        is_dataclass(kind)
        and kind.__new__ is object.__new__  # it is no kind of dict, list or tuple
        and kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and getattr(kind, "__getstate__", None) is getattr(object, "__getstate__", None)
        and not any(hasattr(kind, name) for name in own)
    )
