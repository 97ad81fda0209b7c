"""What the two ends of the entry `zmq` say to each other, and the socket in an event loop that carries it."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from ..engine import Limits
from ..errors import EngineError
from ..rollout import Sampling


class Generate(msgspec.Struct, array_like=True, tag=0):
    """To the front: a part."""

    number: int
    requests: list[tuple[str, int, list[int], Sampling, int]]


class Cancel(msgspec.Struct, array_like=True, tag=1):
    """To the front: abort a part."""

    number: int


class Ask(msgspec.Struct, array_like=True, tag=2):
    """To the front: a question."""

    number: int
    what: str
    args: list[Any]


class Close(msgspec.Struct, array_like=True, tag=3):
    """To the front: end."""


class Ready(msgspec.Struct, array_like=True, tag=4):
    """From the front: the engine has started; what it takes, and what else is to be known."""

    limits: Limits
    facts: dict[str, Any]


class Results(msgspec.Struct, array_like=True, tag=5):
    """From the front: results, and tokens of what streams, each with the number of its part and its place
    there."""

    results: list[tuple[int, int, list[Any]]]


class Ended(msgspec.Struct, array_like=True, tag=6):
    """From the front: a part that has failed or was cancelled, a question that failed, or 0: no start."""

    number: int
    kind: str
    text: str


class Answer(msgspec.Struct, array_like=True, tag=7):
    """From the front: the answer to a question."""

    number: int
    value: Any


class Channel:
    """A socket in an event loop, without a task: `take` has each message that comes, and its bytes."""

    def __init__(
        self,
        socket: zmq.Socket,
        types: Any,
        take: Callable[[Any, int], None],
        broken: Callable[[EngineError], None],
    ):
        self._socket = socket
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(types).decode
        self._take = take
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._descriptor = socket.fileno()
        self._loop.add_reader(self._descriptor, self._look)

    def send(self, message: Any, *before: bytes) -> int:
        """Send a message, behind the frames `before`; its bytes."""
        frame = self._encode(message)
        self._socket.send_multipart([*before, frame], flags=zmq.NOBLOCK)
        # The descriptor is ready once for all that has happened, and sending has taken note of that.
        self._loop.call_soon(self._look)
        return len(frame)

    def _look(self) -> None:
        while not self._socket.closed and int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
            *_identity, frame = self._socket.recv_multipart(copy=False)
            try:
                message = self._decode(frame.buffer)
            except (msgspec.DecodeError, ValueError) as error:
                self._broken(EngineError(f"what came over the entry is no message of it: {error}"))
                return
            self._take(message, len(frame.buffer))

    def close(self) -> None:
        """Take no more; what has been sent may leave."""
        self._loop.remove_reader(self._descriptor)
        self._socket.close()
