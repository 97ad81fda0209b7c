"""transports/delta.py: what goes in comes out, whatever came before; what does not change does not travel."""

import pickle
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from rollout_perf.transports import wire
from rollout_perf.transports.delta import LONG, DeltaDecoder, DeltaEncoder, DeltaError


@dataclass
class Cached:
    """As vLLM has it for the requests that were scheduled before."""

    names: list[str] = field(default_factory=list)
    blocks: list[Any] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)
    resumed: set[str] = field(default_factory=set)


@dataclass
class Schedule:
    """What an engine step is to do, as vLLM has it."""

    cached: Cached = field(default_factory=Cached)
    tokens: dict[str, int] = field(default_factory=dict)
    total: int = 0
    new: list[Any] = field(default_factory=list)
    finished: set[str] = field(default_factory=set)
    drafts: dict[str, list[int]] = field(default_factory=dict)
    mask: Any = None


@dataclass
class Output:
    """What it gave."""

    names: list[str]
    places: dict[str, int]
    sampled: list[list[int]]
    logprobs: Any = None


def names_of(count, first=0):
    return [f"r{number}-{number * 7919 % 65536:04x}" for number in range(first, first + count)]


def schedule_of(names, step):
    cached = Cached(names, [None] * len(names), [step + place % 5 for place in range(len(names))])
    return Schedule(cached, dict.fromkeys(names, 1), len(names))


def output_of(names, step):
    places = {name: place for place, name in enumerate(names)}
    return Output(names, places, [[(place * 31 + step) % 152_000] for place in range(len(names))])


class Pair:
    """An encoder, a decoder, and the wire's format between them."""

    def __init__(self):
        self.encoder, self.decoder = DeltaEncoder(), DeltaDecoder()
        self.sizes = []

    def carry(self, value):
        delta = self.encoder.encode(value)
        message = wire.encode(delta, self.encoder.plain)
        self.sizes.append(wire.byte_count(message))
        return self.decoder.decode(wire.decode([bytes(frame) for frame in message]))


@pytest.fixture
def pair():
    return Pair()


@pytest.mark.parametrize("count", [1, LONG - 1, LONG, 256])
def test_steps_of_the_same_requests(pair, count):
    names = names_of(count)
    for step in range(5):
        assert pair.carry(schedule_of(list(names), step)) == schedule_of(names, step)
        assert pair.carry(output_of(list(names), step)) == output_of(names, step)


def test_steps_of_the_same_requests_are_plain(pair):
    """But the first, which has the classes."""
    for step in range(3):
        pair.carry(schedule_of(names_of(20), step))
        assert pair.encoder.plain == (step > 0)
    for mask in (np.arange(3), [np.arange(3)], [[1], [2, 3]] * 20, {"a": [1]}):
        pair.carry(Schedule(mask=mask))
        assert not pair.encoder.plain


def test_what_does_not_change_does_not_travel(pair):
    names = names_of(256)
    for step in range(3):
        pair.carry(schedule_of(names, step))
    assert pair.sizes[0] > 256 * len(names[0])
    assert pair.sizes[2] < 256 * 4 + 300  # a number for each request, and little else


def test_requests_that_end_and_come_cost_what_they_are(pair):
    names = names_of(256)
    pair.carry(schedule_of(names, 0))
    changed = [name for name in names if name not in (names[3], names[200])] + names_of(2, first=900)
    assert pair.carry(schedule_of(changed, 1)) == schedule_of(changed, 1)
    pair.carry(schedule_of(changed, 2))
    assert pair.sizes[1] < pair.sizes[2] + 60


def test_two_halves_of_a_batch_that_take_turns_cost_no_more(pair):
    halves = names_of(128), names_of(128, first=128)
    for step in range(6):
        half = halves[step % 2]
        assert pair.carry(schedule_of(list(half), step)) == schedule_of(half, step)
    assert pair.sizes[4] < pair.sizes[0] / 3
    shorter = halves[0][1:]
    assert pair.carry(schedule_of(shorter, 6)) == schedule_of(shorter, 6)
    assert pair.carry(schedule_of(halves[1], 7)) == schedule_of(halves[1], 7)
    assert pair.sizes[6] < pair.sizes[4] + 40
    assert pair.sizes[7] < pair.sizes[4] + 40


