"""What answers in a worker process when no model is the point, and what breaks a vLLM worker on order.

Worker processes import it by name: `HostSpec("fake_host:Puppet", b"")`. A message to a Puppet is
an encoded (verb, argument); the answer is an encoded value.
"""

import contextlib
import importlib
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from rollout_perf.transports import wire
from rollout_perf.transports.reply import OK, Deferred


def say(verb: str, argument: Any = None) -> list:
    """The message that makes a Puppet do something."""
    return wire.encode((verb, argument))


def send_buffers(suffix: str) -> list[int]:
    """Bytes that the connections of this process buffer that belong to a unix socket so named."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(descriptor))) as connection:
            names = str(connection.getsockname()), str(connection.getpeername())  # a listener has no peer
            if any(name.endswith(suffix) for name in names):
                found.append(connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
    return found


class Echo:
    """Answers with the very frames that came."""

    def __init__(self, rank: int, payload: bytes):
        self.rank = rank

    def call(self, message: list) -> list:
        return [bytes(frame) for frame in message]

    def close(self) -> None:
        pass


class Puppet:
    """Does what each message says, and remembers the order of the calls.

    `payload` is a folder, or empty: there it leaves a file when it is closed in good order.
    """

    def __init__(self, rank: int, payload: bytes):
        self.rank = rank
        self.folder = Path(payload.decode()) if payload else None
        self.echoed: list[Any] = []
        self.events: list[tuple[str, Any]] = []

    def call(self, message: list) -> list | Deferred:
        verb, argument = wire.decode(message)
        if verb == "later":
            seconds, value = argument
            self.events.append(("called", value))
            return Deferred(lambda: self._fetch(seconds, value))
        return wire.encode(getattr(self, verb)(argument))

    def _fetch(self, seconds: float, value: Any) -> list:
        time.sleep(seconds)
        self.events.append(("fetched", value))
        if isinstance(value, Exception):
            raise value
        return wire.encode(value)

    def echo(self, value: Any) -> Any:
        self.echoed.append(value)
        self.events.append(("called", value))
        return value

    def who(self, _argument: None) -> tuple[int, int]:
        return self.rank, os.getpid()

    def host(self, _argument: None) -> str:
        return socket.gethostname()

    def send_buffers(self, suffix: str) -> list[int]:
        return send_buffers(suffix)

    def history(self, _argument: None) -> list:
        return self.echoed

    def timeline(self, _argument: None) -> list:
        return self.events

    def environment(self, name: str) -> str | None:
        return os.environ.get(name)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def fail(self, text: str) -> None:
        raise ValueError(text)

    def fail_on(self, rank: int) -> None:
        if self.rank == rank:
            raise ValueError(f"only worker {rank}")

    def unpicklable(self, _argument: None) -> None:
        raise Unpicklable("a", "b")

    def die(self, _argument: None) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def cut(self, _argument: None) -> None:
        """Break every socket of the process, as a network does."""
        for name in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                    socket.socket(fileno=os.dup(int(name))).shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def no_message(self, _argument: None) -> None:
        """Have the next answer be nothing that a transport can carry."""
        self.call = lambda _message: 7

    def replace(self, argument: tuple[str, str, Any]) -> None:
        """Put another value in place of a name of a module, in this worker's process."""
        module, name, value = argument
        setattr(importlib.import_module(module), name, value)

    def answer_again(self, number: int) -> None:
        """In a worker of a Ray graph: answer a call once more, of those that are answered later."""
        from ray._private.worker import global_worker

        [worker] = global_worker.actors.values()
        worker._answers.put((number, OK, wire.encode("again")))

    def array(self, count: int) -> np.ndarray:
        return np.arange(count, dtype=np.int64)

    def close(self) -> None:
        if self.folder:
            (self.folder / f"closed-{self.rank}").write_text("")


class Unpicklable(Exception):
    """An exception that pickle cannot bring back: its arguments are not those of its constructor."""

    def __init__(self, one: str, two: str):
        super().__init__(f"{one}{two}")


class FailsAtStart(Echo):
    """Cannot be built."""

    def __init__(self, rank: int, payload: bytes):
        raise RuntimeError("no such device")


class DiesAtStart(Echo):
    """Takes its process along while it is built."""

    def __init__(self, rank: int, payload: bytes):
        os.kill(os.getpid(), signal.SIGKILL)


class SleepsAtStart(Echo):
    """Is not built in time."""

    def __init__(self, rank: int, payload: bytes):
        time.sleep(60)


RELEASED = threading.Event()
"""What `Hangs` waits for, where its worker is a thread of the test's process."""


class Hangs(Echo):
    """Hangs in a call, or while it is built, until the test releases it."""

    def __init__(self, rank: int, payload: bytes):
        if payload == b"at the start":
            RELEASED.wait()

    def call(self, message: list) -> list:
        RELEASED.wait()
        return super().call(message)


class Leaves(Echo):
    """Ends its thread in a call, or while it is built."""

    def __init__(self, rank: int, payload: bytes):
        if payload == b"at the start":
            sys.exit("no more")

    def call(self, message: list) -> list:
        sys.exit("no more")


class Saboteur:
    """Methods that a vLLM worker gains by `worker_extension_cls`, to make it fail on order."""

    def worker_pid(self) -> int:
        return os.getpid()

    def raise_now(self) -> None:
        raise ValueError("sabotage on request")

    def nap(self, seconds: float) -> None:
        time.sleep(seconds)

    def raise_at_the_next_step(self) -> None:
        def execute_model(_scheduler_output: Any) -> None:
            raise ValueError("sabotage in a step")

        self.execute_model = execute_model
