"""drive.py: how requests are sent, and what of the answers is no equal work."""

import asyncio
from types import SimpleNamespace

import pytest
import virtual_time
from rollout_bench.measure.drive import UnequalWork, run_rollout
from rollout_bench.measure.samples import RequestTimes
from rollout_bench.measure.workload import Workload


def sampling(tokens, **asked):
    return SimpleNamespace(max_tokens=tokens, **asked)


class Clocked:
    """A rollout in which a request takes a second for each of its tokens."""

    async def generate(self, prompts, samplings):
        seconds = max(one.max_tokens for one in samplings)
        await asyncio.sleep(seconds)
        return [
            SimpleNamespace(
                token_ids=[0] * one.max_tokens, first_token_seconds=1.0, latency_seconds=float(one.max_tokens)
            )
            for one in samplings
        ]


def test_requests_in_a_window_are_timed_from_when_their_place_was_free(monkeypatch):
    load = Workload(prompts=3, prompt_tokens=4, output_tokens=(2, 6, 3)).asking(arrival="window:2")
    rolled = virtual_time.run(run_rollout(Clocked(), sampling, load, 0), monkeypatch)
    assert (rolled.began, rolled.step_seconds) == (0.0, 6.0)
    assert rolled.samples == [
        RequestTimes(1.0, 2.0, 2, done_seconds=2.0, sent_seconds=0.0),
        RequestTimes(1.0, 6.0, 6, done_seconds=6.0, sent_seconds=0.0),
        RequestTimes(1.0, 3.0, 3, done_seconds=5.0, sent_seconds=2.0),
    ]


def test_a_turn_is_sent_when_the_one_before_is_done_and_its_delay_over_and_has_its_answer(monkeypatch):
    load = Workload(
        prompts=3, prompt_tokens=(4, 3, 9), output_tokens=(2, 1, 1), session=("a", "b", "a"), turn=(1, 1, 2),
        delay_seconds=(7.0, 7.0, 0.5),
    )  # fmt: skip
    sent = []

    class Talks(Clocked):
        async def generate(self, prompts, samplings):
            sent.extend(prompts)
            return await super().generate(prompts, samplings)

    rolled = virtual_time.run(run_rollout(Talks(), sampling, load, 0), monkeypatch)
    first, other, second = load.token_ids()
    assert sent == [first, other, [*first, 0, 0, *second[6:]]]  # whose answers are of zeros
    assert rolled.samples == [
        RequestTimes(1.0, 2.0, 2, done_seconds=2.0, sent_seconds=0.0),
        RequestTimes(1.0, 1.0, 1, done_seconds=1.0, sent_seconds=0.0),
        RequestTimes(1.0, 1.0, 1, done_seconds=3.5, sent_seconds=2.5, history_tokens=6),
    ]


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
        assert len(asyncio.run(rollout).samples) == 1
    else:
        with pytest.raises(UnequalWork, match=says):
            asyncio.run(rollout)
