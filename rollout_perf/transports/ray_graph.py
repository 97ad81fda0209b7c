"""The Ray compiled graph transport: a call is one execution of a graph with every worker in it.

Ray compiles the graph once: channels in shared memory from the driver to all workers and from
each worker back, and in every worker a loop that reads a call, hands it to the host and writes
the answer. The driver writes and reads the graph's channels itself: a `CompiledDAGRef` can be
asked for its value only once, so that a wait could not look up for dead workers in between.

The loop is one thread, and what it returns is written before it reads the next call. So an
answer that is still on the GPU does not travel through it: the execution returns LATER at once,
and a second thread of the worker writes the reply, when it is there, to a channel of the same
kind beside the graph. Answers that are ready return with the execution.

A buffer grows with the block that is written to it (Ray's doing), and no block is longer than a
few MiB: a long message goes in several (`blocks`), each an execution of its own, so that none is
too large for the object store.
"""

import gc
import itertools
import logging
import os
import queue
import struct
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.dag import DAGContext, InputNode, MultiOutputNode
from ray.exceptions import RayChannelError, RayChannelTimeoutError, RayError
from ray.experimental.channel import ChannelContext
from ray.experimental.channel.shared_memory_channel import SharedMemoryType

from ..errors import EngineError
from . import wire
from .base import CLOSE_SECONDS, POLL_SECONDS, HostSpec
from .blocks import Receiver, Sender
from .lifeline import Line
from .ray_drained import Drained
from .ray_workers import RayTransport, RayWorker, Unanswered
from .reply import OK, Deferred, Reply, answer, fetched
from .wire import Message

IN_FLIGHT = 8
"""Executions that a graph may have under way; one more waits for the oldest."""

IN_FLIGHT_ACROSS = 2
"""The same where a worker is on another node: what goes there has one buffer on either side (Ray 2.60), and
whoever finds both full waits: here the writer, there the raylet, which does nothing else meanwhile."""

_HEADER = struct.Struct("<BQ")  # what is asked; bit r is set where rank r answers
_BUILD, _CALL, _CLOSE = range(3)

_LATER_HEADER = struct.Struct("<cQ")
"""Of an answer that came later: status, and which of those it is, as one that came twice would be taken for
the next."""

_NOTHING, _LATER, _CLOSED = b"nothing", b"later", b"closed"
"""What an execution returns instead of a reply. None is empty: Ray sends nothing of that to another node, and
waits for the receipt (2.60)."""


class Worker(RayWorker):
    """The worker's end: `step` runs in the graph's loop, replies from the GPU in a second thread.

    The host is built and closed in the loop as well, since CUDA and OpenMP know a thread.
    """

    def __init__(self, rank: int, line: Line | None = None):
        super().__init__(rank, line)
        self._calls = Receiver()
        self._ready = Sender(OK)
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        self._later_ones = itertools.count(1)
        self._replies: Any = None
        self._replier: threading.Thread | None = None
        # Nothing on our channels lives on a device. Ray would enter one at every read and write, and
        # look for it in a CUDA_VISIBLE_DEVICES that it has not set, or else import torch to find none.
        ChannelContext.get_current()._torch_available = False

    @ray.method(concurrency_group="watch")
    def live(self) -> bytes:
        return super().live()

    def node(self) -> str:
        """The node that the worker is on; returns when the actor is there."""
        return ray.get_runtime_context().get_node_id()

    def open_replies(self, reader: Any, node: str) -> Any:
        """Make the channel for answers that come later, to be read on `node`."""
        me = ray.get_runtime_context().current_actor
        self._replies = SharedMemoryType(num_shm_buffers=IN_FLIGHT).create_channel(me, [(reader, node)])
        return self._replies

    def step(self, block: bytes) -> bytes:
        """Handle what one execution brings."""
        call = self._calls.add(block)
        if call is None:
            return _NOTHING
        header, *message = call
        asked, wanted = _HEADER.unpack(header)
        if asked == _CLOSE:
            if self.host is not None:
                self.host.close()
            return _CLOSED
        if asked == _BUILD:
            status, value = answer(lambda: wire.decode(message).build(self.rank))
            if status == OK:
                self.host, value = value, []
        else:
            status, value = answer(lambda: self.host.call(message))
        if not wanted >> self.rank & 1:
            if status != OK:
                self.report(value)
            return _NOTHING
        if isinstance(value, Deferred):
            return self._later(status, value)
        blocks = self._ready.cut(status, value)
        return blocks[0] if len(blocks) == 1 else self._later(status, value)

    def _later(self, status: bytes, value: Message | Deferred) -> bytes:
        if self._replier is None:
            self._replier = threading.Thread(target=self._reply_in_turn, name="ray-replies", daemon=True)
            self._replier.start()
        self._answers.put((next(self._later_ones), status, value))
        return _LATER

    def _reply_in_turn(self) -> None:
        sender = Sender()
        while True:
            number, status, value = self._answers.get()
            status, message = fetched(status, value)
            for block in sender.cut(_LATER_HEADER.pack(status, number), message):
                self._replies.write(block)


