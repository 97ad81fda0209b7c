"""drive.py: how requests are sent, and what of the answers is no equal work."""

import asyncio
from types import SimpleNamespace

import pytest
from rollout_bench.measure.drive import UnequalWork, run_rollout
from rollout_bench.measure.workload import Workload


def sampling(tokens, **asked):
    return SimpleNamespace(max_tokens=tokens, **asked)


class Answers:
    """A rollout that answers with so many log-probabilities for each token."""

    def __init__(self, of_answer, of_prompt):
        self.of_answer, self.of_prompt = of_answer, of_prompt

    async def generate(self, prompts, samplings):
        return [
            SimpleNamespace(
                token_ids=[0] * one.max_tokens,
                first_token_seconds=0.1,
                latency_seconds=0.2,
                logprobs=[dict.fromkeys(range(self.of_answer))] * one.max_tokens,
                prompt_logprobs=[{}, *[dict.fromkeys(range(self.of_prompt))] * (len(prompt) - 1)],
            )
            for prompt, one in zip(prompts, samplings, strict=True)
        ]


@pytest.mark.parametrize(
    ("of_answer", "of_prompt", "says"),
    [
        (3, 1, None),
        (2, 1, None),  # the sampled one is one of the two
        (1, 1, "0 tokens came with logprobs of 2 or more, and 5 should have"),
        (3, 0, "0 tokens came with prompt_logprobs of 1 or more, and 3 should have"),
    ],
)
def test_log_probabilities_that_do_not_come_are_no_equal_work(of_answer, of_prompt, says):
    load = Workload(prompts=1, prompt_tokens=4, output_tokens=5).asking(logprobs=2, prompt_logprobs=0)
    rollout = run_rollout(Answers(of_answer, of_prompt), sampling, load, 0)
    if says is None:
        assert len(asyncio.run(rollout)[1]) == 1
    else:
        with pytest.raises(UnequalWork, match=says):
            asyncio.run(rollout)
