"""Requests that pass by AsyncLLM, over a fake of vLLM's client of the engine."""

import asyncio
import sys
from types import ModuleType, SimpleNamespace

import pytest

from rollout_perf import EngineError, Sampling
from rollout_perf.engine.asynchronous import AsyncEngine
from rollout_perf.engine.base import is_result

QUEUED, SCHEDULED, PREEMPTED = 1, 2, 3
LONG = Sampling(9, ignore_eos=True)


def output(name, *token_ids, ends=None, events=()):
    happened = [SimpleNamespace(type=kind, timestamp=at) for kind, at in events] or None
    return SimpleNamespace(request_id=name, new_token_ids=[*token_ids], finish_reason=ends, events=happened)


class Core:
    """vLLM's client of the engine."""

    def __init__(self):
        self.steps: asyncio.Queue = asyncio.Queue()
        self.sent: dict[str, SimpleNamespace] = {}
        self.aborted: list[str] = []

    async def add_request_async(self, request):
        self.sent[request.request_id] = request

    async def abort_requests_async(self, names):
        self.aborted += names

    async def get_output_async(self):
        step = await self.steps.get()
        if isinstance(step, Exception):
            raise step
        return step


class Llm:
    """AsyncLLM, which counts what it checks, and keeps the outputs that it has."""

    errored, output_handler = False, None

    def __init__(self):
        self.engine_core = Core()
        self.input_processor = self
        self.checks = 0
        self.has: list[str] = []
        self.known: list[str] = []

    async def get_supported_tasks(self):
        return ("generate",)

    def process_inputs(self, name, prompt, params, supported_tasks):
        self.checks += 1
        token_ids = prompt["prompt_token_ids"]
        return SimpleNamespace(request_id=name, prompt_token_ids=token_ids, sampling_params=params)

    def assign_request_id(self, request):
        request.external_req_id, request.request_id = request.request_id, request.request_id + "-x"

    async def add_request(self, name, _prompt, _params):
        self.known.append(name)
        return SimpleNamespace(put=None, output=None)

    def _run_output_handler(self):
        self.output_handler = self.output_handler or asyncio.create_task(self._handle())

    async def _handle(self):
        while True:
            self.has += [one.request_id for one in (await self.engine_core.get_output_async()).outputs]

    async def abort(self, names):
        assert not set(names) & set(self.known)

    async def is_sleeping(self):
        return False


