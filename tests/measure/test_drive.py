"""drive.py: how requests are sent, and what of the answers is no equal work."""

import asyncio
from itertools import accumulate
from types import SimpleNamespace

import pytest
import virtual_time
from rollout_bench.measure.interruption import Interruption, Nap, interruption_metrics
from rollout_bench.measure.samples import Counts, RequestTimes
from rollout_bench.measure.submit import UnequalWork, run_rollout
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


class Stoppable:
    """A rollout that a second is a token in, and that can be interrupted."""

    def __init__(self):
        self.under_way, self.sent, self.paused = [], [], []
        self.go = asyncio.Event()
        self.go.set()

    async def generate(self, prompts, samplings):
        [prompt], [sampling] = prompts, samplings
        self.sent.append((len(prompt), sampling.max_tokens))
        mine = {"aborted": False}
        self.under_way.append(mine)
        tokens = 0
        while tokens < sampling.max_tokens and not mine["aborted"]:
            await self.go.wait()
            await asyncio.sleep(1)
            tokens += 1
        return [
            SimpleNamespace(
                token_ids=[7] * tokens,
                first_token_seconds=1.0,
                latency_seconds=float(tokens),
                finish_reason="abort" if mine["aborted"] else "length",
                way_in_seconds=len(prompt) / 4,
                way_back_seconds=tokens / 8,
            )
        ]

    async def abort(self, share):
        assert share == 0.5
        self.under_way[1]["aborted"] = True

    async def call_workers(self, method, *by_trainer):
        assert not self.go.is_set()
        self.paused += filter(None, by_trainer)
        await asyncio.sleep({"probe_update": 0.5, "probe_freed": 0}[method])
        return ['{"freed_bytes": 30}', '{"freed_bytes": 12}']

    async def pause(self, mode):
        self.paused.append(mode)
        self.go.clear()
        await asyncio.sleep(0.75)

    async def resume(self):
        self.go.set()

    async def sleep(self, level):
        self.paused.append(level)
        self.go.clear()
        for mine in self.under_way:
            mine["aborted"] = True
        await asyncio.sleep(0.75)

    async def wake_up(self, what):
        self.paused.append(what)
        await asyncio.sleep(0.25)
        if what == "kv_cache":
            self.go.set()


@pytest.mark.parametrize(
    ("way", "sent", "seconds", "at", "resent"),
    [
        ("abort:0.5", [(4, 6), (4, 6), (7, 3)], 6.0, (2.5,), [0, 7]),  # it had three tokens, gets three more
        ("pause:keep", [(4, 6), (4, 6)], 6.25, (3.25,), [0, 0]),  # a quarter of a second for the third token
        ("update:keep", [(4, 6), (4, 6)], 6.75, (3.25, 0.5), [0, 0]),
        ("ipc:keep", [(4, 6), (4, 6)], 6.75, (3.25, 0.5), [0, 0]),
        # Until 3 s there are three tokens; from 3.25 to 3.75 it wakes, and generates the other three.
        ("sleep:1", [*[(4, 6)] * 2, *[(7, 3)] * 2], 6.75, (3.25, None, Nap(3.25, 3.75, 42)), [7, 7]),
        ("sleep:2", [*[(4, 6)] * 2, *[(7, 3)] * 2], 7.25, (3.25, 0.5, Nap(3.25, 4.25, 42)), [7, 7]),
    ],
)
def test_what_is_interrupted_goes_on_with_what_it_had(way, sent, seconds, at, resent, monkeypatch):
    load = Workload(prompts=2, prompt_tokens=4, output_tokens=6).asking(interrupt=way)
    rollout = Stoppable()
    rolled = virtual_time.run(run_rollout(rollout, sampling, load, 0, 2.5), monkeypatch)
    assert rollout.sent == sent
    assert rolled.step_seconds == seconds
    assert rolled.interruption == Interruption(2.5, *at)
    assert [one.tokens for one in rolled.samples] == [6, 6]
    assert [one.resent_tokens for one in rolled.samples] == resent
    assert [one.ways_seconds for one in rolled.samples] == [(1.0, 0.375 if one else 0.75) for one in resent]
    told = {"ipc:keep": ["keep", True]}
    told |= {"sleep:1": [1, "weights", "kv_cache"], "sleep:2": [2, "weights", "kv_cache"]}
    assert rollout.paused == told.get(way, ["keep"] * way.endswith(":keep"))
    assert virtual_time.run(run_rollout(Stoppable(), sampling, load, 0), monkeypatch).interruption is None


def test_what_is_too_short_and_was_not_aborted_is_not_sent_again(monkeypatch):
    class Stops(Stoppable):
        async def generate(self, prompts, samplings):
            return await super().generate(prompts, [sampling(max(1, samplings[0].max_tokens - 1))])

    load = Workload(prompts=2, prompt_tokens=4, output_tokens=6).asking(interrupt="pause:keep")
    with pytest.raises(UnequalWork, match="2 of 5 to 5, 10 in all, came"):
        virtual_time.run(run_rollout(Stops(), sampling, load, 0), monkeypatch)


