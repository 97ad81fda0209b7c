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
from operator import itemgetter
from typing import Any

LONG = 16
"""Lists and dicts with fewer entries are not worth packing."""

_NUMBERS = 256  # deltas are numbered modulo this, in one byte
_PLAIN = {int, bool, type(None), str, float, bytes}
_CONTAINERS = {list, dict, set, tuple}
_COPIED = {list, dict, set}


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


class DeltaEncoder:
    """Turns the values of one direction into deltas: tuples that pickle takes."""

    plain = False
    """Whether the last delta is made of nothing but what marshal takes as well."""

    def __init__(self) -> None:
        self._number = 0
        self._names = _Names()
        self._shapes: dict[tuple, _Sent] = {}

    def encode(self, value: Any) -> tuple:
        """The delta of a value to those before. What is no dataclass is in it as it is."""
        self._number = (self._number + 1) % _NUMBERS
        self.plain = True
        code = self._object(value, ())
        if code is not None:
            return (self._number, code)
        self.plain = type(value) in _PLAIN
        return (self._number, None, value)

    def _object(self, value: Any, place: tuple) -> tuple | None:
        """(its shape, what is to be remembered, what is not, what is packed) of a dataclass.

        The shape is a number, and the first time its class and fields; the others are by the field's place.
        """
        where = (*place, type(value))
        sent = self._shapes.get(where)
        shape: Any
        if sent is None:
            if not _is_simple(type(value)):
                return None
            sent = self._shapes[where] = _Sent(len(self._shapes), list(vars(value)))
            shape, self.plain = (type(value), sent.fields), False
        elif list(vars(value)) == sent.fields:
            shape = sent.number
        else:
            return None
        changed: tuple[dict, dict, dict] = ({}, {}, {})
        items = list(vars(value).values())
        others = sent.others.copy()
        if not sent.remembers(items):
            for field in sent.small.copy():
                item, old = items[field], sent.remembered[field]
                if type(item) is not type(old) or item != old:
                    self._field(sent, field, item, changed)
        for field in others:
            self._field(sent, field, items[field], changed)
        return (shape, *changed)

    def _field(self, sent: "_Sent", field: int, item: Any, changed: tuple[dict, dict, dict]) -> None:
        """Add a field that is not as it was, and note whether it is one to be remembered."""
        new, passing, packed = changed
        kind = type(item)
        small, code = kind in _PLAIN, None
        if kind in _CONTAINERS:
            if len(item) >= LONG:
                code = self._long(item)
            else:
                small = not item or _is_plain(item)
        elif not small and hasattr(item, "__dict__"):
            code = self._object(item, (sent.number, field))
            code = None if code is None else (_OBJECT, code)
        sent.settle(field, small)
        if small:
            sent.remembered[field] = item.copy() if kind in _COPIED else item
            new[field] = item
        elif code is not None:
            packed[field] = code
        else:
            passing[field] = item
            self.plain = False

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
        code = _pack(values)
        if code is None:
            self.plain = False
        return (_DICT, names, code or values)


class _Sent:
    """What an encoder remembers of the objects of a class at a place."""

    def __init__(self, number: int, fields: list[str]):
        self.number, self.fields = number, fields
        self.small: list[int] = []
        """The fields that are remembered, by their place."""
        self.others = list(range(len(fields)))
        self.remembered: dict[int, Any] = {}
        self._all: tuple[Any, list, list] | None = None
        """What picks the small ones out of all, how they were, their types; None where that changed."""

    def settle(self, field: int, small: bool) -> None:
        """A field has changed, or is not remembered; from now on it is, or is not."""
        self._all = None if small or field in self.small else self._all
        if small != (field in self.small):
            (self.others if small else self.small).remove(field)
            (self.small if small else self.others).append(field)

    def remembers(self, items: list) -> bool:
        """Whether all that is remembered is as it was: what most steps need to ask, and nothing else."""
        if self._all is None:
            if len(self.small) < 2:
                return False
            old = [self.remembered[field] for field in self.small]
            self._all = itemgetter(*self.small), old, list(map(type, old))
        pick, old, kinds = self._all
        now = list(pick(items))
        try:
            return now == old and list(map(type, now)) == kinds
        except Exception:  # of arrays, which have no single answer
            return False


class DeltaDecoder:
    """Turns the deltas of one direction back."""

    def __init__(self) -> None:
        self._number = 0
        self._names = _Names()
        self._shapes: list[_Received] = []
        self._dicts: dict[tuple[int, int], tuple[list, Any, dict]] = {}

    def decode(self, delta: tuple) -> Any:
        """The value that `encode` was given, or one that equals it. Raises DeltaError for a delta that does
        not follow the last."""
        number, code, *value = delta
        self._number = (self._number + 1) % _NUMBERS
        if number != self._number:
            raise DeltaError(f"delta {number} came where {self._number} was to come")
        return value[0] if code is None else self._object(code)

    def _object(self, code: tuple) -> Any:
        shape, new, passing, packed = code
        if type(shape) is not int:
            self._shapes.append(_Received(*shape))
            shape = len(self._shapes) - 1
        received = self._shapes[shape]
        fields = received.fields
        if new:
            received.remember(new)
        state = received.remembered.copy()
        for name in received.copied:
            state[name] = state[name].copy()
        for field, item in passing.items():
            state[fields[field]] = item
        for field, item in packed.items():
            state[fields[field]] = self._item(item, (shape, field))
        value = received.kind.__new__(received.kind)
        value.__dict__.update(state)
        return value

    def _item(self, code: tuple, place: tuple[int, int]) -> Any:
        kind, *rest = code
        if kind == _OBJECT:
            return self._object(rest[0])
        if kind == _NAMES:
            return self._names.restore(rest[0]).copy()
        return self._dict(rest[0], rest[1], place) if kind == _DICT else _unpack(code)

    def _dict(self, names: Any, values: Any, place: tuple[int, int]) -> dict:
        names = self._names.restore(names)
        if type(values) is not tuple:
            return dict(zip(names, values, strict=True))
        made_of, made_with, made = self._dicts.get(place, (None, None, {}))
        if made_of is not names or made_with != values:  # copying is faster than making
            made = dict(zip(names, _unpack(values), strict=True))
            self._dicts[place] = names, values, made
        return made.copy()


class _Received:
    """What a decoder remembers of the objects of a class at a place."""

    def __init__(self, kind: Any, fields: list[str]):
        self.kind, self.fields = kind, fields
        self.remembered: dict[str, Any] = {}
        self.copied: list[str] = []
        """Of the remembered ones those that whoever gets them could change."""

    def remember(self, new: dict[int, Any]) -> None:
        """Take over what has changed."""
        for field, item in new.items():
            self.remembered[self.fields[field]] = item
        self.copied = [name for name, item in self.remembered.items() if type(item) in _COPIED]


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
