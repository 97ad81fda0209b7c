"""The load: submits a rollout's requests, at once or as they arrive, and waits for all."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from .arrival import send_all, window
from .door import (
    Interruptible,
    Rollout,
    Sample,
    SampleWithLogprobs,
    Streaming,
    done_seconds,
    first_seen_seconds,
    is_aborted,
    ways_seconds,
)
from .interruption import Interruption, interrupt
from .samples import RequestTimes
from .workload import LOGPROBS, Workload


class UnequalWork(Exception):
    """A rollout did not generate what its workload forces."""


@dataclass(frozen=True)
class Rolled:
    """A rollout that is over."""

    began: float
    """When, of perf_counter."""
    step_seconds: float
    samples: list[RequestTimes]
    """The times of every sample."""
    interruption: Interruption | None = None


async def run_rollout(
    rollout: Rollout,
    sampling: Callable[..., Any],
    workload: Workload,
    number: int,
    interrupt_after_seconds: float | None = None,
    sticky: bool = False,
) -> Rolled:
    """Submit a workload's rollout, as its requests arrive, and wait for its end. Where the workload is to be
    interrupted, it is after so many seconds; where it is `sticky`, requests say what they belong to.

    Raises UnequalWork where it did not generate exactly what the workload forces.
    """
    requests = workload.requests(number)
    prompts = [prompt for prompt, _tokens, _samples in requests]
    homes = [{"session": home} if sticky else {} for home in workload.homes(number)]
    samplings = [
        sampling(tokens, **workload.asked, **home, **({"samples": samples} if samples > 1 else {}))
        for (_prompt, tokens, samples), home in zip(requests, homes, strict=True)
    ]
    due, chains, before = workload.due_seconds(number), workload.chains(), workload.requests_before()
    heard: dict[tuple[int, int], list[int]] = defaultdict(list)

    def generate(first: int, some: Sequence[Any], how: Sequence[Any]) -> Awaitable[Sequence[Sample]]:
        """Generate for prompts from number `first` on, and hear their tokens where they stream."""
        if workload.output_kind is None:
            return rollout.generate(some, how)

        def on_tokens(prompt: int, sample: int, token_ids: list[int]) -> None:
            heard[first + prompt, sample].extend(token_ids)

        return cast(Streaming, rollout).generate(some, how, on_tokens)

    begin = time.perf_counter()
    if workload.is_batch:
        sequences = await generate(0, prompts, samplings)
        step_seconds = time.perf_counter() - begin
        times, interruption = [_times_of_engine(sequence) for sequence in sequences], None
    else:
        answers: dict[int, list[tuple[Sample, RequestTimes]]] = {}

        async def send(place: int, at: float) -> None:
            history: list[int] = []
            if place in before:
                earlier, _tokens = before[place]
                history = prompts[earlier] + list(answers[earlier][0][0].token_ids)
                prompts[place][: len(history)] = history
            called = time.perf_counter()
            found = await generate(place, [prompts[place]], [samplings[place]])
            resent = 0
            while workload.interrupt and is_aborted(found[0]):
                prompt = prompts[place] + list(found[0].token_ids)
                resent += len(prompt)
                [more] = await rollout.generate(
                    [prompt], [sampling(requests[place][1] - len(found[0].token_ids))]
                )
                found = [_Resumed(found[0], more)]
            done = time.perf_counter()
            answers[place] = [
                (one, _times_since_due(one, at - begin, done - at, called - at, len(history), resent))
                for one in found
            ]

        interrupting = None
        if workload.interrupt and interrupt_after_seconds is not None:
            interrupting = asyncio.create_task(
                interrupt(cast(Interruptible, rollout), workload.interrupt, interrupt_after_seconds)
            )
        try:
            await send_all(send, chains, window(workload.arrival), due)
            step_seconds = time.perf_counter() - begin
            interruption = await interrupting if interrupting else None
        finally:
            if interrupting:
                interrupting.cancel()
        ordered = [one for _place, found in sorted(answers.items()) for one in found]
        sequences, times = [one for one, _times in ordered], [one for _sequence, one in ordered]
    lengths, forced = [len(sequence.token_ids) for sequence in sequences], workload.output_lengths()
    if lengths != forced:
        raise UnequalWork(
            f"the workload forces {len(forced)} sequences of {min(forced)} to {max(forced)} tokens, "
            f"{sum(forced)} in all; {len(lengths)} of {min(lengths, default=0)} to "
            f"{max(lengths, default=0)}, {sum(lengths)} in all, came"
        )
    _check_logprobs(workload, sequences)
    if workload.output_kind is not None:
        _check_stream(sequences, [count for _prompt, _tokens, count in requests], heard)
    return Rolled(begin, step_seconds, times, interruption)


class _Resumed:
    """A sample that was interrupted, with what came of it when it was sent again."""

    def __init__(self, before: Sample, after: Sample):
        self.token_ids = [*before.token_ids, *after.token_ids]
        first = before if before.token_ids else after
        self.first_token_seconds, self.latency_seconds = first.first_token_seconds, first.latency_seconds
        self.finish_reason = cast(Any, after).finish_reason
        if (in_and_back := ways_seconds(after)) is not None:
            self.way_in_seconds = cast(Any, first).way_in_seconds
            self.way_back_seconds = in_and_back[1]


def _times_of_engine(sequence: Sample) -> RequestTimes:
    return RequestTimes(
        sequence.first_token_seconds,
        sequence.latency_seconds,
        len(sequence.token_ids),
        done_seconds(sequence),
        ways_seconds=ways_seconds(sequence),
        first_seen_seconds=first_seen_seconds(sequence),
    )


def _times_since_due(
    sequence: Sample,
    sent_seconds: float,
    latency_seconds: float,
    late_seconds: float,
    history_tokens: int,
    resent_tokens: int,
) -> RequestTimes:
    """Times as whoever sends requests one by one has them: from when it was due until its answer came."""
    seen = first_seen_seconds(sequence)
    decoding = sequence.latency_seconds - sequence.first_token_seconds
    return RequestTimes(
        latency_seconds - decoding,
        latency_seconds,
        len(sequence.token_ids),
        sent_seconds + latency_seconds,
        sent_seconds,
        history_tokens,
        ways_seconds(sequence),
        None if seen is None else late_seconds + seen,
        resent_tokens,
    )


def _check_stream(
    sequences: Sequence[Sample], samples: Sequence[int], heard: Mapping[tuple[int, int], list[int]]
) -> None:
    """Raise UnequalWork where the tokens that came one after the other are not the answers."""
    places = [(number, sample) for number, count in enumerate(samples) for sample in range(count)]
    for place, sequence in zip(places, sequences, strict=True):
        if (came := heard.get(place, [])) != list(sequence.token_ids):
            raise UnequalWork(
                f"of prompt {place[0]} {len(came)} tokens came as they were made, and they are not the "
                f"{len(sequence.token_ids)} of its answer"
            )


def _check_logprobs(workload: Workload, sequences: Sequence[Sample]) -> None:
    """Raise UnequalWork where tokens lack log-probabilities that the workload asks for."""
    wanted = {
        "logprobs": workload.output_lengths(),
        "prompt_logprobs": [length - 1 for length in workload.prompt_lengths()],
    }
    for name in LOGPROBS:
        if (most_probable := getattr(workload, name)) is None:
            continue
        least = max(1, most_probable)
        for tokens, sample in zip(wanted[name], sequences, strict=True):
            found = getattr(cast(SampleWithLogprobs, sample), name) or ()
            there = sum(len(one) >= least for one in found)
            if there != tokens:
                raise UnequalWork(
                    f"{there} tokens came with {name} of {least} or more, and {tokens} should have"
                )
