"""What every transport is: it starts workers, carries calls to them and replies back, and ends.

A transport knows frames, processes and deadlines; it knows nothing of vLLM. The process that
calls is the driver. In each worker process runs a host, built there from a `HostSpec`; the
host answers one message with another. The rules that all transports live by:

- one thread sends at a time. Any number may wait for replies at once, also while it sends, and each gets
  its own: a lock is held while one receives, and what it receives for another call goes to that one;
- every worker handles calls in the order in which they were sent, and answers in that order;
- what a host raises in a call is that call's WorkerError, with its traceback, and the next call
  goes on; raised by a worker that was not asked to reply, it fails the transport;
- no wait is without a deadline: a dead worker fails the transport with WorkerDied within
  DEATH_NOTICE_SECONDS, a silent one with Stalled; from then on every call raises that error;
- `close` ends every process that `start` started; closing twice is closing once.
"""

import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..errors import EngineError, Stalled
from . import load
from .reply import Deferred, Reply
from .wire import Message, byte_count

if TYPE_CHECKING:
    from .placement import Placement

DEATH_NOTICE_SECONDS = 5.0
"""A worker's death reaches the caller within this time."""

CLOSE_SECONDS = 5.0
"""How long `close` lets workers end by themselves before it kills them."""

POLL_SECONDS = 0.1
"""How often a wait looks up to see whether a worker has died."""


@dataclass(frozen=True)
class HostSpec:
    """How a worker process builds its host: `factory`, a "module:name", is called with
    (rank, payload). `environment` is set in the worker; `gpus` are reserved for each of them. `placement`
    says on which nodes they are; without one they are on this host.
    """

    factory: str
    payload: bytes
    environment: dict[str, str] = field(default_factory=dict)
    gpus: int = 0
    placement: "Placement | None" = None

    def build(self, rank: int) -> "Host":
        """Build the host in the process that calls."""
        host: Host = load(self.factory)(rank, self.payload)
        return host


_INHERITED = ("VLLM_", "OMP_", "KMP_", "MKL_", "TORCH", "PYTORCH_", "TRITON_", "CUDA_", "NCCL_", "NVSHMEM_",
              "GLOO_", "HF_", "TRANSFORMERS_", "ROLLOUT_PERF_", "LD_PRELOAD")  # fmt: skip


def inherited() -> dict[str, str]:
    """What of this process's environment a worker has, wherever it runs."""
    return {name: value for name, value in os.environ.items() if name.startswith(_INHERITED)}


def python_path() -> str:
    """PYTHONPATH for a new process, so that it imports from where this one does."""
    return os.pathsep.join(path for path in sys.path if path)


class Host(Protocol):
    """What answers calls in a worker process. Its calls come from one thread."""

    def call(self, message: Message) -> Message | Deferred:
        """Handle one call. What it raises goes back to the caller of that call."""

    def close(self) -> None:
        """Release what the host holds."""


@dataclass
class Counters:
    """What a transport has carried since it started, counted in the driver.

    `calls` and `replies` are messages, one for each worker that is sent to or answers; `steps_ahead` are
    engine steps sent before the answer to the last was there; bytes are those of the frames, without the
    channel's own framing. Seconds are the driver's: to encode a call, to hand it to the channel, to wait
    for replies, to take one that has come apart, to decode it.
    They add up over threads that wait at once.
    """

    calls: int = 0
    replies: int = 0
    steps_ahead: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    encode_seconds: float = 0.0
    send_seconds: float = 0.0
    wait_seconds: float = 0.0
    receive_seconds: float = 0.0
    decode_seconds: float = 0.0

    def as_dict(self) -> dict[str, float]:
        """The counters by name."""
        return asdict(self)


