"""The entry `zmq`: a front in a process of its own, a ROUTER here, a DEALER there, msgpack between them.

What is ready travels together: the requests of a call, the results of an engine step. Nothing is pickled, and
no request has a task or a thread at either end. Over ipc the socket is in the run's folder; over tcp CURVE
lets in who has the keys made for the run. The front is run as

    python -P -m rollout_perf.entries.zmq < bootstrap
"""

import asyncio
import contextlib
import itertools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import zmq

from ..engine import Engine, EngineSpec, Request
from ..errors import EngineError, RolloutError
from ..transports import load
from ..transports.processes import CUT, WorkerProcesses, end_at_once, take_bootstrap
from ..transports.run import Run
from ..transports.zeromq.endpoint import (
    LARGEST_FRAME_BYTES,
    Endpoint,
    connect_for_life,
    with_large_buffers,
)
from ..transports.zeromq.keys import Authenticator, Keys
from .channel import Answer, Ask, Cancel, Channel, Close, Ended, Generate, Ready, Results
from .front import Front, answer, described
from .remote import RemoteEngine, error_of

_PURPOSE = "requests"
_IDENTITY = b"front"
_CLOSE_SECONDS = 20.0
"""How long a front may take to end its engine."""


# --- the caller's end -----------------------------------------------------------------------------


class ZeroMQ(RemoteEngine):
    """An engine in a process that is reached over ZeroMQ."""

    direct = True

    serve: str | None = None
    """What else the front does, see Serve, for entries that only ask over ZeroMQ."""

    def __init__(self, run: Run, endpoint: str | None, served_at: str | None = None):
        super().__init__(run)
        self._served_at = served_at
        self._endpoint = Endpoint.of(endpoint, run.folder)
        self._context = zmq.Context()
        self._authenticator = Authenticator(self._context) if self._endpoint.is_open else None
        self._processes = WorkerProcesses("rollout_perf.entries.zmq", "front")
        self._questions: dict[int, asyncio.Future[Any]] = {}
        self._asked = itertools.count(1)
        self._started: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._channel: Channel | None = None
        self._carried = {"sent_bytes": 0, "received_bytes": 0}
        """Requests and what comes of them."""

    async def _start(self, spec: EngineSpec) -> None:
        loop, socket = asyncio.get_running_loop(), self._bind()
        types = Ready | Results | Ended | Answer
        self._channel = Channel(socket, types, self._take_message, self._fail)
        keys = self._authenticator.keys if self._authenticator else None
        with with_large_buffers(socket):
            self._processes.launch(
                [(socket.get_string(zmq.LAST_ENDPOINT), keys, spec, self.serve, self._served_at)],
                self._run.variables(),
            )
            self._processes.watch(lambda epitaph: loop.call_soon_threadsafe(self._fail, EngineError(epitaph)))
            await self._started

    def _bind(self) -> zmq.Socket:
        socket = self._context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.maxmsgsize = LARGEST_FRAME_BYTES
        socket.sndhwm = socket.rcvhwm = 0  # MOST_IN_FLIGHT bounds them
        socket.router_mandatory = 1
        if self._authenticator is not None:
            self._authenticator.protect(socket)
        try:
            self._endpoint.bind(socket, _PURPOSE)
        except EngineError:
            socket.close()
            raise
        return socket

    def _take_message(self, message: Any, size: int) -> None:
        match message:
            case Results(results):
                self._carried["received_bytes"] += size
                self._take(results)
            case Answer(number, value):
                if number in self._questions:
                    self._questions.pop(number).set_result(value)
            case Ready(limits, facts):
                self._limits = limits
                if not self._started.done():
                    self._started.set_result(facts)
            case Ended(number, kind, text):
                self._take_end(number, error_of(kind, text))

    def _take_end(self, number: int, error: RolloutError) -> None:
        if number in self._questions:
            self._questions.pop(number).set_exception(error)
        elif number:
            self._end_part(number, error)
        else:
            self._fail(error)

    def _fail(self, error: RolloutError) -> None:
        super()._fail(error)
        for future in (self._started, *self._questions.values()):
            if not future.done():
                future.set_exception(self._run.failure() or error)
                future.exception()  # perhaps nobody waits any more

    def _send_message(self, message: Any) -> int:
        assert self._channel is not None
        with contextlib.suppress(zmq.ZMQError):  # it has ended: whoever watches it knows how
            return self._channel.send(message, _IDENTITY)
        return 0

    def _send(self, number: int, requests: list[Request]) -> None:
        self._carried["sent_bytes"] += self._send_message(Generate(number, requests))

    def _cancel(self, number: int) -> None:
        self._send_message(Cancel(number))

    async def _ask(self, what: str, *args: Any) -> Any:
        number = -next(self._asked)  # parts have the numbers above 0
        future = self._questions[number] = asyncio.get_running_loop().create_future()
        self._send_message(Ask(number, what, list(args)))
        try:
            return await future
        finally:
            self._questions.pop(number, None)

    async def describe(self) -> dict[str, Any]:
        return await super().describe() | {
            "entry_channel": "zmq ROUTER/DEALER",
            "entry_carried": dict(self._carried),
            "entry_endpoint_kind": self._endpoint.scheme,
            "entry_security": "CURVE" if self._authenticator else "a folder of the user's own",
        }

    async def close(self) -> None:
        self._processes.expect_end()
        grace_seconds = 0.0  # after a failure it may hang
        if self._failure is None:
            self._send_message(Close())
            grace_seconds = _CLOSE_SECONDS
        self._fail(EngineError("the rollout was closed"))
        await asyncio.to_thread(self._processes.end, grace_seconds)
        if self._channel is not None:
            self._channel.close()
        if self._authenticator is not None:
            await asyncio.to_thread(self._authenticator.close)
        self._context.term()