@pytest.fixture
def engine(monkeypatch):
    vllm = ModuleType("vllm.v1.engine")
    vllm.EngineCoreEventType = SimpleNamespace(QUEUED=QUEUED, SCHEDULED=SCHEDULED)
    for name, module in (
        ("vllm", ModuleType("vllm")),
        ("vllm.v1", ModuleType("vllm.v1")),
        (vllm.__name__, vllm),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    made = AsyncEngine.__new__(AsyncEngine)
    made._processes, made._under_way = [], {}
    made._run = SimpleNamespace(step_deadline_seconds=60.0, failure=lambda: None)
    made._config = SimpleNamespace(model_config=SimpleNamespace(skip_tokenizer_init=True))
    made._sampling = lambda sampling, sample: SimpleNamespace(
        max_tokens=sampling.max_tokens, seed=sampling.seed, eos=7
    )
    return made


def generated(engine, requests, *steps, then=None):
    """What comes of requests by their places, when the engine has given these steps' outputs."""

    async def generate():
        engine._llm = Llm()
        engine.go_direct()
        came = [[] for _ in requests]
        generating = asyncio.create_task(
            engine.generate(requests, lambda place, one: came[place].append(one))
        )
        for number, step in enumerate(steps):
            for _ in range(10):
                await asyncio.sleep(0)
            engine._llm.engine_core.steps.put_nowait(
                step
                if isinstance(step, Exception)
                else SimpleNamespace(outputs=step, timestamp=10.0 + number)
            )
        for _ in range(10):
            await asyncio.sleep(0)
        if then is not None:
            await then(generating)
        await asyncio.gather(generating)
        return came

    return asyncio.run(generate())


def requests(*samplings):
    return [(f"r{index}", index, [index], sampling, index) for index, sampling in enumerate(samplings)]


def test_a_request_is_a_copy_of_one_that_vllm_has_checked_and_its_answer_is_put_together(engine):
    events = ((QUEUED, 3.0), (SCHEDULED, 5.0), (PREEMPTED, 6.0), (SCHEDULED, 7.0))
    asked = requests(Sampling(2, seed=40), Sampling(3, seed=50), Sampling(9))
    first = [output("r0", 5, events=events), output("r2", ends="stop")]
    second, third = [output("r1", 6, 7), output("r0", 8, ends="length")], [output("r1", 9, ends="length")]
    came = generated(engine, asked, first, second, third)
    sent = engine._llm.engine_core.sent
    wanted = {"r0": ([0], 2, 40), "r1": ([1], 3, 51), "r2": ([2], 9, None)}
    assert {
        name: (one.prompt_token_ids, one.sampling_params.max_tokens, one.sampling_params.seed)
        for name, one in sent.items()
    } == wanted
    assert all(one.external_req_id == name and one.sampling_params.eos == 7 for name, one in sent.items())
    assert engine._llm.checks == 2  # with a seed, and without
    [[one]], [[other]], [[none]] = came
    assert (one["token_ids"], other["token_ids"], none["token_ids"]) == ([5, 8], [6, 7, 9], [])
    assert (one["finish_reason"], none["finish_reason"]) == ("length", "stop")
    assert (one["queue_seconds"], one["queued_at"], one["done_at"]) == (2.0, 3.0, 11.0)
    assert one["latency_seconds"] == one["first_token_seconds"] + 1.0
    assert 0 <= one["first_token_seconds"] < 5


def test_what_streams_has_its_tokens_step_by_step_and_then_its_answer(engine):
    asked = requests(Sampling(9, stream=True))
    [[*tokens, answer]] = generated(
        engine, asked, [output("r0", 4, 5)], [output("r0")], [output("r0", 6, ends="stop")]
    )
    assert tokens == [[[0, 4, 5]], [[0, 6]]]
    assert is_result(answer)
    assert answer[0]["token_ids"] == [4, 5, 6]


@pytest.mark.parametrize("asks", [{"logprobs": 0}, {"prompt_logprobs": 0}, {"one_request": True}])
def test_what_asks_for_more_than_token_ids_is_async_llm_s(engine, asks):
    async def drop(generating):
        generating.cancel()

    with pytest.raises(asyncio.CancelledError):
        generated(engine, requests(Sampling(9, **asks)), [output("x0")], then=drop)
    assert engine._llm.known == ["r0"]
    assert engine._llm.engine_core.sent == {}


def test_outputs_of_others_go_on_to_async_llm(engine):
    generated(engine, requests(LONG), [output("x0"), output("r0", 1, ends="stop"), output("x1")])
    assert engine._llm.has == ["x0", "x1"]


def test_what_is_aborted_has_what_it_has_and_the_engine_is_told(engine):
    async def abort(_generating):
        assert await engine.abort(0.5) == 1
        engine._llm.engine_core.steps.put_nowait(
            SimpleNamespace(outputs=[output("r1", 8), output("r0", 9, ends="abort")], timestamp=1.0)
        )

    came = generated(engine, requests(LONG, LONG), [output("r0", 3), output("r1", 4)], then=abort)
    assert [(one["token_ids"], one["finish_reason"]) for [[one]] in came] == [
        ([3, 9], "abort"),
        ([4], "abort"),
    ]
    assert engine._llm.engine_core.aborted == ["r1"]


def test_a_call_that_is_cancelled_leaves_nothing_under_way(engine):
    async def drop(generating):
        generating.cancel()

    with pytest.raises(asyncio.CancelledError):
        generated(engine, requests(LONG, LONG), [output("r0", 3, ends="stop")], then=drop)
    assert engine._llm.engine_core.aborted == ["r1"]
    assert engine._under_way == engine._direct._under_way == {}


def test_the_engine_s_death_reaches_them_and_async_llm(engine):
    engine._cause = lambda error: asyncio.sleep(0, EngineError(f"told {error}"))
    with pytest.raises(EngineError, match="told it died"):
        generated(engine, requests(LONG, LONG), RuntimeError("it died"))
    assert isinstance(engine._llm.output_handler.exception(), RuntimeError)
    assert engine._direct._under_way == {}
