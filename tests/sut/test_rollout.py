"""open_rollout with a real vLLM engine on the CPU: every path gives the same tokens, and fails the same way.

Each path is visited once, by one engine start, and what the visit saw is what the tests look at. Most visits
end with the engine broken on purpose, so that the next one also shows that the process can go on.
"""

import asyncio
import gc
import getpass
import os
import signal
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from leaks import marked, nothing_left
from rollout_bench.measure import machine

from rollout_perf import (
    TRANSPORTS,
    ConfigurationError,
    EngineError,
    Rollout,
    Sampling,
    Stalled,
    WorkerDied,
    WorkerError,
    open_rollout,
)
from rollout_perf.transports.base import DEATH_NOTICE_SECONDS

pytestmark = pytest.mark.engine

FLOOR = "sync"
PATHS = [
    pytest.param(name, marks=[pytest.mark.baseline] * row.baseline)
    for name, row in reversed(TRANSPORTS.items())
    if row.absent(has_gpu=False) is None
]
"""In the order of the visits: `ray` after `ray-graph`, whose raylet is killed."""
PROMPTS = [[101, 102, 103, 104], [500, 501, 502], list(range(1000, 1040))]
ENGINE = {
    "enforce_eager": True,
    "dtype": "float32",
    "kv_cache_memory_bytes": 256 << 20,
    "max_model_len": 2048,
    "seed": 0,
    "worker_extension_cls": "fake_host.Saboteur",
}
LONG = 1900
"""Tokens that no machine generates before something is broken."""
START_SECONDS = 240.0
"""The deadline of a start: one that hangs says with which processes, before pytest ends the test."""
STOPPED_SECONDS = 10.0
"""The deadline of a step where the engine is stopped."""


def on_engine(path: str, use: Callable[[Rollout], Coroutine], **changed: Any) -> Any:
    """What `use` returns for an open rollout; nothing of it may be left, no socket in TMPDIR either."""
    folders: list[Path] = []

    async def visit() -> Any:
        settings = ENGINE | {"start_deadline_seconds": START_SECONDS} | changed
        async with open_rollout("nano", path, **settings) as rollout:
            folders.append(rollout._engine._run.folder)
            return await use(rollout)

    with TemporaryDirectory(prefix="rpt-", dir="/tmp") as own, pytest.MonkeyPatch.context() as patch:
        # But for what torch has compiled, which takes seconds.
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}")
        # And it compiles for log-probabilities, in each worker.
        patch.setenv("TORCHDYNAMO_DISABLE", "1")
        patch.setenv("TMPDIR", own)
        patch.setattr(tempfile, "tempdir", own)
        before = dict(os.environ)
        try:
            return asyncio.run(visit())
        finally:
            assert [folder for folder in folders if folder.exists()] == []
            assert [file for file in Path(own).iterdir() if file.is_socket()] == []
            os.environ.pop("_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR", None)  # torch's own, where it compiles
            assert dict(os.environ) == before


def only_what_costs_memory() -> Any:
    """vLLM keeps threads and descriptors of its own in this process."""
    return nothing_left(only=("process", "shared memory"))


async def interrupted(rollout: Rollout) -> Any:
    """All requests aborted under way, and others that a pause has kept; or why the path refuses both."""
    generating = asyncio.ensure_future(rollout.generate(PROMPTS, Sampling(LONG, ignore_eos=True)))
    await asyncio.sleep(0.5)
    try:
        count = await rollout.abort()
    except ConfigurationError as error:
        generating.cancel()
        return str(error)
    aborted = await generating
    kept = asyncio.ensure_future(rollout.generate(PROMPTS, Sampling(24, temperature=0.0, ignore_eos=True)))
    await asyncio.sleep(0.05)
    await rollout.pause("keep")
    waits = not (await asyncio.wait([kept], timeout=0.3))[0]
    await rollout.resume()
    return SimpleNamespace(count=count, aborted=aborted, waits=waits, kept=await kept)


