"""The contenders of `pipe`: transports of the system under test, and the bare libraries beside them.

    contender = open_contender("zmq", folder, stack)
    contender.round_trip(b"payload")

Each has one worker, which echoes. What a contender has started ends with the stack that it was opened with.
"""

import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import machine
from .door import NoDoor, Row, host_spec, open_door
from .labels import LABELS

BARE: dict[str, str] = {"bare-zmq": "zmq", "bare-ray": "ray", "bare-ray-graph": "ray"}
"""Paths without the system under test, the floors of the others, and the module that each needs."""

_START_DEADLINE_SECONDS = 120.0
_CALL_DEADLINE_SECONDS = 30.0
_COPY_BELOW_BYTES = 64 * 1024  # pyzmq's own threshold
_MODULE = "rollout_bench.measure.pipe_contenders"  # as workers import it

RoundTrip = Callable[[bytes], Any]
"""Send a payload to the worker, wait, and return what came back, as bytes or a view of them."""


class Absent(Exception):
    """A path does not exist at this commit or on this machine."""


@dataclass(frozen=True)
class Contender:
    """An open path: how to use it, its worker's process id, and what it is."""

    round_trip: RoundTrip
    worker: int
    facts: dict[str, Any]


def open_contender(path: str, folder: Path, stack: contextlib.ExitStack) -> Contender:
    """Start the worker of a path, with its files in `folder`; the stack ends it.

    Raises Absent where the path does not exist here, and what the libraries raise.
    """
    openers = {"bare-zmq": _bare_zmq, "bare-ray": _bare_ray, "bare-ray-graph": _bare_graph}
    return openers[path](folder, stack) if path in BARE else _ours(path, folder, stack)


class Echo:
    """The host that transports of the system under test run in their worker: answers a message with itself.

    `payload` is the file in which it leaves its process id.
    """

    def __init__(self, rank: int, payload: bytes):
        Path(os.fsdecode(payload)).write_text(str(os.getpid()))

    def call(self, message: Any) -> Any:
        return message

    def close(self) -> None:
        pass


def _ours(path: str, folder: Path, stack: contextlib.ExitStack) -> Contender:
    row = _row(path)
    if row is None or row.transport is None:
        raise Absent(f"this commit has no transport {path!r}")
    reason = row.absent(bool(machine.gpus()))
    if reason:
        raise Absent(reason)
    noted = folder / f"{path}.pid"
    try:
        spec = host_spec(f"{_MODULE}:Echo", os.fsencode(noted))
    except NoDoor as error:
        raise Absent(str(error)) from None
    stack.enter_context(row.surround(folder))
    transport = row.load()(1, folder)
    stack.callback(transport.close)
    transport.start(spec, _START_DEADLINE_SECONDS)
    facts = transport.describe()
    label, channel = LABELS.get(path), str(facts.get("channel"))
    if label is not None and label.channel is not None and not channel.startswith(label.channel):
        raise RuntimeError(f"not what its label says: channel is {channel!r}, not {label.channel}")

    def round_trip(payload: bytes) -> Any:
        return transport.send([payload], [0], _CALL_DEADLINE_SECONDS).result()[0][0]

    return Contender(round_trip, int(noted.read_text()), facts)


def _bare_zmq(folder: Path, stack: contextlib.ExitStack) -> Contender:
    zmq = _library("zmq")
    socket = stack.enter_context(zmq.Context()).socket(zmq.PAIR)
    stack.callback(socket.close, linger=0)
    socket.rcvtimeo = socket.sndtimeo = int(_CALL_DEADLINE_SECONDS * 1000)
    endpoint = f"ipc://{folder}/bare-zmq"
    socket.bind(endpoint)
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", f"from {_MODULE} import echo; echo({endpoint!r})"],
        stdin=subprocess.DEVNULL,
    )
    stack.callback(child.wait)
    stack.callback(child.kill)

    def round_trip(payload: bytes) -> Any:
        copy = len(payload) < _COPY_BELOW_BYTES
        socket.send(payload, copy=copy)
        return socket.recv() if copy else socket.recv(copy=False).buffer

    return Contender(round_trip, child.pid, {"channel": "zmq PAIR ipc", "pyzmq": zmq.__version__})


def echo(endpoint: str) -> None:
    """The worker of bare-zmq."""
    zmq = _library("zmq")
    socket = zmq.Context().socket(zmq.PAIR)
    socket.connect(endpoint)
    while True:
        message = socket.recv(copy=False)
        socket.send(message, copy=len(message) < _COPY_BELOW_BYTES)


def _bare_ray(folder: Path, stack: contextlib.ExitStack) -> Contender:
    ray, actor, worker = _bare_actor(folder, stack)
    return Contender(
        lambda payload: ray.get(actor.echo.remote(payload), timeout=_CALL_DEADLINE_SECONDS),
        worker,
        {"channel": "ray actor call", "ray": ray.__version__},
    )


def _bare_graph(folder: Path, stack: contextlib.ExitStack) -> Contender:
    ray, actor, worker = _bare_actor(folder, stack)
    dag = importlib.import_module("ray.dag")
    with dag.InputNode() as payload:
        graph = actor.echo.bind(payload).experimental_compile()
    stack.callback(graph.teardown)
    return Contender(
        lambda payload: ray.get(graph.execute(payload), timeout=_CALL_DEADLINE_SECONDS),
        worker,
        {"channel": "ray compiled graph", "ray": ray.__version__},
    )


def _bare_actor(folder: Path, stack: contextlib.ExitStack) -> tuple[Any, Any, int]:
    """Ray, joined, an actor that echoes, and its process id."""
    row = _row("ray")
    if row is not None and row.absent(bool(machine.gpus())) is None:
        # Ray reads how it may be joined when it is imported: within the surroundings alone.
        stack.enter_context(row.surround(folder))
    ray = _library("ray")
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS", "local")
        ray.init(address=address, configure_logging=False, include_dashboard=False)
        stack.callback(ray.shutdown)
    actor = ray.remote(num_cpus=0)(_EchoActor).remote()
    stack.callback(ray.kill, actor)
    return ray, actor, ray.get(actor.pid.remote(), timeout=_START_DEADLINE_SECONDS)


class _EchoActor:
    """The worker of bare-ray and bare-ray-graph."""

    def echo(self, payload: bytes) -> bytes:
        return payload

    def pid(self) -> int:
        return os.getpid()


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = "pyzmq" if name == "zmq" else name
        raise Absent(f"{package} not installed (pip install {package})") from error


def _row(path: str) -> Row | None:
    """The row of a path in the table of the system under test, or None where this commit has none."""
    try:
        return open_door().TRANSPORTS.get(path)
    except NoDoor:
        return None
