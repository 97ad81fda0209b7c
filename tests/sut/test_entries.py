"""The contract of entries, held against every one: the caller cannot tell which carries his requests.

The engine behind them has no model, and says what it was asked.
"""

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import zmq
from fake_engine import BAD_ANSWERS, CUT, FAILS, HOLD, NEVER, RAISE, FakeEngine
from leaks import eventually, lives, nothing_left
from rollout_bench.measure.model_free import ModelFreeEngine

from rollout_perf import ENTRIES, ConfigurationError, EngineError, Rollout, Sampling, Stalled, WorkerError
from rollout_perf.engine import Engine, EngineSpec, Request, is_result, waiting
from rollout_perf.entries import LOCAL, find_entry, open_entry
from rollout_perf.entries.front import Front
from rollout_perf.entries.lag import LoopLag
from rollout_perf.replicas import Replicas, Routing
from rollout_perf.transports import load
from rollout_perf.transports.base import DEATH_NOTICE_SECONDS, python_path

BY_RAY = [name for name, entry in ENTRIES.items() if "ray" in entry.requires]
EVERY = [pytest.param(name, marks=[pytest.mark.engine] * (name in BY_RAY)) for name in ENTRIES]
REMOTE = [
    one for one in EVERY if one.values[0] not in (LOCAL, "zmq-plain", "ray-group", "ray-batch")
]  # the same fronts as those of `zmq` and `ray`
REPLICAS = "replicas"
TCP = "tcp://127.0.0.1"
TAKES_ENDPOINT = [name for name, entry in ENTRIES.items() if entry.endpoint_check is not None]


@pytest.fixture
def name(request) -> str:
    """Of an entry, what it needs being there."""
    if request.param in BY_RAY:
        request.getfixturevalue("cluster")
    return request.param


def opened(name: str, endpoint: str | None = None, step_deadline_seconds: float = 60.0, **arguments):
    """An entry with the fake engine behind it."""
    if reason := find_entry(name).absent():
        pytest.skip(reason)
    return open_entry(name, "fake_engine:start", arguments, endpoint, step_deadline_seconds)


@asynccontextmanager
async def one_of_one(**arguments) -> AsyncIterator[Engine]:
    """The fake engine as the only replica: what holds of an engine holds of several as one."""
    async with opened(LOCAL, **arguments) as engine:
        yield Replicas([engine], Routing("sticky", 1), "fail")


def requests(prompts: list[list[int]], sampling: Sampling) -> list[Request]:
    return [(f"r{index}", index, prompt, sampling, 0) for index, prompt in enumerate(prompts)]


async def generate(engine: Engine, prompts: list[list[int]], sampling: Sampling) -> list[dict]:
    results = [[]] * len(prompts)
    await engine.generate(requests(prompts, sampling), results.__setitem__)  # a result is the last to come
    return [sample for samples in results for sample in samples]


@pytest.fixture(scope="module", params=[*EVERY, REPLICAS])
def entered(request) -> Iterator[SimpleNamespace]:
    """An entry that is open for all tests that leave it healthy, and the loop that it lives in."""
    if request.param in BY_RAY:
        request.getfixturevalue("cluster")
    with nothing_left(only=("process", "shared memory")), asyncio.Runner() as runner:
        opens = one_of_one if request.param == REPLICAS else partial(opened, request.param)
        way_in = opens(token_seconds=0.001)
        yield SimpleNamespace(name=request.param, engine=runner.run(way_in.__aenter__()), run=runner.run)
        runner.run(way_in.__aexit__(None, None, None))


def test_answers_come_to_their_places_with_every_field(entered):
    """Of Sampling and of a result all fields travel, those too that nobody has thought of yet."""
    sampling = Sampling(5, temperature=0.25, seed=7, ignore_eos=True)
    results = entered.run(generate(entered.engine, [[3, 4], [100_000, 5]], sampling))
    assert [one["token_ids"][0] for one in results] == [3, 0]
    for place, (one, prompt) in enumerate(zip(results, ([3, 4], [100_000, 5]), strict=True)):
        assert one["asked"] == asdict(sampling) | {"prompt": prompt}
        assert one["text"] == f"r{place} ü {sampling}"
        assert one["log_probabilities"] == [-0.5, None, float("-inf")]
        assert one["prompt"] == place


