"""An engine without a model for the contract of entries: it says what it was asked, and fails on request.

A prompt that begins with RAISE has it raise; so does an argument `no_start` at the start. Its server answers
to one that begins with a number of BAD_ANSWERS with that, and to NEVER with nothing, from then on.
"""

import asyncio
import json
import time
from dataclasses import asdict
from types import SimpleNamespace

from aiohttp import web
from rollout_bench.measure.model_free import ModelFreeEngine

from rollout_perf import ConfigurationError, RolloutError, Sampling, WorkerError
from rollout_perf.engine import Engine, is_result
from rollout_perf.transports.run import Run

RAISE = 666
BAD_ANSWERS = {
    667: (500, "out of luck"),
    668: (200, "<html>"),
    669: (200, '{"choices": [{"token_ids": "1"}]}'),
}
NEVER = 670
CUT, FAILS = 671, 672
"""Its stream ends before its answer; or with an error, of which nothing else is known."""
HOLD = "hold"
"""A worker's method that holds the front's event loop for so many seconds."""


class FakeEngine(ModelFreeEngine, Engine):
    """Notes how many requests it had at once, and which were aborted."""

    def __init__(self, token_seconds: float = 0.0):
        super().__init__(token_seconds)
        self.finals: dict[str, dict] = {}
        self.seen = SimpleNamespace(now=0, most=0, aborted=[], told=[])

    async def generate(self, requests, took):
        answered = set()

        def note(place: int, result: list) -> None:
            answered.add(place)
            self.seen.now -= 1
            took(place, result)

        self.seen.now += len(requests)
        self.seen.most = max(self.seen.most, self.seen.now)
        try:
            if any(prompt[0] == RAISE for _name, _index, prompt, *_ in requests):
                raise WorkerError("sabotage on request")
            await self._stream(requests, took)
            await super().generate(requests, note)
        except asyncio.CancelledError:
            self.seen.aborted += [one[0] for place, one in enumerate(requests) if place not in answered]
            raise
        finally:
            self.seen.now -= len(requests) - len(answered)

    async def _stream(self, requests, took):
        """The tokens of what streams, one after the other."""
        streams = [
            (place, one[2][0], one[3].max_tokens) for place, one in enumerate(requests) if one[3].stream
        ]
        for number in range(max((tokens for *_rest, tokens in streams), default=0)):
            await asyncio.sleep(self._token_seconds)
            for place, first, tokens in streams:
                if number < tokens:
                    took(place, [[0, first % 1000 + number]])

    def _sample(self, request, sample, arrived):
        """What came is told, and fields of every kind travel, whatever a Sequence will have."""
        name, _index, prompt, sampling, _sample = request
        return super()._sample(request, sample, arrived) | {
            "text": f"{name} ü {sampling}",
            "log_probabilities": [-0.5, None, float("-inf")],
            "asked": asdict(sampling) | {"prompt": list(prompt)},
        }

    def serve_http(self, listener, key):
        """In the place of vLLM's server."""
        app = web.Application()
        never = asyncio.Event()

        async def generate(request):
            if request.headers.get("Authorization") != f"Bearer {key}":
                return web.Response(status=401)
            asked = await request.json()
            if asked["token_ids"][0] == NEVER:
                never.set()
                await asyncio.sleep(60)
            if bad := BAD_ANSWERS.get(asked["token_ids"][0]):
                return web.Response(status=bad[0], text=bad[1])
            name = asked["request_id"]
            params = asked["sampling_params"]
            assert params.pop("n") == 1
            assert ("output_kind" in params) != asked["stream"]
            params.pop("output_kind", None)
            one = (name, 0, asked["token_ids"], Sampling(**params, stream=asked["stream"]), 0)
            if asked["stream"]:
                return await stream(request, one)
            try:
                await self.generate([one], lambda _place, result: self.finals.update({name: result[0]}))
            except RolloutError as error:
                Run.from_environment().note_failure(error)
                return web.Response(status=500, text="EngineCore encountered an issue")
            choice = {field: self.finals[name].pop(field) for field in ("token_ids", "finish_reason")}
            return web.json_response({"choices": [choice | {"index": 0}]})

        async def stream(request, one):
            """As vLLM does: the last choice says why it is the last, and may have no tokens."""
            response = web.StreamResponse()
            await response.prepare(request)
            came = asyncio.Queue()
            generating = asyncio.create_task(self.generate([one], lambda _place, some: came.put_nowait(some)))
            generating.add_done_callback(lambda _task: came.put_nowait(None))
            try:
                while (some := await came.get()) and not is_result(some):
                    await say(response, {"index": 0, "token_ids": some[0][1:], "finish_reason": None})
                if one[2][0] == FAILS:
                    await response.write(b'data: {"error": {"message": "out of luck"}}\n\n')
                    return response
                if some is None:
                    Run.from_environment().note_failure(generating.exception())
                    await response.write(
                        b'data: {"error": {"message": "EngineCore encountered an issue"}}\n\n'
                    )
                    return response
                self.finals[one[0]] = some[0]
                last = {field: some[0].pop(field) for field in ("token_ids", "finish_reason")}
                if one[2][0] != CUT:
                    await say(response, last | {"index": 0, "token_ids": []})
                await response.write(b"data: [DONE]\n\n")
                return response
            finally:
                generating.cancel()

        async def say(response, choice):
            await response.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())

        async def health(_request):
            await asyncio.sleep(60 if never.is_set() else 0)
            return web.Response()

        app.add_routes([web.post("/inference/v1/generate", generate), web.get("/health", health)])

        async def serve():
            runner = web.AppRunner(app, handler_cancellation=True)
            await runner.setup()
            await web.SockSite(runner, listener).start()
            await asyncio.Event().wait()

        return asyncio.create_task(serve())

    def served(self, names):
        return [[self.finals.pop(name)] for name in names]

    async def call_workers(self, method, args):
        if method == HOLD:
            time.sleep(*args)  # noqa: ASYNC251 - that is what holds the event loop
        return [method, *args]

    async def abort(self, share):
        self.seen.told.append(f"abort {share}")
        return 3

    async def pause(self, mode):
        if mode == "nap":
            raise ConfigurationError("no time to nap")
        self.seen.told.append(f"pause {mode}")

    async def resume(self):
        self.seen.told.append("resume")

    async def sleep(self, level):
        self.seen.told.append(f"sleep {level}")

    async def wake_up(self, what):
        self.seen.told.append(f"wake_up {what}")

    async def describe(self):
        return vars(self.seen)


async def start(model, row, run, tensor_parallel_size, arguments):
    """In `start_engine`'s place."""
    if "no_start" in arguments:
        raise ConfigurationError(arguments["no_start"])
    return FakeEngine(**arguments)
