"""Workloads of agents: sessions of several turns, with the time of a tool before each later one. Pure.

    turns()                                   32 sessions of 4 turns
    turns(sessions=8, prompt_tokens=192)

A later prompt is the one before, its answer, and what the tool has added. Lengths and delays are drawn once,
from a seed.
"""

import random

from .rl import long_tail
from .workload import Workload


def turns(
    sessions: int = 32,
    turns: int = 4,
    prompt_tokens: int = 512,
    added_tokens: int = 128,
    output_cap: int = 512,
    delay_seconds: float = 0.1,
    seed: int = 0,
) -> Workload:
    """Sessions that all have the same number of turns; answers are long-tailed up to `output_cap`, delays are
    exponential around `delay_seconds`.

    Raises ValueError where a number is below 1.
    """
    for name, value in (("sessions", sessions), ("turns", turns), ("added_tokens", added_tokens)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    answers, draw = long_tail(sessions * turns, output_cap, seed), random.Random(f"{seed}/delays")
    prompts: list[int] = []
    for number, answer in enumerate((0, *answers[:-1])):
        prompts.append(prompts[-1] + answer + added_tokens if number % turns else prompt_tokens)
    return Workload(
        prompts=sessions * turns,
        prompt_tokens=tuple(prompts),
        output_tokens=answers,
        seed=seed,
        name="turns",
        session=tuple(str(number // turns) for number in range(sessions * turns)),
        turn=tuple(number % turns + 1 for number in range(sessions * turns)),
        delay_seconds=tuple(draw.expovariate(1 / delay_seconds) for _ in range(sessions * turns)),
        source=f"{sessions} sessions of {turns} turns: {prompt_tokens} tokens, {added_tokens} more with each "
        f"later turn; answers log-normal around {output_cap} / 6, cut at {output_cap}; delays exponential "
        f"around {delay_seconds:g} s",
    )