def test_samples_of_many_lengths_come_as_they_are_done(entered):
    """The caller of a long batch may begin with what is there."""
    came: dict[int, float] = {}
    asked = [(f"r{n}", n, [n], Sampling(tokens), 0) for n, tokens in enumerate((500, 1, 40))]
    begin = time.monotonic()
    entered.run(
        entered.engine.generate(asked, lambda place, _: came.update({place: time.monotonic() - begin}))
    )
    assert list(came) == [1, 2, 0]
    assert came[1] < 0.3


def test_a_sequence_says_what_it_took_to_the_engine_and_back():
    class Slow(ModelFreeEngine, Engine):
        async def generate(self, requests, took):
            await asyncio.sleep(0.02)  # on the way in
            kept = []
            await super().generate(requests, lambda *result: kept.append(result))
            await asyncio.sleep(0.04)  # and back
            for result in kept:
                took(*result)

    rollout = Rollout(model=None, row=None, engine=Slow(0.001))
    [sequence] = asyncio.run(rollout.generate([[1]], Sampling(30)))
    assert 0.02 <= sequence.way_in_seconds < sequence.done_seconds - 0.03
    assert 0.04 <= sequence.way_back_seconds < 1


def test_what_streams_has_its_tokens_as_they_come_and_together_they_are_the_answer(entered):
    """Beside one that does not stream, whose answer comes as ever."""
    came: list[tuple[float, int, Any]] = []
    begin = time.monotonic()
    asked = [
        ("s0", 0, [3], Sampling(200, stream=True), 0),
        ("s1", 1, [7], Sampling(40), 0),
        ("s2", 2, [900], Sampling(300, stream=True), 0),
    ]
    entered.run(entered.engine.generate(asked, lambda *one: came.append((time.monotonic() - begin, *one))))
    last = {place: (at, one) for at, place, one in came if is_result(one)}
    assert last.keys() == {0, 1, 2}
    for place, tokens in ((0, 200), (1, 0), (2, 300)):
        parts = [
            (at, ids) for at, where, one in came if where == place and not is_result(one) for _, *ids in one
        ]
        answer = last[place][1][0]["token_ids"]
        assert [token for _at, ids in parts for token in ids] == (answer if tokens else [])
        assert len(answer) == (tokens or 40)
        assert not parts or last[place][0] - parts[0][0] > 0.05  # of 0.2 and 0.3 s
    assert entered.run(entered.engine.describe())["now"] == 0


@pytest.mark.parametrize("name", [one for one in EVERY if one.values[0] != LOCAL])
def test_requests_pass_by_asyncllm_with_the_entries_that_are_ours(name, monkeypatch):
    started = []

    async def start(_engine: Engine, spec: EngineSpec) -> None:
        started.append(spec.direct)

    kind = load(ENTRIES[name].engine)
    monkeypatch.setattr(kind, "_start", start)
    engine = object.__new__(kind)
    engine._run = SimpleNamespace(start_deadline_seconds=1.0)
    asyncio.run(engine.start(EngineSpec(None, None, 1, {}, "fake_engine:start")))
    assert started == [name in ("zmq", "ray-batch")]


def test_a_rollout_tells_its_caller_of_tokens_by_prompt_and_sample():
    class Streaming(ModelFreeEngine, Engine):
        async def generate(self, requests, took):
            for place in range(len(requests)):
                took(place, [[0, 5], [1, 6]] if requests[place][3].one_request else [[0, 5]])
            await asyncio.sleep(0.05)
            await super().generate(requests, took)

    def generated(on_tokens, **asked):
        rollout = Rollout(model=None, row=None, engine=Streaming())
        return asyncio.run(
            rollout.generate([[5], [5]], Sampling(1, samples=2, stream=True, **asked), on_tokens)
        )

    for asked in ({}, {"one_request": True}):
        heard = []
        sequences = generated(lambda *one, heard=heard: heard.append(one), **asked)
        ids = [5, 6] if asked else [5, 5]
        assert heard == [(prompt, sample, [ids[sample]]) for prompt in (0, 1) for sample in (0, 1)]
        assert all(one.first_seen_seconds < 0.04 < one.done_seconds for one in sequences)
    with pytest.raises(ZeroDivisionError):
        generated(lambda *_: 1 / 0)