async def streamed(rollout: Rollout, asked: list[Sampling]) -> Any:
    """Prompts that stream, for each Sampling: the answers, and what came before them; or why none does."""
    found = []
    for one in asked:
        heard: dict[tuple[int, int], list[list[int]]] = {}

        def on_tokens(prompt: int, sample: int, token_ids: list[int], heard=heard) -> None:
            heard.setdefault((prompt, sample), []).append(token_ids)

        try:
            answers = await rollout.generate(PROMPTS[:2], replace(one, stream=True), on_tokens)
        except ConfigurationError as error:
            return str(error)
        found.append((answers, heard))
    return found


async def until_it_breaks(rollout: Rollout, breaking: Callable[[], object], seen: SimpleNamespace) -> None:
    """Generate, break something meanwhile, and note how long the caller then waited."""
    generating = asyncio.ensure_future(rollout.generate(PROMPTS, Sampling(LONG, ignore_eos=True)))
    await asyncio.sleep(0.5)
    assert not generating.done()
    breaking()
    seen.broken_at = time.monotonic()
    try:
        await generating
    finally:
        seen.seconds = time.monotonic() - seen.broken_at


async def fail_in_a_step(rollout: Rollout, seen: SimpleNamespace) -> None:
    """In a call of one's own first, after which the engine goes on."""
    with pytest.raises(WorkerError, match="sabotage on request") as caught:
        await rollout.call_workers("raise_now")
    assert "Traceback" in str(caught.value)
    seen.goes_on = await rollout.generate(PROMPTS, Sampling(4, ignore_eos=True))
    await rollout.call_workers("raise_at_the_next_step")
    begin = time.monotonic()
    try:
        await rollout.generate(PROMPTS, Sampling(4))
    finally:
        seen.seconds = time.monotonic() - begin


async def kill_the_worker(rollout: Rollout, seen: SimpleNamespace) -> None:
    (pid,) = await rollout.call_workers("worker_pid")
    await until_it_breaks(rollout, lambda: os.kill(pid, signal.SIGKILL), seen)


async def kill_the_raylet(rollout: Rollout, seen: SimpleNamespace) -> None:
    mark = ("ROLLOUT_PERF_RUN", str(rollout._engine._run.folder))
    [raylet] = [process for process in marked(*mark) if process.name() == "raylet"]
    await until_it_breaks(rollout, raylet.kill, seen)


async def stop_the_engine(rollout: Rollout, seen: SimpleNamespace) -> None:
    engine = rollout._engine  # which has compiled for its first log-probabilities, for longer perhaps
    engine._run = replace(engine._run, step_deadline_seconds=STOPPED_SECONDS)
    [process] = engine._processes
    await until_it_breaks(rollout, lambda: os.kill(process.pid, signal.SIGSTOP), seen)


BREAKS = {
    "vllm-mp": stop_the_engine,
    "zmq": fail_in_a_step,
    "ray": kill_the_worker,
    "ray-graph": kill_the_raylet,
}
"""How the engine of a path is broken when all else has been looked at."""


DIRECT = {"zmq", "ray"}
"""Paths whose visit sees requests pass by AsyncLLM, as a front of `zmq` has them."""


def visit(path: str) -> SimpleNamespace:
    """Everything that one engine start of a path shows; a start that failed is not tried again."""
    seen = _visit(path)
    if isinstance(seen, BaseException):
        raise seen
    return seen


