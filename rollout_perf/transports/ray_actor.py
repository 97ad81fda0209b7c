"""The Ray transport: an actor for each worker, a step is one actor call and a fetched reply.

The actor computes in one thread and hands out replies in another (Ray's concurrency groups),
so that the next call begins while the reply of the last one is still waiting for the GPU.
The driver asks for the reply together with the call, which costs no waiting.

RAY_ADDRESS names the cluster that it joins; see `ray_cluster`.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from ..errors import EngineError, WorkerDied
from .base import (
    CLOSE_SECONDS,
    OK,
    POLL_SECONDS,
    HostSpec,
    Reply,
    Transport,
    answer,
    fetched,
    python_path,
    worker_error,
)
from .wire import Message, byte_count, join, split


@ray.remote(num_cpus=0, max_restarts=0, concurrency_groups={"compute": 1, "reply": 1, "watch": 1})
class _Worker:
    """The worker's end: computes in the group `compute`, answers in the group `reply`."""

    def __init__(self, rank: int):
        self.rank = rank
        self.host: Any = None
        self.answers: queue.SimpleQueue = queue.SimpleQueue()
        self.unasked: queue.SimpleQueue = queue.SimpleQueue()

    @ray.method(concurrency_group="compute")
    def start(self, spec: HostSpec) -> bytes:
        status, self.host = answer(lambda: spec.build(self.rank))
        return status + join([] if status == OK else self.host)

    @ray.method(concurrency_group="compute", num_returns=0)
    def call(self, wanted: bool, block: bytes) -> None:
        status, value = answer(lambda: self.host.call(split(block)))
        if wanted:
            self.answers.put((status, value))
        elif status != OK:
            self.unasked.put(value)

    @ray.method(concurrency_group="reply")
    def fetch(self) -> bytes:
        status, message = fetched(*self.answers.get())
        return status + join(message)

    @ray.method(concurrency_group="watch")
    def live(self) -> bytes:
        """Return only the error of a call that nobody waits for; fails when the worker has ended."""
        return join(self.unasked.get())

    @ray.method(concurrency_group="compute")
    def close(self) -> None:
        if self.host is not None:
            self.host.close()


