"""The cluster, as Ray has it: its nodes, and sessions as tasks of it. The only module that knows Ray's API.

Where a session runs is Ray's choice, among the nodes of its kind.
"""

import contextlib
import importlib
import importlib.util
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from ..errors import UsageError
from . import bootstrap
from .kinds import Node, kind_of
from .shipment import Repository, harness

ANSWER_SECONDS = 10.0
_LOOK_SECONDS = 60.0
_ASK = """
import sys, ray
from ray._raylet import GcsClient
print(GcsClient(address=sys.argv[1]).internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster").decode())
"""

Handle = Any
"""A task of Ray's, which yields events."""


class Lost(Exception):
    """A task will yield no more; the message says why."""


def check(address: str) -> None:
    """Raise UsageError where no cluster answers at an address, or one of another Ray or Python does."""
    check_installed()
    if address.startswith("ray://"):
        raise UsageError(
            f"the address is {address}, a Ray client's; a campaign runs on a node of the cluster: give "
            "HOST:PORT of its head there, or submit the command as a job (`ray job submit`)"
        )
    host, _, port = address.rpartition(":")
    if address != "auto":
        if not host or not port.isdecimal():
            raise UsageError(f"the address is {address!r}; give HOST:PORT of the cluster's head, or auto")
        try:
            socket.create_connection((host, int(port)), ANSWER_SECONDS / 2).close()
        except (OSError, OverflowError) as error:
            raise UsageError(f"no cluster answers at {address}: {error}") from None
        metadata = _metadata(address)
        theirs = metadata.get("ray_version"), metadata.get("python_version")
        ours = version("ray"), ".".join(map(str, sys.version_info[:3]))
        if theirs != ours:
            have = [f"Ray {versions[0]} and Python {versions[1]}" for versions in (theirs, ours)]
            raise UsageError(f"the cluster at {address} has {have[0]}, and here are {have[1]}: use the same")


def _metadata(address: str) -> Mapping[str, Any]:
    """What the cluster says of itself; asked by a process, which can be left to itself."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _ASK, address],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_SECONDS,
        )
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired:
        why = f"it is no Ray cluster, or has not answered within {ANSWER_SECONDS:g} s"
    except (ValueError, IndexError):
        why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    raise UsageError(f"no cluster answers at {address}: {why}")


def check_installed() -> None:
    """Raise UsageError where Ray is not installed; it is not imported, for it takes its settings then."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            "Ray is not installed here, and a campaign needs it, on one host too: pip install ray, "
            "or measure by `track`"
        )


class Cluster:
    """A connection to a cluster, which `close` ends, with every task of it.

    Raises UsageError as `check` does.
    """

    def __init__(self, address: str) -> None:
        check(address)
        self._ray: Any = importlib.import_module("ray")
        held = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._ray.init(address=address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageError(f"the cluster at {address} cannot be joined: {_line(error)}") from None
        finally:
            for number, handler in held.items():  # Ray ends the process by its own
                signal.signal(number, handler)
        self._ray.cloudpickle.register_pickle_by_value(bootstrap)
        self._harness = self._ray.put(harness())
        self._repository: Any = None
        self._known: dict[str, Node | None] = {}

    def send(self, repository: Repository) -> None:
        """Have nodes get this repository with every session from now on."""
        self._repository = self._ray.put(repository)

    def nodes(self) -> list[Node]:
        """The nodes that are alive and can run sessions; one that is new is looked at first."""
        alive = {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"]}
        asked = {
            identity: self._task({}, [identity], "look")
            for identity, node in alive.items()
            if identity not in self._known and node["Resources"].get("CPU", 0) >= 1
        }
        for identity, task in asked.items():
            try:
                ready, _ = self._ray.wait([task], timeout=_LOOK_SECONDS)
                facts = self._ray.get(next(task)) if ready else None
            except (self._ray.exceptions.RayError, StopIteration):
                facts = None
            has = alive[identity]["Resources"]
            gpus = int(has.get("GPU", 0))
            if facts and gpus and not facts["gpus"]:
                facts = (
                    None  # Ray counts some, and nvidia-smi does not say which: nothing can be measured there
                )
            self._known[identity] = facts and Node(
                identity, facts["host"], kind_of(facts, gpus), has["CPU"], gpus, facts
            )
        return [node for identity in alive if (node := self._known.get(identity))]

    def submit(self, request: Mapping[str, Any], cpus: float, gpus: int, nodes: Sequence[str]) -> Handle:
        """A session as a task, on one of these nodes."""
        return self._task({"num_cpus": cpus, "num_gpus": gpus}, nodes, "measure", request, self._repository)

    def events(self, tasks: Collection[Handle], seconds: float) -> Iterator[tuple[Handle, Any]]:
        """What tasks yield within a time, with each the task: an event, or Lost as the last of one."""
        ready, _ = self._ray.wait(list(tasks), num_returns=1, timeout=seconds)
        for task in ready:
            try:
                yield task, self._ray.get(next(task))
            except StopIteration:
                yield task, Lost("it ended without a result")
            except self._ray.exceptions.RayTaskError as error:
                yield task, Lost(_line(error.cause if getattr(error, "cause", None) else error))
            except self._ray.exceptions.RayError as error:
                yield task, Lost(_line(error).partition(". ")[0])  # what follows is for who debugs Ray

    def cancel(self, task: Handle) -> None:
        """End a session as at Ctrl-C."""
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError, TypeError):
            self._ray.cancel(task)

    def close(self) -> None:
        """Leave the cluster: what still runs of this is ended by Ray."""
        self._ray.shutdown()

    def _task(
        self, resources: Mapping[str, float], nodes: Sequence[str], function: str, *arguments: Any
    ) -> Handle:
        task = self._ray.remote(**({"num_cpus": 0} | dict(resources)), max_retries=0)(bootstrap.on_node)
        chosen = nodes[0] if len(nodes) == 1 else f"in({','.join(nodes)})"
        return task.options(label_selector={"ray.io/node-id": chosen}).remote(
            self._harness, function, *arguments
        )


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip()