def test_bytes_are_those_of_requests_and_answers_and_times_are_in_their_order(entered):
    if entered.name in (LOCAL, REPLICAS, *BY_RAY):
        pytest.skip("there are none, or Ray does not say")

    async def count() -> tuple[int, int, list[dict]]:
        before = (await entered.engine.describe())["entry_carried"]
        results = await generate(entered.engine, [[1] * 1000, [2] * 1000], Sampling(500))
        for _ in range(3):
            carried = (await entered.engine.describe())["entry_carried"]
        return *(carried[f"{way}_bytes"] - before[f"{way}_bytes"] for way in ("sent", "received")), results

    begin = time.monotonic()
    sent, received, results = entered.run(count())
    assert 2000 < sent < 8000
    assert 2000 < received < 12000
    for one in results:
        assert begin < one["arrived_at"] <= one["queued_at"] < one["done_at"]


def test_nothing_to_generate_is_generated_at_once(entered):
    assert entered.run(generate(entered.engine, [], Sampling(1))) == []


@pytest.mark.parametrize("stream", [False, True], ids=["", "stream"])
def test_a_call_that_is_cancelled_aborts_its_requests_and_no_other(entered, stream):
    async def cancel() -> None:
        kept = asyncio.create_task(generate(entered.engine, [[1]], Sampling(300)))
        dropped = asyncio.create_task(generate(entered.engine, [[1], [2]], Sampling(100_000, stream=stream)))
        await asyncio.sleep(0.1)
        dropped.cancel()
        await asyncio.gather(dropped, return_exceptions=True)
        assert dropped.cancelled()
        assert len((await kept)[0]["token_ids"]) == 300
        for _ in range(100):
            seen = await entered.engine.describe()
            if not seen["now"]:
                break
            await asyncio.sleep(0.02)
        assert sorted(seen["aborted"][-2:]) == ["r0", "r1"]
        assert seen["now"] == 0

    entered.run(cancel())


def test_a_part_that_is_cancelled_at_the_turn_at_which_it_came_is_ended_too():
    """Or its room at the front would be lost."""
    ended = []

    async def both() -> None:
        front = Front(FakeEngine(0.01), lambda _results: None, lambda *end: ended.append(end))
        front.generate(1, requests([[1]], Sampling(100)))
        front.cancel(1)
        await asyncio.sleep(0.02)
        assert front._parts == {}

    asyncio.run(both())
    assert ended == [(1, "RolloutError", "cancelled")]


@pytest.mark.parametrize("stream", [False, True], ids=["", "stream"])
def test_an_error_in_the_engine_is_the_caller_s_and_the_engine_goes_on(entered, stream):
    with pytest.raises(WorkerError, match="sabotage on request"):
        entered.run(generate(entered.engine, [[1], [RAISE]], Sampling(1, stream=stream)))
    sampling = Sampling(2, stream=stream)
    assert len(entered.run(generate(entered.engine, [[1]], sampling))[0]["token_ids"]) == 2


def test_workers_are_called_through_it(entered):
    assert entered.run(entered.engine.call_workers("nap", (1.5, "two"))) == ["nap", 1.5, "two"]


def test_how_late_the_front_s_event_loop_is_comes_from_where_it_runs(entered):
    entered.run(entered.engine.front_lag(True))
    entered.run(entered.engine.call_workers(HOLD, (0.3,)))
    lags = entered.run(entered.engine.front_lag(False))
    assert len(lags) == (entered.name not in (LOCAL, REPLICAS))
    assert [lag for lag in lags if not 0.02 < lag < 5] == []
    assert all(lag == 0 for lag in entered.run(entered.engine.front_lag(False)))  # it is not watched now


def test_an_event_loop_that_is_held_is_late_as_long_as_it_was():
    async def hold() -> float:
        lag = LoopLag()
        lag.begin()
        time.sleep(0.11)  # noqa: ASYNC251 - that is what holds it
        await asyncio.sleep(0)
        return lag.end()

    assert 0.05 <= asyncio.run(hold()) < 1


