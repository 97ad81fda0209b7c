"""What the Ray transports share: a cluster joined, an actor for each worker, watched and ended.

RAY_ADDRESS names the cluster that is joined; see `ray_cluster`. How calls and replies travel is
the subclass's business.
"""

import contextlib
import os
import queue
import select
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import ray
from ray.exceptions import RayActorError, RayError

from ..errors import EngineError, WorkerDied
from .base import POLL_SECONDS, HostSpec, Transport
from .lifeline import Held, Lifelines, Line
from .ray_cluster import raylet_pid
from .ray_places import place_options
from .reply import Reply, worker_error
from .wire import Message, join, split


class _HasReply(Protocol):
    @property
    def reply(self) -> Reply | None: ...


Call = TypeVar("Call", bound=_HasReply)


class RayWorker:
    """The worker's end that every actor class has: what it reports without being asked."""

    def __init__(self, rank: int, line: Line | None = None):
        self.rank = rank
        self.host: Any = None
        self._unasked: queue.SimpleQueue = queue.SimpleQueue()
        end_with_raylet()
        self._lifeline = Held(line) if line else None

    def live(self) -> bytes:
        """Return only the error of a call that nobody waits for; fails when the worker has ended."""
        return join(self._unasked.get())

    def report(self, error: Message) -> None:
        """Have `live` return `error`."""
        self._unasked.put(error)


class RayTransport(Transport):
    """Actors as workers. A subclass starts them with `_launch` and carries the calls."""

    def __init__(self, world_size: int, folder: Path):
        super().__init__(world_size, folder)
        self._actors: list[Any] = []
        self._joined = False
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None
        self._raylet: _Raylet | None = None
        self._lifelines: Lifelines | None = None

    def _launch(self, worker: Any, spec: HostSpec) -> None:
        """Join the cluster and start an actor of the class `worker` for each rank."""
        self._joined = join_cluster()
        self._raylet = _Raylet.of_this_host()
        lines: list[Line | None] = [None] * self.world_size
        if spec.placement is not None and (elsewhere := spec.placement.elsewhere):
            self._lifelines = Lifelines(spec.placement.address)
            self._lifelines.watch(elsewhere, self._cut)
            lines = [self._lifelines.line(rank) if rank in elsewhere else None for rank in range(len(lines))]
        self._actors = [
            worker.options(num_gpus=spec.gpus, **place_options(spec, rank)).remote(rank, line)
            for rank, line in enumerate(lines)
        ]

    def _cut(self, rank: int, how: str) -> None:
        """Take the end of a worker's line: Ray may know more, where the process alone has ended."""
        self._closed.wait(2 * POLL_SECONDS)
        if not self._closed.is_set():
            self._fail(WorkerDied(how))

    def _watch_workers(self, others: dict[Any, int] | None = None) -> None:
        """Fail the transport when an actor ends, or one of the references `others`, given with its rank."""
        watched = {actor.live.remote(): rank for rank, actor in enumerate(self._actors)} | (others or {})
        self._watcher = threading.Thread(target=self._watch, args=[watched], name="ray-watch", daemon=True)
        self._watcher.start()

    def _watch(self, watched: dict[Any, int]) -> None:
        while not self._closed.is_set():
            try:
                ended, _live = ray.wait(list(watched), timeout=POLL_SECONDS)
            except RayError:
                return
            if end := self._end_of_raylet():
                self._fail(end)
                return
            if ended and not self._closed.wait(POLL_SECONDS):  # a last reply may be on its way, and says more
                self._fail(self._end_of(watched[ended[0]], ended[0]))
                return

    def _end_of(self, rank: int, reference: Any) -> EngineError:
        try:
            reported = ray.get(reference)
        except RayError as error:
            return self._translated(error, rank)
        if not reported:
            return EngineError(f"worker {rank} stopped listening")
        return worker_error(rank, split(reported))

    def _end_of_raylet(self) -> EngineError | None:
        if self._raylet is None or not self._raylet.has_ended():
            return None
        return WorkerDied(f"the raylet (process {self._raylet.pid}) ended, and all its workers with it")

    def _translated(
        self, error: RayError, rank: int | None = None, failed: str = "Ray failed"
    ) -> EngineError:
        """The package's own exception for one of Ray's.

        `rank` is the worker that was asked, where it was one; `failed` says what did not work, where
        no worker has ended.
        """
        if not isinstance(error, RayActorError):
            worker = "" if rank is None else f"worker {rank}: "
            return EngineError(f"{worker}{failed}: {first_line(error)}")
        ids = [actor._actor_id.hex() for actor in self._actors]
        ended = ids.index(error.actor_id) if error.actor_id in ids else rank or 0
        return self._end_of_raylet() or WorkerDied(f"worker {ended} (a Ray actor) ended: {first_line(error)}")

    def _given_up(self, ranks: Sequence[int], end: float, seconds: float) -> EngineError | None:
        """Why not to wait on for `ranks`, asked between two waits; None where there is still hope."""
        if self._closed.is_set():
            return EngineError("the transport was closed while a call was under way")
        if self._failure is not None:
            return self._failure
        return self._stalled(ranks, seconds) if time.monotonic() > end else None

    @property
    def _is_closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        self._abandon(EngineError("the transport was closed while a call was under way"))
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()
        raylet, self._raylet = self._raylet, None
        if raylet is not None:
            raylet.forget()
        if not ray.is_initialized():
            return  # the cluster could not be joined, so there is nothing of ours in it
        if self._actors:
            with contextlib.suppress(RayError):
                self._end_workers()
        if self._lifelines is not None:
            self._lifelines.close()
        self._actors = []
        self._forget_actors()
        if self._joined:
            ray.shutdown()

    @abstractmethod
    def _abandon(self, error: EngineError) -> None:
        """Resolve every reply that is still open with `error`."""

    @abstractmethod
    def _end_workers(self) -> None:
        """Have the hosts close, if nothing has failed, and kill the actors."""

    def _forget_actors(self) -> None:
        """Drop every handle of an actor. The cluster asks the driver, by a call that lasts, when the last
        one has gone; `ray.shutdown` leaves that call's connection open, if it has no answer (Ray 2.60)."""

    def _kill(self) -> None:
        for actor in self._actors:
            ray.kill(actor)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {
            "ray": ray.__version__,
            "ray_address_given": bool(os.environ.get("RAY_ADDRESS")),
        }