@cache
def _visit(path: str) -> SimpleNamespace | BaseException:
    seen = SimpleNamespace(error=None)

    async def look(rollout: Rollout) -> None:
        seen.frozen = gc.get_freeze_count()
        seen.greedy = await rollout.generate(PROMPTS, Sampling(24, temperature=0.0, ignore_eos=True))
        pair = Sampling(8, samples=2, ignore_eos=True, seed=3)
        seen.sampled = await rollout.generate(PROMPTS[:2], pair)
        seen.of_one_request = await rollout.generate(PROMPTS[:2], replace(pair, one_request=True))
        asked = Sampling(8, temperature=0.0, ignore_eos=True, logprobs=2, prompt_logprobs=0)
        seen.scored = await rollout.generate(PROMPTS, asked)
        with pytest.raises(ConfigurationError) as caught:
            await rollout.generate(PROMPTS, Sampling(8, prompt_logprobs=21))
        seen.too_many = str(caught.value)
        lengths = [Sampling(n, ignore_eos=True) for n in (1, 5, 9)]
        seen.lengths = [len(s.token_ids) for s in await rollout.generate(PROMPTS, lengths)]
        with pytest.raises(ConfigurationError) as caught:
            await rollout.generate([[101], list(range(100, 2100))], Sampling(49))
        seen.too_long = str(caught.value)
        with pytest.raises(ConfigurationError) as caught:
            await rollout.generate([[]], Sampling(16))
        seen.empty = str(caught.value)
        with pytest.raises(ConfigurationError) as caught:
            await rollout.sleep()
        seen.awake = str(caught.value)
        if path in DIRECT:  # from here on; what is seen before and after is held against each other
            rollout._engine.go_direct()
        seen.interrupted = await interrupted(rollout)
        seen.streamed = await streamed(rollout, [pair, replace(pair, one_request=True), asked])
        seen.again = await rollout.generate(PROMPTS, Sampling(24, temperature=0.0, ignore_eos=True))
        seen.facts = await rollout.describe()
        if path in BREAKS:
            try:
                await BREAKS[path](rollout, seen)
            except EngineError as error:
                seen.error = error
                raise

    try:
        with only_what_costs_memory():
            on_engine(path, look)
    except (Exception, pytest.fail.Exception) as error:
        if error is not seen.error:
            return error
    seen.frozen_after = gc.get_freeze_count()
    return seen


def tokens(sequences: list) -> list[list[int]]:
    return [sequence.token_ids for sequence in sequences]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.timeout(400)
def test_greedy_tokens_are_the_same_on_every_path(path):
    """A pipe that changes what is generated is not comparable with another."""
    assert tokens(visit(path).greedy) == tokens(visit(FLOOR).greedy)
    assert [len(ids) for ids in tokens(visit(path).greedy)] == [24, 24, 24]


@pytest.mark.parametrize("path", PATHS)
def test_garbage_is_not_looked_for_in_what_was_there_when_the_engine_had_started(path):
    """It holds up all requests for 0.4 s."""
    assert visit(path).frozen > 100_000
    assert path == FLOOR or visit(path).frozen_after == 0


@pytest.mark.parametrize("path", PATHS)
def test_an_engine_that_cannot_sleep_says_how_it_could_and_goes_on(path):
    assert visit(path).awake.startswith("this engine cannot sleep; start it with enable_sleep_mode=True")


@pytest.mark.parametrize("path", PATHS)
def test_samples_of_a_prompt_follow_each_other_and_differ(path):
    """One seed for all samples of a prompt would give the same answer again and again."""
    sequences = visit(path).sampled
    assert [sequence.prompt for sequence in sequences] == [0, 0, 1, 1]
    first, second, *_others = tokens(sequences)
    assert first != second


@pytest.mark.parametrize("path", PATHS)
def test_seeded_samples_are_the_same_on_every_path(path):
    assert tokens(visit(path).sampled) == tokens(visit(FLOOR).sampled)


@pytest.mark.parametrize("path", PATHS)
def test_one_request_for_all_samples_of_a_prompt_gives_the_same_ones(path):
    sequences = visit(path).of_one_request
    assert tokens(sequences) == tokens(visit(path).sampled)
    assert [sequence.prompt for sequence in sequences] == [0, 0, 1, 1]
    first, second, *others = [sequence.done_seconds for sequence in sequences]
    assert first == second  # when the group was done
    assert len({*others}) == 1


