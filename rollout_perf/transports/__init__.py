"""The table of paths: every way in which an engine step can reach the workers.

Ours carry it by a `Transport`; vLLM's own executors stand beside them as references. Names modules and
loads none until one is taken; nothing else may branch on a path's name.
"""

import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from ..surroundings import environment
from ..versions import CPU_IN_PROCESS, CPU_UNBOUND, Change, unsupported

if TYPE_CHECKING:
    from .base import Transport

_ADAPTER = "rollout_perf.transports.executor:TransportExecutor"
_BLOCKING = "rollout_perf.transports.blocking:BlockingExecutor"


@dataclass(frozen=True)
class Row:
    """One path: what vLLM is given, what it needs, and what carries a step."""

    summary: str
    backend: str
    """vLLM's name of its own executor, or "module:class" of ours."""
    transport: str | None = None
    """"module:class" of the transport, for paths of ours."""
    requires: tuple[str, ...] = ()
    """Modules beside vLLM that must be installed."""
    surroundings: str | None = None
    """"module:function" of a context manager, given a folder, that must hold while the engine lives; it
    yields the environment variables by which the engine finds it."""
    needs_gpu: str | None = None
    """Why the path does not exist without a GPU, if so."""
    cpu_since: Change | None = None
    """What vLLM must have for the path to exist without a GPU."""
    endpoint_check: str | None = None
    """"module:function" that checks an endpoint, for transports that take one."""
    across: tuple[str, ...] | None = None
    """Modules by which its workers can be on other hosts than the engine; None: they cannot."""
    baseline: bool = False
    """Kept to be compared with, for all its known weaknesses: it blocks, without async scheduling."""
    in_process: bool = False
    """The engine runs in the caller's process, without asynchronous generation."""

    @property
    def has_stages(self) -> bool:
        """Whether workers can be stages of a pipeline: the baselines take the first one's answer."""
        return not (self.in_process or self.baseline)

    def executor(self) -> "str | type":
        """vLLM's `distributed_executor_backend`: of a class it asks what that can do, of a name nothing."""
        return self.backend if self.transport is None else load(self.backend)

    def load(self) -> "type[Transport]":
        """The transport class."""
        assert self.transport is not None
        return load(self.transport)

    def make(self, world_size: int, folder: Path, endpoint: str | None = None) -> "Transport":
        """A transport, not started. Raises ConfigurationError for an endpoint that it does not take."""
        if endpoint is None:
            return self.load()(world_size, folder)
        self.check_endpoint(endpoint)
        return self.load()(world_size, folder, endpoint)  # type: ignore[call-arg]

    def check_endpoint(self, endpoint: str) -> None:
        """Raise ConfigurationError where the path cannot listen there."""
        if self.endpoint_check is None:
            raise ConfigurationError(f"endpoint {endpoint!r} was given, and this path takes none")
        load(self.endpoint_check)(endpoint)

    def check_across(self, name: str) -> None:
        """Raise ConfigurationError where the workers of the path, called `name`, cannot be on other hosts."""
        if self.across is None:
            those = ", ".join(other for other, row in TRANSPORTS.items() if row.across is not None)
            raise ConfigurationError(f"the path {name!r} has its workers on this host; nodes go with {those}")
        if reason := not_installed(self.across):
            raise ConfigurationError(f"the path {name!r} needs Ray to have workers on nodes: {reason}")

    def provide(self, folder: Path) -> AbstractContextManager[Mapping[str, str]]:
        """What must hold while the engine lives, with its files in `folder`: the variables that name it."""
        return nullcontext({}) if self.surroundings is None else load(self.surroundings)(folder)

    @contextmanager
    def surround(self, folder: Path) -> Iterator[None]:
        """The same, and the variables are in the environment: for transports without an engine."""
        with self.provide(folder) as variables, environment(variables):
            yield

    def absent(self, has_gpu: bool) -> str | None:
        """Why the path cannot be taken here, or None where it can."""
        if reason := not_installed(self.requires) or unsupported():
            return reason
        if has_gpu:
            return None
        return self.cpu_since.before if self.cpu_since and not self.cpu_since.there else self.needs_gpu


def not_installed(modules: Iterable[str]) -> str | None:
    """Which of the modules are missing, and how to install them; None where none is."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    packages = ["pyzmq" if name == "zmq" else name for name in missing]
    return f"{' and '.join(packages)} not installed (pip install {' '.join(packages)})" if missing else None


CLUSTER = "rollout_perf.transports.ray_cluster:local_cluster"
"""The surroundings of whatever needs Ray."""

TRANSPORTS: dict[str, Row] = {
    "sync": Row(
        "LLM.generate, the engine in the same process: the floor",
        "uni",
        in_process=True,
        cpu_since=CPU_IN_PROCESS,
    ),
    "vllm-mp": Row(
        "vLLM's own executor over its shared-memory queue", "mp", across=("ray",), cpu_since=CPU_UNBOUND
    ),
    "vllm-ray": Row(
        "vLLM's own Ray executor: Ray places the workers, the shared-memory queue carries",
        "ray",
        requires=("ray",),
        surroundings=CLUSTER,
        needs_gpu="vLLM's CPU platform refuses its Ray executor",
    ),
    "zmq": Row(
        "ZeroMQ",
        _ADAPTER,
        "rollout_perf.transports.zeromq.driver:ZeroMQ",
        ("zmq",),
        endpoint_check="rollout_perf.transports.zeromq.endpoint:check_endpoint",
        across=("ray",),
    ),
    "ray": Row(
        "Ray actor calls, overlapped with the GPU",
        _ADAPTER,
        "rollout_perf.transports.ray_actor:RayActor",
        ("ray",),
        CLUSTER,
        across=("ray",),
    ),
    "ray-graph": Row(
        "a Ray compiled graph",
        _ADAPTER,
        "rollout_perf.transports.ray_graph:RayGraph",
        ("ray",),
        CLUSTER,
        across=("ray",),
    ),
    "verl-zmq": Row(
        "a baseline: REQ/REP to every rank and a reply from every rank, blocking",
        _BLOCKING,
        "rollout_perf.transports.verl_zmq:VerlZeroMQ",
        ("zmq",),
        baseline=True,
    ),
    "verl-ray": Row(
        "a baseline: an actor call to every rank and a reply from every rank, blocking",
        _BLOCKING,
        "rollout_perf.transports.verl_ray:VerlRay",
        ("ray",),
        CLUSTER,
        baseline=True,
    ),
}
"""Every path by name."""


def find_transport(name: str) -> Row:
    """The row of the path `name`. Raises ConfigurationError that names the known ones."""
    if name not in TRANSPORTS:
        raise ConfigurationError(f"unknown path {name!r}; known: {', '.join(TRANSPORTS)}")
    return TRANSPORTS[name]


def load(target: str) -> Any:
    """What a "module:name" names."""
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)