class RayActor(Transport):
    """Ray actor calls, overlapped with the GPU; the caller of `Reply.result` fetches."""

    channel = "ray actor call"

    def __init__(self, world_size: int, folder: Path):
        super().__init__(world_size, folder)
        self._actors: list[Any] = []
        self._joined = False
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None
        self._waiting: dict[int, list[tuple[Reply, Any, float, float]]] = {}  # by rank, in call order

    def start(self, spec: HostSpec, deadline_seconds: float) -> None:
        try:
            self._join_cluster()
            environment = {"PYTHONPATH": python_path(), **spec.environment}
            # The worker picks its GPU by rank, as vLLM's own workers do.
            environment["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"] = "1"
            worker: Any = _Worker
            options = {"num_gpus": spec.gpus, "runtime_env": {"env_vars": environment}}
            self._actors = [worker.options(**options).remote(rank) for rank in range(self.world_size)]
            self._waiting = {rank: [] for rank in range(self.world_size)}
            self._watcher = threading.Thread(target=self._watch, name="ray-worker-watch", daemon=True)
            self._watcher.start()
            ready = Reply(range(self.world_size), self._fetch_until_done, list)
            end = time.monotonic() + deadline_seconds
            for rank, actor in enumerate(self._actors):
                self._waiting[rank].append((ready, actor.start.remote(spec), end, deadline_seconds))
            ready.result()
        except BaseException:
            self.close()
            raise

    def _join_cluster(self) -> None:
        if ray.is_initialized():
            return
        _forget_settings()
        try:
            ray.init(
                address=os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=True, configure_logging=False
            )
        except (ConnectionError, RayError, ValueError) as error:
            raise EngineError(f"no Ray cluster to join: {error}") from error
        self._joined = True

    def send(
        self,
        message: Message,
        reply_ranks: Sequence[int],
        deadline_seconds: float,
        then: Callable[[list[Message]], Any] = list,
    ) -> Reply:
        self.check()
        if self._closed.is_set():
            raise EngineError("the transport is closed")
        begin = time.perf_counter()
        reply = Reply(reply_ranks, self._fetch_until_done, then)
        if not reply_ranks:
            reply.set_result(None)
        block = join(message)
        end = time.monotonic() + deadline_seconds
        for rank, actor in enumerate(self._actors):
            wanted = rank in reply_ranks
            actor.call.remote(wanted, block)
            if wanted:
                self._waiting[rank].append((reply, actor.fetch.remote(), end, deadline_seconds))
        self.counters.calls += self.world_size
        self.counters.sent_bytes += len(block) * self.world_size
        self.counters.send_seconds += time.perf_counter() - begin
        return reply

    def _fetch_until_done(self, reply: Reply) -> None:
        begin = time.perf_counter()
        for rank in reply.ranks:
            while not reply.done() and self._waiting[rank]:
                self._fetch_one(rank)
        self.counters.wait_seconds += time.perf_counter() - begin

    def _fetch_one(self, rank: int) -> None:
        reply, reference, end, seconds = self._waiting[rank][0]
        try:
            block = memoryview(ray.get(reference, timeout=POLL_SECONDS))
        except GetTimeoutError:
            if self._closed.is_set():
                self._abandon(EngineError("the transport was closed while a call was under way"))
            elif self._failure is not None:
                self._abandon(self._failure)
            elif time.monotonic() > end:
                self._abandon(self._stalled([rank], seconds))
            return
        except RayActorError as error:
            self._abandon(self._fail(WorkerDied(f"worker {rank} (a Ray actor) ended: {_first_line(error)}")))
            return
        except RayError as error:
            self._abandon(self._fail(EngineError(f"worker {rank}: Ray failed: {_first_line(error)}")))
            return
        self._waiting[rank].pop(0)
        message = split(block[1:])
        self.counters.replies += 1
        self.counters.received_bytes += byte_count(message)
        reply.add(rank, bytes(block[:1]), message)

    def _abandon(self, error: EngineError) -> None:
        for waiting in self._waiting.values():
            for reply, *_rest in waiting:
                if not reply.done():
                    reply.set_exception(error)
            waiting.clear()

    def _watch(self) -> None:
        """Fail the transport when an actor ends before it is told to."""
        watched = {actor.live.remote(): rank for rank, actor in enumerate(self._actors)}
        while not self._closed.is_set():
            try:
                ended, _live = ray.wait(list(watched), timeout=POLL_SECONDS)
            except RayError:
                return
            if ended and not self._closed.wait(POLL_SECONDS):  # a last reply may be on its way, and says more
                rank = watched[ended[0]]
                try:
                    self._fail(worker_error(rank, split(ray.get(ended[0]))))
                except RayError as error:
                    self._fail(WorkerDied(f"worker {rank} (a Ray actor) ended: {_first_line(error)}"))
                return

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        self._abandon(EngineError("the transport was closed while a call was under way"))
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()
        if not ray.is_initialized():
            return  # the cluster could not be joined, so there is nothing of ours in it
        with contextlib.suppress(RayError):
            if self._failure is None:
                ray.wait([actor.close.remote() for actor in self._actors], timeout=CLOSE_SECONDS)
            for actor in self._actors:
                ray.kill(actor)
        self._actors = []
        if self._joined:
            ray.shutdown()

    def describe(self) -> dict[str, Any]:
        return super().describe() | {
            "ray": ray.__version__,
            "ray_address_given": bool(os.environ.get("RAY_ADDRESS")),
        }


def _forget_settings() -> None:
    """Have Ray read its authentication settings anew.

    It keeps those that it found when it was first imported, perhaps for another cluster or none.
    """
    raylet: Any = ray._raylet
    with contextlib.suppress(AttributeError):  # a Ray without tokens has neither
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
