"""A reply to a call, at both ends: how a worker answers, and what the driver holds until it has.

Pure: no channel, no process. What brings an answer from one end to the other is a transport's business.
"""

import json
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import EngineError, WorkerError
from .wire import Message

# --- in the worker --------------------------------------------------------------------------------


class Deferred:
    """An answer that is still being computed: `fetch` waits for it, in another thread, so
    that the host can already begin with the next call."""

    def __init__(self, fetch: Callable[[], Message]):
        self.fetch = fetch


OK, ERROR = b"\x00", b"\x01"


def answer(produce: Callable[[], Any]) -> tuple[bytes, Any]:
    """Run `produce` in a worker: (OK, its value), or (ERROR, a message that describes the error)."""
    try:
        return OK, produce()
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        return ERROR, [json.dumps({"error": f"{type(error).__name__}: {error}", "traceback": text}).encode()]


def fetched(status: bytes, value: Message | Deferred) -> tuple[bytes, Message]:
    """Turn what `answer` gave into what is sent, waiting for a deferred value."""
    return answer(value.fetch) if isinstance(value, Deferred) else (status, value)


def worker_error(rank: int, message: Message) -> WorkerError:
    """The exception for the error that worker `rank` has answered with."""
    try:
        report = json.loads(bytes(message[0]))
        text = f"{report['error']}\n{report['traceback'].rstrip()}"
    except (LookupError, TypeError, ValueError) as error:
        text = f"an error that cannot be read ({type(error).__name__}: {error})"
    return WorkerError(f"worker {rank}: {text}")


# --- in the driver --------------------------------------------------------------------------------


class Reply:
    """The replies to one call, in rank order; it resolves when someone asks for its result.

    Waiting is done by whoever calls `result`, without a thread in between: the driver of an
    engine has nothing else to do then, and a thread hop costs more than the message. It has the
    methods of a Future that vLLM calls; a Future's locks would cost as much as sending.
    """

    __slots__ = ("_callbacks", "_done", "_error", "_messages", "_then", "_value", "_wait", "missing", "ranks")

    _settling = threading.Lock()  # of all replies: held for a moment

    def __init__(
        self, ranks: Sequence[int], wait: Callable[["Reply"], None], then: Callable[[list[Message]], Any]
    ):
        self.ranks = ranks
        self.missing = set(ranks)
        self._wait = wait
        self._then = then
        self._messages: dict[int, Message] = {}
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Reply], None]] = []

    def done(self) -> bool:
        """Whether it has resolved."""
        return self._done

    def result(self) -> Any:
        """What `then` made of the replies. Raises EngineError; bounded by the call's deadline."""
        if not self._done:
            self._wait(self)
        if self._error is not None:
            raise self._error
        return self._value

    def exception(self) -> BaseException | None:
        """The error that it has resolved to, if any; does not wait."""
        return self._error

    def add_done_callback(self, callback: Callable[["Reply"], None]) -> None:
        """Call `callback` with this once it has resolved, in the thread that finds out."""
        with self._settling:
            if not self._done:
                self._callbacks.append(callback)
                return
        callback(self)

    def set_result(self, value: Any) -> None:
        """Resolve, if nothing else has."""
        self._settle(value, None)

    def set_exception(self, error: BaseException) -> None:
        """Resolve to an error, if nothing else has."""
        self._settle(None, error)

    def _settle(self, value: Any, error: BaseException | None) -> None:
        with self._settling:
            if self._done:
                return
            self._value, self._error, self._done = value, error, True
        for callback in self._callbacks:
            callback(self)

    def add(self, rank: int, status: bytes, message: Message) -> None:
        """Take the reply of one worker; resolve with the last one, or with the first error."""
        self.missing.discard(rank)
        if self._done:
            return
        if status != OK:
            self.set_exception(worker_error(rank, message))
            return
        self._messages[rank] = message
        if len(self._messages) == len(self.ranks):
            try:
                self.set_result(self._then([self._messages[rank] for rank in self.ranks]))
            except Exception as error:
                unread = EngineError(f"a reply cannot be read: {type(error).__name__}: {error}")
                unread.__cause__ = error
                self.set_exception(unread)