@pytest.mark.parametrize("seed", range(20))
def test_any_sequence_comes_out_as_it_went_in(pair, seed):
    """Nothing that is done to a value after it was encoded or decoded shows in a later one."""
    rng = random.Random(seed)
    names = names_of(rng.choice([0, 3, 20, 300]))
    fresh = 1000
    for step in range(60):
        for _ in range(rng.choice([0, 0, 0, 1, 5, len(names)])):
            if names:
                names.pop(rng.randrange(len(names)))
        for _ in range(rng.choice([0, 0, 0, 1, 5, 100])):
            fresh += 1
            names.insert(rng.choice([len(names), rng.randrange(len(names) + 1)]), f"n{fresh}")
        value: Any = schedule_of(list(names), step)
        value.cached.blocks = [rng.choice([None, None, ([step],)]) for _ in names]
        value.finished = set(rng.sample(names, min(len(names), rng.choice([0, 0, 2, 20]))))
        value.new = rng.choice([[], [Cached(["x"])], list(range(40)), [1.5] * 40, [[1], [2, 3]] * 20])
        value.drafts = rng.choice([{}, {"r1": [4, 5]}, {name: [step] for name in names}])
        value.tokens = dict.fromkeys(names, 1) if rng.random() < 0.7 else {n: rng.randrange(9) for n in names}
        value.mask = rng.choice([None, True, 1, 1.0, 1 << 70, "text", (1, [2]), [[1 << 40]] * 20])
        value = rng.choice([value, value, output_of(list(names), step), None, [step], (1, None)])
        before = pickle.dumps(value)
        got = pair.carry(value)
        assert got == pickle.loads(before)
        if isinstance(got, Schedule):
            assert type(got.mask) is type(value.mask)
            for one in (got, value):
                one.cached.names.append("changed")
                one.tokens["changed"] = 5
                one.finished.add("changed")
                one.new.append("changed")
                one.drafts["changed"] = []


def test_arrays_travel_as_they_are(pair):
    for _ in range(2):
        value = Schedule(mask=np.arange(5), new=[np.arange(3)])
        got = pair.carry(value)
        np.testing.assert_array_equal(got.mask, value.mask)
        np.testing.assert_array_equal(got.new[0], value.new[0])


def test_an_attribute_that_only_some_objects_have(pair):
    """vLLM caches a property now and then."""
    for extra in (False, True, False):
        value = schedule_of(names_of(20), 1)
        if extra:
            vars(value.cached)["lookup"] = {"a": 1}
        assert vars(pair.carry(value).cached) == vars(value.cached)


@dataclass
class Reduced:
    text: str = "as pickle has it"

    def __reduce__(self):
        return Reduced, ("reduced",)


@dataclass
class State:
    text: str = "as pickle has it"

    def __getstate__(self):
        return {"text": self.text, "gained": 1}


@dataclass
class Restored:
    text: str = "as pickle has it"

    def __setstate__(self, state):
        vars(self).update(state, gained=1)


@dataclass
class Arguments(str):
    text: str = "as pickle has it"

    def __getnewargs__(self):
        return ("as str has it",)


@dataclass
class Lookup(dict):
    text: str = "as pickle has it"


@dataclass(slots=True)
class Slots:
    text: str = "as pickle has it"


@pytest.mark.parametrize("kind", [Reduced, State, Restored, Arguments, Lookup, Slots])
def test_a_class_with_a_way_of_its_own_to_be_pickled(pair, kind):
    for value in (kind(), Schedule(mask=kind())):
        if kind is Lookup:
            (value if isinstance(value, Lookup) else value.mask)["gained"] = 1
        for got in (pair.carry(value), pair.carry(value)):
            expected = pickle.loads(pickle.dumps(value))
            assert got == expected
            assert getattr(got, "gained", None) == getattr(expected, "gained", None)
            if kind is Lookup:
                assert dict(got if isinstance(got, Lookup) else got.mask) == {"gained": 1}


def test_a_delta_that_was_missed_is_noticed(pair):
    first, second, third = (pair.encoder.encode(schedule_of(names_of(20), step)) for step in range(3))
    pair.decoder.decode(first)
    with pytest.raises(DeltaError, match="delta 3 came where 2 was to come"):
        pair.decoder.decode(third)
    in_order = DeltaDecoder()
    assert [in_order.decode(one).total for one in (first, second, third)] == [20, 20, 20]


def test_numbers_go_round(pair):
    """So that a step's bytes do not grow with the count of steps."""
    for step in range(600):
        assert pair.carry(Schedule(total=step % 2)).total == step % 2
    assert len(set(pair.sizes[1:])) == 1


def test_what_becomes_of_a_value_after_it_was_encoded_is_not_remembered(pair):
    sent = Schedule(finished={"a"})
    pair.carry(sent)
    sent.finished.add("b")
    assert pair.carry(Schedule(finished={"a", "b"})).finished == {"a", "b"}
    mixed: list[Any] = ["a", *([n] for n in range(LONG))]
    pair.carry(Schedule(new=mixed))
    mixed[1].append("b")
    assert pair.carry(Schedule(new=mixed)).new == mixed
