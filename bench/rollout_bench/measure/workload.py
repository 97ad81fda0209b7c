"""What is generated: prompts, their lengths, forced output lengths, from a seed. Pure."""

import hashlib
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate, islice
from statistics import median
from typing import Any

from . import arrival, chains, interruption

_FIRST_ID = 100
"""Ids below are rarely of words."""

VOCABULARY = 2000
"""Ids that are drawn stay below, so that one workload fits the vocabulary of every preset."""

LOGPROBS = ("logprobs", "prompt_logprobs")
VARIANTS = (*LOGPROBS, "request", "output_kind", "arrival", "interrupt")
"""Fields of a workload that make it a variant of another."""

STREAM = "stream"
"""New tokens come to whoever submits a rollout as they are made; by default each answer comes at its end."""

GROUP = "group"
"""A request for each prompt, with all its samples; by default each sample has its own."""

_OF_SEQUENCES = ("arrival_seconds", "session", "turn", "delay_seconds")
"""What a workload may say of every sequence beside its length."""

Numbers = int | tuple[int, ...]
"""One number for all, or one for each."""

_OF_SEQUENCES = ("arrival_seconds", "session", "turn", "delay_seconds")
"""What a trace says of every sequence; None where it says nothing of any."""


@dataclass(frozen=True)
class Workload:
    """A rollout's work: `samples` sequences for each of `prompts`, every one of a forced length.

    `samples` and `prompt_tokens` are one number for all prompts or one for each; `output_tokens` is
    one for all sequences or one for each, in the order of the prompts. Raises ValueError where a
    number is below 1 or there are not as many as there should be.
    """

    prompts: int
    samples: Numbers = 1
    prompt_tokens: Numbers = 64
    output_tokens: Numbers = 128
    seed: int = 0
    name: str = "fixed"
    ids: tuple[tuple[int, ...], ...] | None = field(default=None, repr=False)
    """The prompts themselves, where they are real ones and not drawn."""
    source: str = ""
    """Where the lengths come from, for the reader of a record."""
    vocabulary: int = VOCABULARY
    """Ids that are drawn stay below; less than VOCABULARY where the model's own is smaller."""
    blocks: tuple[tuple[int | str, ...], ...] | None = field(default=None, repr=False)
    """Of every prompt the names of its blocks, in their order: blocks of one name hold the same ids. Of a
    later turn, of what it adds."""
    block_tokens: int = 512
    """Ids of a block; the last one of a prompt may have fewer."""
    arrival_seconds: tuple[float | None, ...] | None = field(default=None, repr=False)
    """Of every sequence, when it arrives, from the start of the workload; None: as its session says."""
    session: tuple[str | None, ...] | None = field(default=None, repr=False)
    """Of every sequence, whose turn it is. A later prompt begins with the one before and its answer."""
    turn: tuple[int, ...] | None = field(default=None, repr=False)
    """Of every sequence, which turn of its session it is, from 1."""
    delay_seconds: tuple[float, ...] | None = field(default=None, repr=False)
    """Of every sequence, the time of tools before it, from the end of the turn before."""
    logprobs: int | None = None
    """Log-probabilities are asked for: the sampled token's, and those of so many most probable ones."""
    prompt_logprobs: int | None = None
    """The same of the prompt's tokens."""
    request: str | None = None
    """GROUP: what a request is for."""
    output_kind: str | None = None
    """STREAM: what comes of a request."""
    arrival: str | None = None
    """When requests are sent, of `arrival.WAYS`; None: at once, as a batch."""
    interrupt: str | None = None
    """How it is interrupted, of `interruption.WAYS`."""

    def __post_init__(self) -> None:
        # JSON, in which a workload reaches the process that measures it, knows lists alone.
        for name in ("samples", "prompt_tokens", "output_tokens", *_OF_SEQUENCES):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("ids", "blocks"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(map(tuple, getattr(self, name))))
        for name in ("prompts", "samples", "prompt_tokens", "output_tokens"):
            least = getattr(self, name)
            least = min(least, default=0) if isinstance(least, tuple) else least
            if least < 1:
                raise ValueError(f"{name} is {least}; it must be at least 1")
        for name, number in (("samples", self.prompts), ("prompt_tokens", self.prompts)):
            _check_number(name, getattr(self, name), number)
        for name in ("output_tokens", *_OF_SEQUENCES):
            _check_number(name, getattr(self, name), self.batch)
        _check_number("blocks", self.blocks, self.prompts)
        chains.check(self.turns_before(), self._prompts(), self.request == GROUP)
        if self.request == GROUP:
            if not self.grouped:
                raise ValueError(
                    "a request for each group takes more than one sample for a prompt (--samples)"
                )
            if any(len({*lengths}) > 1 for lengths in self._groups()):
                raise ValueError(
                    f"a request for each group has one length for all its samples, and those of {self.name} "
                    "differ; take the workload fixed"
                )
        self.due_seconds()
        if self.interrupt:
            interruption.check(self.interrupt)
            if self.asked or self.arrival or self.turns_before() or self.blocks:
                raise ValueError(
                    "what is interrupted is a batch of which nothing else is asked, and without shared blocks"
                )

    def asking(self, **more: Any) -> "Workload":
        """A variant: the same work with more asked of the engine (None: not so), and a name that says it."""
        more = {name: value for name, value in more.items() if value is not None}
        words = [f"{name.replace('_', '-')}-{value}" for name, value in more.items()]
        name = "-".join([self.name, *words])
        for word in ("output-kind-", "arrival-", "interrupt-"):
            name = name.replace(word, "")
        return replace(self, name=name.replace(":", "-"), **more)

    @property
    def plain(self) -> "Workload":
        """The work itself, of which this may be a variant."""
        nothing: dict[str, Any] = dict.fromkeys(VARIANTS)
        return replace(self, name=self.kind, **nothing)

    @property
    def kind(self) -> str:
        """Its name without what is asked for besides."""
        return self.name.partition("-")[0]

    @property
    def asked(self) -> dict[str, int]:
        """What is asked of every request beside its length, by its name in the door's Sampling."""
        asked = {name: value for name in LOGPROBS if (value := getattr(self, name)) is not None}
        asked |= {"one_request": True} if self.request == GROUP else {}
        return asked | ({"stream": True} if self.output_kind == STREAM else {})

    @property
    def batch(self) -> int:
        """Sequences in the rollout."""
        return self.prompts * self.samples if isinstance(self.samples, int) else sum(self.samples)

    @property
    def is_batch(self) -> bool:
        """Whether all requests are sent at once, and none again."""
        return self.arrival is None and self.interrupt is None and not self.turns_before()

    @property
    def at_once(self) -> int:
        """Sequences of which a request is under way at the same time, at most."""
        samples = [samples for _number, _tokens, samples in self._calls()]
        own = sorted(max(samples[number] for number, _delay in chain) for chain in self.chains())
        return sum(own[-(arrival.window(self.arrival) or len(own)) :])

    @property
    def tokens(self) -> int:
        """Tokens that the rollout generates."""
        return sum(self.output_lengths())

    @property
    def longest(self) -> tuple[int, int]:
        """Tokens of the longest sequence: its prompt's and its answer's."""
        return max(self._pairs(), key=sum)

    @property
    def length(self) -> int:
        """Tokens of the longest sequence, prompt and answer."""
        return sum(self.longest)

    @property
    def grouped(self) -> bool:
        """Whether several sequences answer one prompt."""
        return self.batch > self.prompts

    @property
    def shares_prefixes(self) -> bool:
        """Whether a prefix cache finds something within a rollout, and nothing of the rollout before."""
        shared = self.grouped or self.blocks is not None or bool(self.turns_before() or self.interrupt)
        return shared and self.ids is None

    @property
    def first_id(self) -> int:
        """The lowest id that is drawn."""
        return min(_FIRST_ID, self.vocabulary // 2)

    def prompt_lengths(self) -> list[int]:
        """Prompt tokens of every sequence."""
        return [length for length, count in self._prompts() for _ in range(count)]

    def computed_prompt_tokens(self, block_tokens: int | None) -> int:
        """Tokens of the prompts that an engine computes: of later samples of a prompt without the whole
        blocks of it that the prefix cache has, but for its last token's. None: there is no such cache."""
        return sum(
            length * count
            - (count - 1) * ((length - 1) // block_tokens * block_tokens if block_tokens else 0)
            for length, count in self._prompts()
        )

    def output_lengths(self) -> list[int]:
        """Forced output tokens of every sequence."""
        return _each(self.output_tokens, self.batch)

    def lengths(self) -> list[int]:
        """Tokens of every sequence, prompt and answer."""
        return list(map(sum, self._pairs()))

    def token_ids(self, rollout: int = 0) -> list[list[int]]:
        """The prompts as lists of ids, the same for the same workload and number of the rollout.

        Every rollout draws anew, so that none finds its prompts in the prefix cache of the one before. Where
        a turn's prompt has the answer of the turn before, ids are drawn in its place.
        """
        if self.ids is not None:
            return [list(prompt) for prompt in self.ids]
        # Nor does one find those of a variant of it, which the same engine generates.
        variant = f"/{self.name}" * any(getattr(self, name) is not None for name in VARIANTS)
        seed = f"{self.seed}/{rollout}{variant}" if rollout or variant else self.seed
        draw, blocks = random.Random(seed), _Blocks(f"{self.seed}/{rollout}{variant}")
        first, last = self.first_id, self.vocabulary - 1
        before = self.turns_before()
        made: list[list[int]] = []
        for number, (length, _count) in enumerate(self._prompts()):
            prompt: list[int] = []
            if number in before:
                earlier, answer = before[number]
                prompt += made[earlier] + [draw.randint(first, last) for _ in range(answer)]
            for name in self.blocks[number] if self.blocks else ():
                prompt += blocks.ids(name, self.block_tokens, first, last)
            prompt += [draw.randint(first, last) for _ in range(length - len(prompt))]
            made.append(prompt[:length])
        return made

    def turns_before(self) -> dict[int, tuple[int, int]]:
        """Of the prompts that go on with a turn: number of that turn's prompt, and tokens of its answer."""
        return self._before([count for _length, count in self._prompts()])

    def requests_before(self) -> dict[int, tuple[int, int]]:
        """The same of requests."""
        return self._before([samples for _number, _tokens, samples in self._calls()])

    def _before(self, counts: list[int]) -> dict[int, tuple[int, int]]:
        """`turns_before` of what has so many sequences each."""
        of = [number for number, count in enumerate(counts) for _ in range(count)]
        turns = zip(self.session or (), self.turn or (), self.output_lengths(), strict=False)
        found = chains.turns_before(turns)
        return {of[later]: (of[earlier], answer) for later, (earlier, answer) in found.items()}

    def chains(self) -> list[list[tuple[int, float]]]:
        """Requests of which each waits for the one before: their numbers, and the delay before each."""
        first = self._first()
        session = self.session and [self.session[number] for number in first]
        delays = self.delay_seconds and [self.delay_seconds[number] for number in first]
        return chains.chains(len(first), session, delays)

    def requests(self, rollout: int = 0) -> list[tuple[list[int], int, int]]:
        """Prompt ids, output tokens and samples of every request; those for a prompt share its list."""
        prompts = self.token_ids(rollout)
        return [(prompts[number], tokens, samples) for number, tokens, samples in self._calls()]

    def homes(self, rollout: int = 0) -> list[str]:
        """Of every request what keeps it at a replica where routing is sticky: its session, or its prompt."""
        numbers = [f"{rollout}/{number}" for number, _tokens, _samples in self._calls()]
        session = self.session or ()
        named = [session[first] if session else None for first in self._first()]
        return [
            number if name is None else f"{rollout}/{name}"
            for number, name in zip(numbers, named, strict=True)
        ]

    def due_seconds(self, rollout: int = 0) -> list[float] | None:
        """When each of the `chains` begins, from the rollout's begin; None where no clock says so."""
        begin, known = [chain[0][0] for chain in self.chains()], self.arrival_seconds
        if known is not None:
            first = self._first()
            known = tuple(known[first[number]] for number in begin)
        return arrival.due_seconds(self.arrival, len(begin), f"{self.seed}/{rollout}/arrival", known)

    def _calls(self) -> list[tuple[int, int, int]]:
        """Number of the prompt, output tokens and samples of every request."""
        return [
            (number, tokens, samples)
            for number, lengths in enumerate(self._groups())
            for tokens, samples in (
                [(lengths[0], len(lengths))] if self.request == GROUP else [(length, 1) for length in lengths]
            )
        ]

    def _first(self) -> list[int]:
        """Number of the first sequence of every request."""
        counts = [samples for _number, _tokens, samples in self._calls()]
        return list(accumulate(counts, initial=0))[:-1]

    def fingerprint(self) -> str:
        """Twelve hex digits that change when anything about the work changes, ids included."""
        content = json.dumps([self._work(), self.token_ids()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, Any]:
        """The workload with its fingerprint, for the record; of many lengths what tells them apart."""
        work = {name: _summary(value) for name, value in self._work().items() if name != "blocks"}
        totals = {"batch": self.batch, "tokens": self.tokens, "fingerprint": self.fingerprint()}
        return work | totals | ({"source": self.source} if self.source else {})

    def _work(self) -> dict[str, Any]:
        left_out = {"ids", "source", "vocabulary"} | ({"block_tokens"} if self.blocks is None else set())
        work = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in left_out}
        # As fingerprints were before there was more to say.
        return {name: value for name, value in work.items() if value is not None}

    def _pairs(self) -> Iterable[tuple[int, int]]:
        return zip(self.prompt_lengths(), self.output_lengths(), strict=True)

    def _groups(self) -> list[list[int]]:
        """Forced output tokens of every prompt's sequences."""
        lengths = iter(self.output_lengths())
        return [list(islice(lengths, count)) for _length, count in self._prompts()]

    def _prompts(self) -> list[tuple[int, int]]:
        """Length and number of sequences of every prompt."""
        lengths = _each(self.prompt_tokens, self.prompts)
        return list(zip(lengths, _each(self.samples, self.prompts), strict=True))


class _Blocks:
    """Ids of blocks by name, drawn once."""

    def __init__(self, seed: str):
        self._seed = seed
        self._drawn: dict[int | str, list[int]] = {}

    def ids(self, name: int | str, count: int, first: int, last: int) -> list[int]:
        """The ids of the block of that name."""
        if name not in self._drawn:
            draw = random.Random(f"{self._seed}/block {name}")
            self._drawn[name] = draw.choices(range(first, last + 1), k=count)
        return self._drawn[name]


def unmeasured(workloads: Iterable[Workload], records: Iterable[Any]) -> list[Workload]:
    """The workloads that are in none of the records; in their order."""
    found = {record.workload["fingerprint"] for record in records}
    return [load for load in workloads if load.fingerprint() not in found]


def _each(value: Numbers, count: int) -> list[int]:
    return [value] * count if isinstance(value, int) else list(value)


def _check_number(name: str, value: int | tuple[Any, ...] | None, count: int) -> None:
    if isinstance(value, tuple) and len(value) != count:
        raise ValueError(f"{name} has {len(value)} numbers; there must be {count}")


def _summary(value: Any) -> Any:
    """A number or a text as it is; of many numbers the least, the median, the greatest and the sum; of many
    texts how many differ."""
    if not isinstance(value, tuple):
        return value
    value = tuple(one for one in value if one is not None)
    if not value or isinstance(value[0], str):
        return {"different": len(set(value))}
    return {"min": min(value), "median": median(value), "max": max(value), "sum": sum(value)}