_Actor: Any = ray.remote(num_cpus=0, max_restarts=0, concurrency_groups={"watch": 1})(Worker)


@dataclass(slots=True, eq=False)
class _Expected:
    """What a worker's next output answers: a call with `reply`, or one that it does not answer."""

    reply: Reply | None
    end: float
    seconds: float
    later: int = 0
    """Which of the answers that come later it is; 0: none of them."""


class RayGraph(RayTransport):
    """A compiled graph's channels, written by `send` and read by the caller of `Reply.result`."""

    channel = "ray compiled graph"

    def __init__(self, world_size: int, folder: Path):
        super().__init__(world_size, folder)
        self._graph: Any = None
        self._inputs: list[Any] = []  # one, and another to workers on other nodes
        self._in_flight = IN_FLIGHT
        self._outputs: list[Any] = []  # by rank
        self._replies: list[Any] = []  # by rank, for answers that come later
        self._sender = Sender()
        self._ready = [Receiver(OK) for _ in range(world_size)]
        self._later = [Receiver() for _ in range(world_size)]
        self._later_ones = [itertools.count(1) for _ in range(world_size)]
        self._expected: list[Unanswered[_Expected]] = [Unanswered() for _ in range(world_size)]  # by rank
        self._sending = threading.Lock()

    def start(self, spec: HostSpec, deadline_seconds: float) -> None:
        end = time.monotonic() + deadline_seconds
        try:
            self._launch(_Actor, spec)
            umask = os.umask(0o077)  # the channels' semaphores are in /dev/shm, where all may look
            try:
                self._compile(end, deadline_seconds, spec.placement.elsewhere if spec.placement else {})
            except RayError as error:
                failed = "Ray could not compile the graph"
                raise self._fail(self._translated(error, failed=failed)) from error
            finally:
                os.umask(umask)
            loops = self._graph.worker_task_refs
            self._watch_workers({loops[actor]: rank for rank, actor in enumerate(self._actors)})
            ready = Reply(range(self.world_size), self._wait_for, list)
            self._execute(_BUILD, wire.encode(spec), ready, end - time.monotonic(), deadline_seconds)
            ready.result()
        except BaseException:
            self.close()
            raise

    def _compile(self, end: float, seconds: float, elsewhere: Iterable[int]) -> None:
        """Have Ray make the graph; the workers `elsewhere` are on other nodes."""
        nodes = [actor.node.remote() for actor in self._actors]
        while len(ray.wait(nodes, num_returns=len(nodes), timeout=POLL_SECONDS)[0]) < len(nodes):
            if time.monotonic() > end:
                raise self._stalled(range(self.world_size), seconds)
        ray.get(nodes)
        DAGContext.get_current().teardown_timeout = int(CLOSE_SECONDS)
        with InputNode() as call:
            graph = MultiOutputNode([actor.step.bind(call) for actor in self._actors])
        self._graph = graph.experimental_compile(_max_inflight_executions=IN_FLIGHT)
        # What it logs when an actor ends is what we raise.
        logging.getLogger("ray.dag.compiled_dag_node").setLevel(logging.CRITICAL)
        [call] = self._graph.dag_input_channels
        self._outputs = list(self._graph.dag_output_channels)
        here = ray.get_runtime_context().get_node_id()
        reader = self._graph._proxy_actor  # stands for the driver, which is no actor
        self._replies = ray.get([actor.open_replies.remote(reader, here) for actor in self._actors])
        for channel in [*self._outputs, *self._replies]:
            # At once: to close a channel Ray registers whoever has not, and ends the process (a failed
            # check, Ray 2.60) where the channel has gone with its writer.
            channel.ensure_registered_as_reader()
        self._inputs = [call]
        if elsewhere:
            # Each by itself: else one that had room would be written to again for another that had none.
            self._inputs = list(call._channels)
            self._in_flight = IN_FLIGHT_ACROSS
        for rank in elsewhere:
            self._outputs[rank] = Drained(self._outputs[rank])
            self._replies[rank] = Drained(self._replies[rank])

    def _carry(self, message: Message, size: int, reply: Reply, deadline_seconds: float) -> None:
        """See `Transport._carry`. Waits only where as many calls are under way as may be."""
        self._execute(_CALL, message, reply, deadline_seconds, deadline_seconds)

    def _execute(self, asked: int, message: Message, reply: Reply, left: float, seconds: float) -> None:
        """Write a message to the graph, and expect what its executions return."""
        end = time.monotonic() + left
        wanted = sum(1 << rank for rank in reply.ranks)
        with self._sending:
            blocks = self._sender.cut(_HEADER.pack(asked, wanted), message)
            for block in blocks:
                for rank, expected in enumerate(self._expected):
                    while len(expected) >= self._in_flight:
                        self._receive_one(rank)
                    answers = block is blocks[-1] and rank in reply.ranks
                    expected.add(_Expected(reply if answers else None, end, seconds))
                for channel in self._inputs:
                    self._write(channel, block, end, seconds)

    def _write(self, channel: Any, block: bytes, end: float, seconds: float) -> None:
        """Write to a channel of the graph when there is room, or see why there is none."""
        everyone = range(self.world_size)
        while True:
            try:
                channel.write(block, POLL_SECONDS)
                return
            except RayChannelTimeoutError:
                if (error := self._given_up(everyone, end, seconds)) is not None:
                    self._abandon(error)
                    raise error from None
            except RayChannelError:
                raise self._broken(everyone, end, seconds) from None

    def _broken(self, ranks: Sequence[int], end: float, seconds: float) -> EngineError:
        """Why a channel is closed: Ray closes all when an actor ends, and the watcher learns which."""
        while (error := self._given_up(ranks, end, seconds)) is None:
            time.sleep(POLL_SECONDS)
        self._abandon(error)
        return error

    def _receive_for(self, reply: Reply) -> None:
        for rank in reply.ranks:
            while rank in reply.missing and not reply.done():
                with self._expected[rank].receiving:
                    if rank in reply.missing and not reply.done():  # not received by another meanwhile
                        self._receive_one(rank)

    def _receive_one(self, rank: int) -> None:
        """Read what worker `rank` has written next, or see why not."""
        with self._expected[rank].receiving:
            expected = self._expected[rank].oldest()
            if expected is None:
                return
            channel = self._replies[rank] if expected.later else self._outputs[rank]
            try:
                block = channel.read(POLL_SECONDS)
            except RayChannelTimeoutError:
                error = self._given_up([rank], expected.end, expected.seconds)
                if error is not None:
                    self._abandon(error)
                return
            except RayChannelError:
                self._broken([rank], expected.end, expected.seconds)
                return
            if isinstance(block, RayError):  # what was raised in the worker's loop
                self._abandon(self._fail(self._translated(block, rank)))
                return
            if block == _LATER:
                expected.later = next(self._later_ones[rank])
                return
            if expected.reply is None:
                self._expected[rank].remove(expected)
                return
            try:
                answered = self._answer(rank, expected.later, block)
            except (TypeError, ValueError, struct.error) as error:
                self._abandon(self._fail(EngineError(f"worker {rank} sent what is no reply: {error}")))
                return
            if answered is None:
                return
            self._expected[rank].remove(expected)
            self._deliver(expected.reply, rank, *answered)

    def _answer(self, rank: int, later: int, block: bytes) -> tuple[bytes, Message] | None:
        """Status and message that a block completes, if it does. Raises ValueError for any other."""
        whole = (self._later if later else self._ready)[rank].add(block)
        if whole is None:
            return None
        header, *message = whole
        if not later:
            return bytes(header), message
        status, number = _LATER_HEADER.unpack(header)
        if number != later:
            raise ValueError(f"answer {number} instead of {later}: twice, late or unasked")
        return status, message

    def _abandon(self, error: EngineError) -> None:
        for expected in self._expected:
            expected.abandon(error)

    def _end_workers(self) -> None:
        in_good_order = self._failure is None and self._graph is not None and self._close_hosts()
        if not in_good_order:
            self._kill()
        if self._graph is not None:
            for replies in self._replies:
                replies.close()
            self._graph.teardown()
            for channel in [*self._outputs, *self._replies]:
                if isinstance(channel, Drained):
                    channel.wait()
        if in_good_order:
            self._kill()

    def _close_hosts(self) -> bool:
        """Have every host close; whether all did in time."""
        end = time.monotonic() + CLOSE_SECONDS
        try:
            with self._sending:
                [block] = self._sender.cut(_HEADER.pack(_CLOSE, 0), [])
                for channel in self._inputs:
                    channel.write(block, CLOSE_SECONDS)
            for expected, output in zip(self._expected, self._outputs, strict=True):
                with expected.receiving:
                    while output.read(max(0.0, end - time.monotonic())) != _CLOSED:
                        pass
        except RayChannelError:
            return False
        return True

    def _forget_actors(self) -> None:
        self._graph, self._inputs, self._replies, self._outputs = None, [], [], []
        gc.collect()  # the nodes of a graph know each other