def test_what_an_interruption_costs_is_counted():
    """Of 100 prompt tokens 20 were cached and 64 are of the prompts: 16 were computed twice."""
    counts = Counts(
        1, 0.0, 0, prompt_tokens=100, cached_tokens=20, steps=[[(9.75, 0.125), (10.75, 0.125), (11.0, 0.125)]]
    )
    assert interruption_metrics(Interruption(10.0, 10.5), counts, 40, 64, 200) == {
        "quiet_seconds": 0.5,
        "resume_seconds": 0.25,
        "resent_share": 0.2,
        "recomputed_share": 0.08,
    }
    assert interruption_metrics(Interruption(10.0, 10.5, 0.375), counts, 40, 64, 200) == {
        "quiet_seconds": 0.5,
        "update_seconds": 0.375,
        "resume_seconds": 0.125,
        "renewed_seconds": 0.625,
        "resent_share": 0.2,
        "recomputed_share": 0.08,
    }
    nap = Nap(10.875, 11.1875, 42)  # the step at 10.75 was before that
    assert interruption_metrics(Interruption(10.0, 10.5, 0.25, nap), counts, 40, 64, 200) == {
        "sleep_seconds": 0.5,
        "update_seconds": 0.25,
        "wake_seconds": 0.0625,
        "freed_bytes": 42,
        "renewed_seconds": 0.25,
        "resent_share": 0.2,
        "recomputed_share": 0.08,
    }


@pytest.mark.parametrize(
    ("gaps", "after"),
    [
        ([2, 2, 2, 2, 2], 0.5),  # at once
        ([8, 4, 2, 2, 8, 2, 2, 2], 0.5 + 0.75),  # 4 is too long, and of 2 2 8 2 2 the median is not
        ([2, 8, 8, 8, 2, 2, 2, 2, 2], 0.5 + 1.625),
        ([8, 8, 8, 8, 2, 2], None),
        ([2, 2, 2, 2], None),
    ],
)
def test_full_speed_is_when_steps_follow_each_other_as_before(gaps, after):
    """Gaps are in sixteenths of a second. Of the last 20 before the interruption two were longer than 2;
    after it, from 11.5 s on, a gap and the median of 5 in a row are to be no longer."""
    last = [*[9] * 9, *[2] * 9, 8, *[2] * 8, 8, 2]
    before = accumulate(last, lambda at, gap: at + gap / 16, initial=0.0)
    begun = [*before, *accumulate(gaps, lambda at, gap: at + gap / 16, initial=11.5)]
    counts = Counts(1, 0.0, 0, steps=[[(at, 0.01) for at in begun]])
    found = interruption_metrics(Interruption(10.0, 11.0), counts, 0, 0, 1).get("full_speed_seconds")
    assert found == after


@pytest.mark.parametrize("way", ["abort:0", "abort:1.5", "abort:few", "pause:nap", "update", "restart"])
def test_an_interruption_that_cannot_be_is_refused_in_a_line(way):
    with pytest.raises(
        ValueError, match=f"interrupt is '{way}'; give none, abort:SHARE, pause:MODE, update:MODE or ipc"
    ):
        Workload(prompts=2).asking(interrupt=way)
    for more in ({"arrival": "window:1"}, {"blocks": ((1,), (1,))}):
        with pytest.raises(ValueError, match="is a batch of which nothing else is asked, and without shared"):
            Workload(prompts=2, interrupt="pause:keep", **more)


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


class Streams:
    """A rollout whose answers come token by token: the first after half a second, all after one."""

    def __init__(self, lost=0):
        self.lost = lost

    async def generate(self, prompts, samplings, on_tokens):
        assert all(one.stream for one in samplings)
        found = []
        for prompt, one in enumerate(samplings):
            for sample in range(getattr(one, "samples", 1)):
                ids = [10 * prompt + sample] * one.max_tokens
                for token in ids[self.lost :]:
                    on_tokens(prompt, sample, [token])
                found.append(
                    SimpleNamespace(
                        token_ids=ids, first_token_seconds=0.4, latency_seconds=1.0, first_seen_seconds=0.5
                    )
                )
        await asyncio.sleep(1.0)
        return found


@pytest.mark.parametrize("asked", [{}, {"request": "group"}, {"arrival": "window:1"}])
def test_tokens_that_come_one_by_one_are_held_against_the_answers(asked, monkeypatch):
    load = Workload(prompts=2, samples=2, prompt_tokens=4, output_tokens=3).asking(
        output_kind="stream", **asked
    )
    rolled = virtual_time.run(run_rollout(Streams(), sampling, load, 0), monkeypatch)
    assert [one.first_seen_seconds for one in rolled.samples] == [0.5] * 4
    with pytest.raises(UnequalWork, match="2 tokens came as they were made, and they are not the 3 of"):
        virtual_time.run(run_rollout(Streams(lost=1), sampling, load, 0), monkeypatch)