@pytest.mark.parametrize("path", PATHS)
def test_what_streams_is_the_same_answer_piece_by_piece(path):
    seen = visit(path)
    if path == FLOOR:
        assert seen.streamed == "this path takes a batch at a time, and none of it streams"
        return
    for whole, (answers, heard) in zip(
        (seen.sampled, seen.of_one_request, seen.scored[:2]), seen.streamed, strict=True
    ):
        assert tokens(answers) == tokens(whole)
        pieces = [heard[place] for place in sorted(heard)]
        assert [[*chain(*some)] for some in pieces] == tokens(answers)
        assert all(len(some) > 1 for some in pieces)
        for one, other in zip(answers, whole, strict=True):
            assert (one.prompt, one.finish_reason) == (other.prompt, other.finish_reason)
            assert 0 < one.first_seen_seconds < one.done_seconds + one.way_back_seconds
            for name in ("logprobs", "prompt_logprobs"):
                came, expected = getattr(one, name), getattr(other, name)
                assert [*map(list, came or [])] == [*map(list, expected or [])]  # their ids


@pytest.mark.parametrize("path", PATHS)
def test_log_probabilities_are_the_same_on_every_path(path):
    """To within 1e-4: a step that takes up other prompts together adds its sums in another order."""
    sequences, floor = visit(path).scored, visit(FLOOR).scored
    assert tokens(sequences) == [ids[:8] for ids in tokens(visit(path).greedy)]
    for prompt, sequence, other in zip(PROMPTS, sequences, floor, strict=True):
        assert sequence.logprobs == [pytest.approx(one, abs=1e-4) for one in other.logprobs]
        assert sequence.prompt_logprobs == [pytest.approx(one, abs=1e-4) for one in other.prompt_logprobs]
        for token, found in zip(sequence.token_ids, sequence.logprobs, strict=True):
            assert len(found) == 2
            assert found[token] == max(found.values()) < 0  # what is most probable is taken
        assert [list(found) for found in sequence.prompt_logprobs] == [[], *([one] for one in prompt[1:])]
    assert visit(path).greedy[0].logprobs is visit(path).greedy[0].prompt_logprobs is None


@pytest.mark.parametrize("path", PATHS)
def test_lengths_are_forced_for_each_prompt(path):
    assert visit(path).lengths == [1, 5, 9]


@pytest.mark.parametrize("path", PATHS)
def test_times_of_a_sequence_are_in_their_order(path):
    for sequence in visit(path).greedy:
        assert 0 <= sequence.queue_seconds < sequence.first_token_seconds < sequence.latency_seconds < 60
        assert 0 < sequence.way_in_seconds < sequence.done_seconds
        assert 0 <= sequence.way_back_seconds < 60
        assert sequence.finish_reason == "length"
        assert sequence.text is None


@pytest.mark.parametrize("path", PATHS)
def test_prompts_that_cannot_be_taken_are_refused_and_the_engine_goes_on(path):
    seen = visit(path)
    assert "prompt 1 has 2000 tokens and asks for 49" in seen.too_long
    assert "2048 at most" in seen.too_long
    assert "prompt 0 has 0 tokens" in seen.empty
    assert "prompt_logprobs is 21; this engine gives 20 at most" in seen.too_many
    assert tokens(seen.again) == tokens(seen.greedy)


@pytest.mark.parametrize("path", PATHS)
def test_what_is_interrupted_has_what_it_had_and_nothing_is_left_waiting(path):
    seen = visit(path).interrupted
    if path == FLOOR:
        assert seen == "this path takes a batch at a time, and none can be interrupted"
        return
    assert seen.count == len(PROMPTS)
    assert {sequence.finish_reason for sequence in seen.aborted} == {"abort"}
    assert all(0 < len(ids) < LONG for ids in tokens(seen.aborted))
    assert seen.waits
    assert tokens(seen.kept) == tokens(visit(path).greedy)


EXECUTORS = {
    "sync": "UniProcExecutor",
    "vllm-mp": "MultiprocExecutor",
    "verl-zmq": "BlockingExecutor",
    "verl-ray": "BlockingExecutor",
}
CHANNELS = {
    "zmq": "zmq ROUTER/DEALER and PUSH/PULL",
    "ray": "ray actor call",
    "ray-graph": "ray compiled graph",
    "verl-zmq": "zmq REQ/REP ipc",
    "verl-ray": "ray actor call to every rank",
}