class Transport(ABC):
    """Carries calls from this process to `world_size` workers; see the module's rules.

    `folder` is a directory that only this user can enter, for whatever the channel needs on disk.
    """

    channel: ClassVar[str]
    """What carries a message, in the terms of the library that does it."""

    def __init__(self, world_size: int, folder: Path):
        self.world_size = world_size
        self.folder = folder
        self.counters = Counters()
        self._counting = threading.Lock()
        self._failure: EngineError | None = None
        self._failure_lock = threading.Lock()
        self._on_failure: Callable[[EngineError], None] | None = None

    @abstractmethod
    def start(self, spec: HostSpec, deadline_seconds: float) -> None:
        """Start the workers and return when each has built its host.

        Raises WorkerError with what a host raised, WorkerDied or Stalled; nothing is left then.
        """

    def send(
        self,
        message: Message,
        reply_ranks: Sequence[int],
        deadline_seconds: float,
        then: Callable[[list[Message]], Any] = list,
    ) -> Reply:
        """Send a call to every worker; those in `reply_ranks` answer. Does not wait for them.

        The reply resolves to `then` of the messages, in the order of `reply_ranks`.
        """
        self._check_open()
        begin = time.perf_counter()
        reply = Reply(reply_ranks, self._wait_for, then)
        if not reply_ranks:
            reply.set_result(None)
        size = byte_count(message)
        self._carry(message, size, reply, deadline_seconds)
        with self._counting:
            self.counters.calls += self.world_size
            self.counters.sent_bytes += size * self.world_size
            self.counters.send_seconds += time.perf_counter() - begin
        return reply

    @abstractmethod
    def _carry(self, message: Message, size: int, reply: Reply, deadline_seconds: float) -> None:
        """Hand a call of `size` bytes to the channel; `reply.ranks` answer it."""

    def _wait_for(self, reply: Reply) -> None:
        """Wait until the reply has resolved; all of it counts as waiting but for what `_deliver` takes."""
        counters = self.counters
        begin, busy = time.perf_counter(), counters.receive_seconds + counters.decode_seconds
        try:
            self._receive_for(reply)
        finally:
            busy = counters.receive_seconds + counters.decode_seconds - busy
            counters.wait_seconds += time.perf_counter() - begin - busy

    @abstractmethod
    def _receive_for(self, reply: Reply) -> None:
        """Receive until the reply has resolved, to an error at its deadline or where the transport fails."""

    @property
    @abstractmethod
    def _is_closed(self) -> bool:
        """Whether `close` has been called."""

    def _check_open(self) -> None:
        self.check()
        if self._is_closed:
            raise EngineError("the transport is closed")

    @abstractmethod
    def close(self) -> None:
        """End the workers and release the channel."""

    def describe(self) -> dict[str, Any]:
        """Facts of the live channel, for the record."""
        return {"transport": type(self).__name__, "channel": self.channel}

    def on_failure(self, callback: Callable[[EngineError], None]) -> None:
        """Call `callback` once, from any thread, when the transport has failed."""
        with self._failure_lock:
            self._on_failure = callback
            failure = self._failure
        if failure is not None:
            callback(failure)

    def check(self) -> None:
        """Raise the error by which the transport has failed, if it has."""
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: EngineError) -> EngineError:
        """Note the first failure, call who asked for it by `on_failure`, and return that first one."""
        with self._failure_lock:
            if self._failure is not None:
                return self._failure
            self._failure = error
            callback = self._on_failure
        if callback is not None:
            callback(error)
        return error

    def _deliver(self, reply: Reply, rank: int, status: bytes, message: Message) -> None:
        """Hand a worker's reply to the call that it answers, and count it."""
        counters = self.counters
        begin, decoded = time.perf_counter(), counters.decode_seconds
        size = byte_count(message)
        with self._counting:  # replies of two workers may be received by two threads
            counters.replies += 1
            counters.received_bytes += size
        reply.add(rank, status, message)
        counters.receive_seconds += time.perf_counter() - begin - (counters.decode_seconds - decoded)

    def _stalled(self, ranks: Sequence[int], deadline_seconds: float) -> EngineError:
        workers = ", ".join(str(rank) for rank in ranks)
        return self._fail(Stalled(f"no answer from worker {workers} within {deadline_seconds:g} s"))