def test_an_interruption_reaches_the_engine_and_what_it_says_the_caller(entered):
    engine = entered.engine
    assert entered.run(engine.abort(0.5)) == 3
    entered.run(engine.pause("keep"))
    entered.run(engine.resume())
    entered.run(engine.sleep(2))
    entered.run(engine.wake_up("weights"))
    with pytest.raises(ConfigurationError, match="no time to nap"):
        entered.run(engine.pause("nap"))
    assert entered.run(engine.describe())["told"] == [
        "abort 0.5", "pause keep", "resume", "sleep 2", "wake_up weights",
    ]  # fmt: skip


def test_requests_beyond_what_a_front_takes_wait_and_none_is_dropped(entered, monkeypatch):
    if entered.name in (LOCAL, REPLICAS):
        pytest.skip("there is nothing between the caller and the engine")
    monkeypatch.setattr(entered.engine, "_room", 3)

    async def flood() -> None:
        entered.most = (await entered.engine.describe())["most"]
        batches = [generate(entered.engine, [[n + 1] for n in range(size)], Sampling(2)) for size in (8, 5)]
        first, second = await asyncio.gather(*batches)
        assert [one["token_ids"][0] for one in first] == [*range(1, 9)]
        assert [one["token_ids"][0] for one in second] == [*range(1, 6)]

    entered.run(flood())
    seen = entered.run(entered.engine.describe())
    assert seen["most"] == max(3, entered.most)
    assert entered.engine._room == 3


@pytest.mark.parametrize("name", [*REMOTE, LOCAL], indirect=True)
def test_an_engine_that_does_not_start_is_the_caller_s_error(name):
    async def start() -> None:
        async with opened(name, no_start="not like this"):
            pytest.fail("it has started")

    kinds = ("process", "file", "shared memory") if name in BY_RAY else ()
    with nothing_left(only=kinds), pytest.raises(ConfigurationError, match="not like this"):
        asyncio.run(start())


def taken_port() -> socket.socket:
    """A socket that listens on a port of its own."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken


CALLER = """
import asyncio
from rollout_perf.entries import open_entry

async def stay():
    async with open_entry("zmq", "fake_engine:start") as engine:
        print((await engine.describe())["front_pid"], engine._run.folder, flush=True)
        await asyncio.sleep(60)