@pytest.mark.parametrize("path", PATHS)
def test_the_description_says_which_executor_and_channel_live(path):
    facts = visit(path).facts
    assert facts["executor"].split(".")[-1] == EXECUTORS.get(path, "TransportExecutor")
    assert facts.get("channel") == CHANNELS.get(path)
    assert facts["engine"]["max_model_len"] == 2048
    assert path == FLOOR or facts["requests_to"] == ("EngineCore" if path in DIRECT else "AsyncLLM")
    if path in CHANNELS:
        assert facts["engine_pid"] != os.getpid()
        assert facts["counters"]["replies"] > 24


@pytest.mark.parametrize("path", [path for path in PATHS if path.values != (FLOOR,)])
def test_every_asynchronous_path_has_the_same_settings(path):
    """Scheduling among them: vLLM turns async scheduling off on the CPU, for all alike."""
    assert visit(path).facts["engine"] == visit("vllm-mp").facts["engine"]


def test_an_exception_in_a_worker_reaches_the_caller_with_its_traceback():
    """Over ZeroMQ: in a call of one's own the engine goes on, in a step it is the end of it."""
    seen = visit("zmq")
    with pytest.raises(WorkerError, match="sabotage in a step") as caught:
        raise seen.error
    assert "fake_host.py" in str(caught.value)
    assert len(seen.goes_on) == 3
    assert seen.seconds < 10


def test_a_worker_that_is_killed_while_generating_is_worker_died():
    """Over Ray; a rollout that waits for a dead worker would wait for ever."""
    seen = visit("ray")
    with pytest.raises(WorkerDied, match="worker 0"):
        raise seen.error
    assert seen.seconds < DEATH_NOTICE_SECONDS


def test_a_raylet_that_is_killed_while_generating_takes_its_workers_along():
    """Over a graph, whose channels only stay empty then; the next rollout gets a cluster of its own."""
    seen = visit("ray-graph")
    with pytest.raises(WorkerDied, match=r"raylet \(process \d+\) ended"):
        raise seen.error
    assert seen.seconds < DEATH_NOTICE_SECONDS
    assert visit("ray").lengths == [1, 5, 9]


def test_an_engine_that_is_stopped_while_generating_has_stalled_and_is_ended_all_the_same():
    seen = visit("vllm-mp")
    with pytest.raises(Stalled, match=rf"engine's process .* within {STOPPED_SECONDS:g} s"):
        raise seen.error
    assert seen.seconds < STOPPED_SECONDS + DEATH_NOTICE_SECONDS


@pytest.mark.timeout(400)
def test_an_engine_that_is_killed_while_generating_is_reported_with_how_it_ended():
    """vLLM does not report its engine's death to a caller that already waits; the workers must end with it.
    There are two here, which share memory."""
    seen = SimpleNamespace()

    async def kill(rollout: Rollout) -> None:
        pid = (await rollout.describe())["engine_pid"]
        calling = asyncio.ensure_future(rollout.call_workers("nap", 60.0))
        try:
            await until_it_breaks(rollout, lambda: os.kill(pid, signal.SIGKILL), seen)
        finally:
            [seen.call_error] = await asyncio.gather(calling, return_exceptions=True)
            seen.call_seconds = time.monotonic() - seen.broken_at

    with only_what_costs_memory(), pytest.raises(EngineError, match=r"process \(\d+\) ended by SIGKILL"):
        on_engine("zmq", kill, tensor_parallel_size=2)
    assert seen.seconds < DEATH_NOTICE_SECONDS
    assert "ended by SIGKILL" in str(seen.call_error)
    assert seen.call_seconds < DEATH_NOTICE_SECONDS


@pytest.mark.skipif(machine.gpus(), reason="there it can be taken")
def test_a_path_that_needs_a_gpu_is_refused_with_the_reason():
    with pytest.raises(ConfigurationError, match="'vllm-ray' cannot be taken here: vLLM's CPU platform"):
        on_engine("vllm-ray", lambda rollout: rollout.describe())
