"""The entry `http`: vLLM's own server in a front, tokens in and tokens out, a POST a request.

What the server does not tell of a request, such as the engine's own times, is asked for over ZeroMQ when its
answer has come; so are the questions beside requests. It listens on one interface, and answers whoever has
the key made for the run.
"""

import asyncio
import contextlib
import os
import resource
import secrets
import socket
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from ..engine import Engine, EngineSpec, Request, Result, Tokens, Took
from ..errors import ConfigurationError, EngineError, RolloutError
from ..transports.base import POLL_SECONDS
from ..transports.processes import end_at_once
from ..transports.run import Run
from ..transports.zeromq import endpoint as zeromq_endpoint
from .remote import LIVE, SERVED
from .zmq import ZeroMQ

_ROUTE = "/inference/v1/generate"
ANYWHERE = "tcp://127.0.0.1"
_FINAL_ONLY = 2
"""vLLM's RequestOutputKind. Where it is not asked for, a server before 0.30 makes an output at every step."""
_WORDS = 200
"""Of what a server answers where it fails."""
_PATIENCE = 10
"""How often it is looked why a connection broke: that the front has ended is known a little later."""


def check_endpoint(endpoint: str) -> None:
    """Raise ConfigurationError where a server cannot listen there."""
    if zeromq_endpoint.check_endpoint(endpoint) != "tcp":
        raise ConfigurationError(f"entry_endpoint {endpoint!r} is not taken; give tcp://ADDRESS[:PORT]")


class _Choice(msgspec.Struct):
    index: int
    token_ids: list[int]
    finish_reason: str | None


class _Answer(msgspec.Struct):
    choices: list[_Choice]


_EVENT, _LAST = b"data: ", b"[DONE]"
"""How a line of a stream begins that says something, and what the last one says."""


# --- the caller's end -----------------------------------------------------------------------------