asyncio.run(stay())
"""


def test_a_caller_that_is_killed_leaves_no_front_and_no_folder():
    with (
        nothing_left(only=("process", "shared memory")),
        subprocess.Popen(
            [sys.executable, "-c", CALLER],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": python_path()},
        ) as caller,
    ):
        front, folder = caller.stdout.readline().split()
        assert lives(int(front))
        caller.kill()
        assert eventually(lambda: not lives(int(front)))
        assert eventually(lambda: not Path(folder).exists())


@pytest.mark.parametrize("name", TAKES_ENDPOINT, indirect=True)
def test_a_port_in_use_is_said(name):
    async def start(port: int) -> None:
        async with opened(name, f"{TCP}:{port}"):
            pytest.fail("it has started")

    with nothing_left(only=("process", "thread")), taken_port() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=rf"cannot listen at \S*127\.0\.0\.1:{port}: .*in use"):
            asyncio.run(start(port))


def test_an_endpoint_is_refused_by_an_entry_that_takes_none():
    with pytest.raises(ConfigurationError, match=r"'tcp://127\.0\.0\.1' was given, .* takes none"):
        find_entry(LOCAL).check_endpoint(TCP)


@contextmanager
def watched_closely(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.1)
    with nothing_left(only=("process", "thread", "shared memory")):
        yield


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGKILL, EngineError), (signal.SIGSTOP, Stalled)])
@pytest.mark.parametrize("name", REMOTE, indirect=True)
def test_a_front_that_is_killed_or_stopped_is_reported_to_whoever_waits(name, number, expected, monkeypatch):
    seen = SimpleNamespace()

    async def break_it() -> None:
        async with opened(name, token_seconds=1.0, step_deadline_seconds=0.3) as engine:
            seen.front = (await engine.describe())["front_pid"]
            generating = asyncio.create_task(generate(engine, [[1]], Sampling(60)))
            await asyncio.sleep(0.1)
            os.kill(seen.front, number)
            seen.begin = time.monotonic()
            try:
                await generating
            except EngineError as error:
                with pytest.raises(type(error)):
                    await generate(engine, [[1]], Sampling(1))
                raise
            finally:
                seen.seconds = time.monotonic() - seen.begin

    words = "front .* ended" if number == signal.SIGKILL else r"the front has not answered within 0\.3 s"
    with watched_closely(monkeypatch), pytest.raises(expected, match=words):
        asyncio.run(break_it())
    assert seen.seconds < DEATH_NOTICE_SECONDS
    assert (
        time.monotonic() - seen.begin < 3 * DEATH_NOTICE_SECONDS
    )  # and nobody waited for it to end by itself
    assert not lives(seen.front)


@pytest.mark.parametrize("starts", [True, False], ids=["later", "at once"])
def test_a_router_that_ends_is_reported_with_what_it_said(starts, monkeypatch, tmp_path):
    if not starts:
        (tmp_path / "vllm_router").mkdir()
        (tmp_path / "vllm_router" / "__init__.py").touch()
        (tmp_path / "vllm_router" / "launch_router.py").write_text("import a_module_it_needs")
        monkeypatch.syspath_prepend(tmp_path)

    async def break_it() -> None:
        async with opened("http-router", token_seconds=1.0) as engine:
            generating = asyncio.create_task(generate(engine, [[1]], Sampling(60)))
            os.kill((await engine.describe())["router_pid"], signal.SIGKILL)
            await generating

    words = r"\(exit code -9\): it said nothing" if starts else r"\(exit code 1\): .* 'a_module_it_needs'"
    begin = time.monotonic()
    with watched_closely(monkeypatch), pytest.raises(EngineError, match=f"vllm-router ended {words}"):
        asyncio.run(break_it())
    assert time.monotonic() - begin < 2 * DEATH_NOTICE_SECONDS


def test_what_a_server_answers_badly_is_an_error_and_the_next_request_goes_on():
    async def ask() -> None:
        async with opened("http") as engine:
            for number, (status, _text) in BAD_ANSWERS.items():
                says = (
                    "answered 500: out of luck" if status == 500 else "what the server answered is no answer"
                )
                with pytest.raises(EngineError, match=says):
                    await generate(engine, [[1], [number]], Sampling(1))
                assert len(await generate(engine, [[1]], Sampling(1))) == 1
            for number, says in ((CUT, "before its answer did"), (FAILS, 'with: {"error": .*out of luck')):
                with pytest.raises(EngineError, match=f"the server's stream ended {says}"):
                    await generate(engine, [[number]], Sampling(1, stream=True))

    asyncio.run(ask())


def test_a_server_that_never_answers_has_stalled(monkeypatch):
    async def ask() -> None:
        async with opened("http", step_deadline_seconds=0.3) as engine:
            await generate(engine, [[NEVER]], Sampling(1))

    with watched_closely(monkeypatch), pytest.raises(Stalled, match=r"not answered within 0\.3 s"):
        asyncio.run(ask())


def test_more_requests_than_a_process_may_have_files_are_refused_before_they_are_sent():
    async def ask() -> None:
        async with opened("http") as engine:
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
            try:
                with pytest.raises(
                    ConfigurationError, match=r"4096 requests .* may have 1024 open files.*ulimit -n"
                ):
                    await generate(engine, [[1]] * 4096, Sampling(1))
                assert len(await generate(engine, [[1]] * 8, Sampling(1))) == 8
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)

    asyncio.run(ask())


def test_a_stranger_at_the_port_of_http_is_refused():
    async def ask() -> None:
        async with opened("http") as engine, aiohttp.ClientSession() as stranger:
            url = engine._session._base_url.with_path("inference/v1/generate")
            body = {"request_id": "x", "token_ids": [1], "sampling_params": {"max_tokens": 1}}
            for headers in ({}, {"Authorization": "Bearer guess"}):
                async with stranger.post(url, json=body, headers=headers) as response:
                    assert response.status == 401

    asyncio.run(ask())


def test_a_stranger_at_the_port_of_zmq_is_not_heard():
    """He knows the address and the front's name, and not the keys: what he sends would end the entry."""

    async def listen() -> None:
        async with opened("zmq", TCP) as engine:
            address = engine._channel._socket.get_string(zmq.LAST_ENDPOINT)
            with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
                stranger.linger = 0
                stranger.connect(address)
                stranger.send(b"garbage")
                await asyncio.sleep(0.3)
                assert len(await generate(engine, [[1]], Sampling(1))) == 1

    asyncio.run(listen())