class ZeroMQPlain(ZeroMQ):
    """The same before AsyncLLM as vLLM has it: what the way there and back costs alone."""

    direct = False


# --- the front's end ------------------------------------------------------------------------------

Serve = Callable[[Engine, str | None], dict[str, Any]]
"""What a front does beside, at an endpoint, once its engine has started; returns what is to be known."""


async def _serve(
    context: zmq.Context, address: str, keys: Keys | None, spec: EngineSpec, serve: str | None, at: str | None
) -> None:
    """Be the front: start the engine, generate and answer until the caller says to end."""
    socket = context.socket(zmq.DEALER)
    socket.routing_id = _IDENTITY
    expected_end = threading.Event()
    watcher = connect_for_life(socket, address, keys, expected_end.is_set)
    closed = asyncio.Event()

    def take(message: Any, _size: int) -> None:
        match message:
            case Generate(number, requests):
                front.generate(number, requests)
            case Cancel(number):
                front.cancel(number)
            case Ask(number, what, args):
                asking.add(task := asyncio.create_task(reply(number, what, args)))
                task.add_done_callback(asking.discard)
            case Close():
                closed.set()

    async def reply(number: int, what: str, args: list[Any]) -> None:
        try:
            channel.send(Answer(number, await answer(front.engine, what, tuple(args))))
        except Exception as error:
            channel.send(Ended(number, *described(error)))

    asking: set[asyncio.Task] = set()
    channel = Channel(socket, Generate | Cancel | Ask | Close, take, lambda _error: end_at_once(CUT))
    try:
        engine = await spec.start(Run.from_environment())
        front = Front(
            engine,
            lambda results: channel.send(Results(results)),
            lambda number, kind, text: channel.send(Ended(number, kind, text)),
        )
        beside: Serve | None = load(serve) if serve else None
        channel.send(Ready(engine.limits, beside(engine, at) if beside else {}))
    except Exception as error:
        channel.send(Ended(0, *described(error)))
    else:
        await closed.wait()
        await front.close()
    expected_end.set()
    socket.disable_monitor()
    watcher.join()
    channel.close()


def main() -> None:
    """Be a front until the caller closes or is gone."""
    address, *rest = take_bootstrap()
    context = zmq.Context()
    # Not closed: what a server still has under way ends with the process, and would complain if cancelled.
    asyncio.Runner(loop_factory=_event_loop()).run(_serve(context, address, *rest))
    context.term()
    sys.stdout.flush()
    os._exit(0)  # threads and libraries of the engine must not delay the end


def _event_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """The event loop that vLLM's own server has, where it is installed."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