def end_with_raylet() -> None:
    """Have this process, an actor's, end when the raylet that started it has: Ray would let it finish the
    call that it is in (Ray 2.60)."""
    threading.Thread(target=_end_with, args=[os.getppid()], name="raylet-watch", daemon=True).start()


def _end_with(raylet: int) -> None:
    poller = select.poll()
    poller.register(os.pidfd_open(raylet), select.POLLIN)
    poller.poll()
    os._exit(1)


class _Raylet:
    """The process by which Ray keeps this host's workers, which end with it. Watched by us: Ray reports its
    end to the driver only after some missed heartbeats, 14 s later (Ray 2.60)."""

    def __init__(self, pid: int):
        self.pid = pid
        self._end = os.pidfd_open(pid)

    @classmethod
    def of_this_host(cls) -> "_Raylet | None":
        """That of the node that this process is on; None where it cannot be watched: Ray will report it."""
        pid = raylet_pid()
        try:
            return None if pid is None else cls(pid)
        except OSError:
            return None

    def has_ended(self) -> bool:
        poller = select.poll()
        poller.register(self._end, select.POLLIN)
        return bool(poller.poll(0))

    def forget(self) -> None:
        os.close(self._end)


class Awaited(NamedTuple):
    """A call that was sent, and what Ray returns of it."""

    reply: Reply
    reference: Any
    """Ray's, or a list of them."""
    end: float
    """When it has stalled, on the monotonic clock."""
    seconds: float


class Unanswered(Generic[Call]):
    """The calls that await a worker's answer, oldest first, each with its `reply`.

    Whoever receives holds `receiving`, so that an answer goes to the call that it belongs to. Others may
    add a call meanwhile, or abandon all.
    """

    def __init__(self) -> None:
        self.receiving = threading.RLock()
        self._calls: deque[Call] = deque()

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Call) -> None:
        self._calls.append(call)

    def oldest(self) -> Call | None:
        try:
            return self._calls[0]
        except IndexError:
            return None

    def remove(self, call: Call) -> None:
        """Take out the oldest, which has been answered; it has gone already where all were abandoned."""
        with contextlib.suppress(ValueError):
            self._calls.remove(call)

    def abandon(self, error: EngineError) -> None:
        """Resolve all that are still open with `error`."""
        with contextlib.suppress(IndexError):
            while True:
                reply = self._calls.popleft().reply
                if reply is not None:
                    reply.set_exception(error)


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type; of one that a worker raised, that."""
    error = getattr(error, "cause", None) or error
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def join_cluster() -> bool:
    """Join the cluster that RAY_ADDRESS names; whether this process had not joined one before.

    Raises EngineError where there is none.
    """
    if ray.is_initialized():
        return False
    forget_settings()
    try:
        ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=True, configure_logging=False)
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:  # RuntimeError: of another version
        raise EngineError(f"no Ray cluster to join: {' '.join(str(error).split())}") from error
    return True


def forget_settings() -> None:
    """Have Ray read anew how a cluster lets in, and whether it is on the loopback interface alone.

    It keeps what it found when it was first imported, perhaps for another cluster or none.
    """
    constants: Any = ray._private.ray_constants
    constants.ENABLE_RAY_CLUSTER = constants.env_bool(constants.ENABLE_RAY_CLUSTERS_ENV_VAR, True)
    raylet: Any = ray._raylet
    with contextlib.suppress(AttributeError):  # a Ray without tokens has neither
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()
