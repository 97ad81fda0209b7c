"""Workloads as reinforcement learning makes them: several long-tailed answers to each of many prompts.

    grpo()                                  128 prompts x 16 samples, answers of up to 1024 tokens
    grpo(prompts=8, samples=4, output_cap=64)     the same shape, scaled down

Lengths are drawn once, from a seed, and then forced: every path generates the very same tokens,
count for count. Pure but for the file of prompt lengths beside it.
"""

import json
import math
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

from .workload import Workload

_GSM8K = Path(__file__).with_name("data") / "gsm8k_lengths.json"

_SIGMA = 1.0
"""Spread of the logarithm of lengths: the 99th percentile is ten times the median, as reasoning RL has it."""

_CAP = 6.0
"""The cap over the median: 3.7 % of the answers reach it, and are cut there as in training."""


@cache
def gsm8k_prompt_lengths() -> tuple[int, ...]:
    """Tokens of the questions of GSM8K's training set, in file order."""
    return tuple(json.loads(_GSM8K.read_text())["question_tokens"])


def long_tail(count: int, cap: int, seed: int) -> tuple[int, ...]:
    """`count` answer lengths of 1 to `cap` tokens: log-normal around cap / 6, cut at the cap."""
    draw, normal = random.Random(seed), NormalDist(math.log(cap / _CAP), _SIGMA)
    # Of the middle of one of 2**20 equal parts: inv_cdf knows neither 0 nor 1.
    drawn = (normal.inv_cdf((draw.randrange(2**20) + 0.5) / 2**20) for _ in range(count))
    return tuple(min(cap, max(1, round(math.exp(one)))) for one in drawn)


def grpo(
    prompts: int = 128,
    samples: int = 16,
    prompt_cap: int = 1024,
    output_cap: int = 1024,
    seed: int = 0,
    name: str = "grpo",
    *,
    ids: Sequence[Sequence[int]] | None = None,
    source: str = "prompt lengths of GSM8K's training set in file order",
) -> Workload:
    """A step of GRPO. Prompts longer than `prompt_cap` are cut; with `ids` they are these, and not drawn.

    Raises ValueError where a number is below 1.
    """
    for field, value in (("prompts", prompts), ("samples", samples)):
        if value < 1:
            raise ValueError(f"{field} is {value}; it must be at least 1")
    for field, value in (("prompt_tokens", prompt_cap), ("output_tokens", output_cap)):
        if value < 1:
            raise ValueError(f"{field}, the cap, is {value}; it must be at least 1")
    known = gsm8k_prompt_lengths() if ids is None else [len(prompt) for prompt in ids]
    lengths = tuple(min(prompt_cap, known[number % len(known)]) for number in range(prompts))
    return Workload(
        prompts=prompts,
        samples=samples,
        prompt_tokens=lengths,
        output_tokens=long_tail(prompts * samples, output_cap, seed),
        seed=seed,
        name=name,
        ids=None if ids is None else tuple(tuple(prompt[:prompt_cap]) for prompt in ids),
        source=f"{source}, cut at {prompt_cap}; answers log-normal around {output_cap} / {_CAP:g} "
        f"with sigma {_SIGMA:g}, cut at {output_cap}",
    )


VERL: dict[str, Any] = {"prompt_cap": 4096, "output_cap": 4096, "name": "verl"}
"""verl's own comparison of executors (tests/workers/rollout/perf/vllm_async_rollout.py): GSM8K in file order,
128 prompts x 16 samples, caps of 4096 and 4096, with Qwen2.5-7B and a tensor-parallel size of 2."""


def verl(**changed: Any) -> Workload:
    """verl's headline workload, with equal caps on every path; or scaled, by the names of `grpo`."""
    return grpo(**(VERL | changed))