class Http(ZeroMQ):
    """An engine behind vLLM's server."""

    direct = False
    serve = f"{__name__}:serve"
    breaks: tuple[type[Exception], ...] = (aiohttp.ClientError,)
    """What comes of a request, perhaps because the front has ended."""

    def __init__(self, run: Run, endpoint: str | None):
        super().__init__(run, None, endpoint or ANYWHERE)
        self._decode = msgspec.json.Decoder(_Answer).decode
        self._session: aiohttp.ClientSession | None = None
        self._posts: dict[int, set[asyncio.Task]] = {}  # by the number of the part
        self._answered: list[tuple[int, int, Request, list[_Choice]]] = []
        self._tasks: set[asyncio.Task] = set()

    async def _start(self, spec: EngineSpec) -> None:
        await super()._start(spec)
        facts = self._started.result()
        self._session = aiohttp.ClientSession(
            facts["url"],
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3600),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"Authorization": f"Bearer {facts['key']}", "Content-Type": "application/json"},
        )

    async def generate(self, requests: list[Request], took: Took) -> None:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        free = most - len(os.listdir("/proc/self/fd"))
        if len(requests) > free:
            raise ConfigurationError(
                f"{len(requests)} requests at once need as many connections, and this process may have "
                f"{most} open files, of which {free} are free: raise that (ulimit -n), or send fewer at once"
            )
        await super().generate(requests, took)

    def _send(self, number: int, requests: list[Request]) -> None:
        posts = self._posts[number] = set()
        for place, request in enumerate(requests):
            posts.add(task := asyncio.create_task(self._post(number, place, request)))
            task.add_done_callback(posts.discard)

    async def _post(self, number: int, place: int, request: Request) -> None:
        try:
            choices = await self._answer_to(request, lambda tokens: self._take_tokens(number, place, tokens))
        except asyncio.CancelledError:
            return
        except Exception as error:
            self._end(number, await self._cause(error))
            return
        if not self._answered:
            self._in_background(self._complete())
        self._answered.append((number, place, request, choices))

    def _take_tokens(self, number: int, place: int, tokens: Tokens) -> None:
        if number in self._parts:
            self._take([(number, place, tokens)])

    async def _answer_to(self, request: Request, stream: Callable[[Tokens], None]) -> list[_Choice]:
        name, _index, prompt, sampling, sample = request
        params = {field: value for field, value in asdict(sampling).items() if value is not None}
        samples = params.pop("samples")
        params.pop("session", None)
        params["n"] = samples if params.pop("one_request") else 1
        streams = params.pop("stream")
        if not streams:
            params["output_kind"] = _FINAL_ONLY
        if "seed" in params:
            params["seed"] += sample
        asked = {"request_id": name, "token_ids": prompt, "sampling_params": params, "stream": streams}
        assert self._session is not None
        body = msgspec.json.encode(asked)
        self._carried["sent_bytes"] += len(body)
        async with self._session.post(_ROUTE, data=body) as response:
            if response.status != 200:
                words = (await response.read())[:_WORDS].decode(errors="replace")
                raise EngineError(f"the server answered {response.status}: {words}")
            if streams:
                choices = await self._streamed(response, stream)
            else:
                content = await response.read()
                self._carried["received_bytes"] += len(content)
                choices = self._decode(content).choices
        if len(choices) != params["n"]:
            raise EngineError(f"the server gave {len(choices)} samples, and {params['n']} were asked for")
        return sorted(choices, key=lambda choice: choice.index)

    async def _streamed(
        self, response: aiohttp.ClientResponse, stream: Callable[[Tokens], None]
    ) -> list[_Choice]:
        """The whole of what the server says line by line, and its tokens as they come."""
        whole: dict[int, _Choice] = {}
        async for line in response.content:
            self._carried["received_bytes"] += len(line)
            if not line.startswith(_EVENT):
                continue
            said = line.removeprefix(_EVENT).strip()
            if said == _LAST:
                break
            try:
                choices = self._decode(said).choices
            except (msgspec.DecodeError, ValueError):
                words = said[:_WORDS].decode(errors="replace")
                raise EngineError(f"the server's stream ended with: {words}") from None
            for new in choices:
                kept = whole.setdefault(new.index, _Choice(new.index, [], None))
                kept.token_ids += new.token_ids
                kept.finish_reason = new.finish_reason
                if new.token_ids:
                    stream([[new.index, *new.token_ids]])
        if any(choice.finish_reason is None for choice in whole.values()):
            raise EngineError("the server's stream ended before its answer did")
        return list(whole.values())

    async def _cause(self, error: Exception) -> RolloutError:
        for _ in range(_PATIENCE if isinstance(error, self.breaks) else 1):
            noted = self._run.failure() or self._failure
            if noted is not None:
                return noted
            await asyncio.sleep(POLL_SECONDS / 2)
        if isinstance(error, RolloutError):
            return error
        if isinstance(error, msgspec.DecodeError | ValueError):
            return EngineError(f"what the server answered is no answer: {error}")
        return EngineError(f"the server cannot be reached: {type(error).__name__}: {error}")

    async def _complete(self) -> None:
        """Take what has been answered until now, with what the server did not tell of it."""
        await asyncio.sleep(0)  # others may be ready at the same turn
        answered, self._answered = self._answered, []
        try:
            told = await self._ask(SERVED, [request[0] for _number, _place, request, _choices in answered])
        except RolloutError as error:
            for number in {number for number, *_rest in answered}:
                self._end(number, error)
            return
        self._take(
            (number, place, self._samples(request, choices, more))
            for (number, place, request, choices), more in zip(answered, told, strict=True)
            if number in self._parts
        )
        for number in {number for number, *_rest in answered} - self._parts.keys():
            self._posts.pop(number, None)

    @staticmethod
    def _samples(request: Request, choices: list[_Choice], told: Result) -> Result:
        return [
            more
            | {"prompt": request[1], "token_ids": choice.token_ids, "finish_reason": choice.finish_reason}
            for choice, more in zip(choices, told, strict=True)
        ]

    def _end(self, number: int, error: RolloutError) -> None:
        """End a part: the server aborts what it has of it when its connections are closed."""
        for post in self._posts.pop(number, ()):
            if post is not asyncio.current_task():
                post.cancel()
        self._end_part(number, error)

    def _cancel(self, number: int) -> None:
        self._end(number, RolloutError("cancelled"))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(task := asyncio.create_task(work))
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, what: str, *args: Any) -> Any:
        if what == LIVE and self._session is not None:  # the server may be silent where the front is not
            with contextlib.suppress(aiohttp.ClientError):
                async with self._session.get("/health") as response:
                    await response.read()
        return await super()._ask(what, *args)

    async def describe(self) -> dict[str, Any]:
        return await super().describe() | {
            "entry_channel": "http",
            "entry_endpoint_kind": "tcp",
            "entry_security": "a key",
            "aiohttp": aiohttp.__version__,
        }

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await super().close()


# --- the front's end ------------------------------------------------------------------------------


def serve(engine: Engine, endpoint: str) -> dict[str, Any]:
    """Have the engine's server listen at an endpoint; where it does, and the key that it asks for."""
    _most, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    listening = listener(endpoint)
    key = secrets.token_hex(32)
    end_with(engine.serve_http(listening, key))
    return {"url": url(*listening.getsockname()[:2]), "key": key}


_serving: set[asyncio.Task] = set()


def end_with(serving: asyncio.Task) -> None:
    """End the front when a task of its server fails, and leave the cause for the caller."""
    _serving.add(serving)
    serving.add_done_callback(_end_if_failed)


def _end_if_failed(serving: asyncio.Task) -> None:
    if not serving.cancelled() and (error := serving.exception()):
        words = str(error) if isinstance(error, RolloutError) else f"{type(error).__name__}: {error}"
        Run.from_environment().note_failure(EngineError(f"the server could not serve: {words}"))
        end_at_once(1)


def url(host: str, port: int) -> str:
    """The address of a server, as its clients have it."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def listener(endpoint: str) -> socket.socket:
    """A socket that listens at an endpoint. Raises EngineError where it cannot."""
    parts = urlsplit(endpoint)
    host = str(parts.hostname)
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, parts.port or 0))
        found.listen()
    except OSError as error:
        raise EngineError(f"cannot listen at {endpoint}: {error.strerror}") from error
    return found
