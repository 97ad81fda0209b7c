"""The table of entries: every way in which a request reaches an engine, and its answer comes back.

Names modules and loads none until an entry is taken; nothing else may branch on an entry's name.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine import Engine, EngineSpec
from ..errors import ConfigurationError
from ..models import find_model
from ..surroundings import environment
from ..transports import CLUSTER, find_transport, load, not_installed
from ..transports.run import Run

if TYPE_CHECKING:
    from .remote import RemoteEngine

LOCAL = "local"
"""The entry that the others are compared with."""

_START_SECONDS, _END_SECONDS = 120.0, 5.0


@dataclass(frozen=True)
class Entry:
    """One entry: what carries a request, and what that needs."""

    summary: str
    engine: str | None = None
    """"module:class" of the caller's engine, a RemoteEngine; None: the engine itself is the caller's."""
    requires: tuple[str, ...] = ()
    """Modules that must be installed."""
    surroundings: str | None = None
    """As `transports.Row` has it."""
    endpoint_check: str | None = None
    """"module:function" that checks an endpoint, for entries that take one."""

    def absent(self) -> str | None:
        """Why the entry cannot be taken here, or None where it can."""
        return not_installed(self.requires)

    def check_endpoint(self, endpoint: str) -> None:
        """Raise ConfigurationError where the entry cannot listen there."""
        if self.endpoint_check is None:
            raise ConfigurationError(f"entry_endpoint {endpoint!r} was given, and this entry takes none")
        load(self.endpoint_check)(endpoint)

    def provide(self, folder: Path) -> AbstractContextManager[Mapping[str, str]]:
        """What must hold while the engine lives, with its files in `folder`: the variables that name it."""
        return nullcontext({}) if self.surroundings is None else load(self.surroundings)(folder)

    async def open(self, spec: EngineSpec, run: Run, endpoint: str | None = None) -> Engine:
        """Start an engine and what carries requests to it; raises as `engine.start_engine` does."""
        if self.engine is None:
            return await spec.start(run)
        engine: RemoteEngine = load(self.engine)(run, endpoint)
        await engine.start(spec)
        return engine


@asynccontextmanager
async def open_entry(
    name: str,
    factory: str,
    arguments: Mapping[str, Any] | None = None,
    endpoint: str | None = None,
    step_deadline_seconds: float = 60.0,
) -> AsyncIterator[Engine]:
    """Have an entry with an engine behind it that `factory`, a "module:name", starts as `start_engine` would.

    For what needs no vLLM, such as measuring an entry alone. Raises ConfigurationError for an unknown entry.
    """
    entry = find_entry(name)
    run = Run.create("zmq", _START_SECONDS, step_deadline_seconds)
    try:
        with environment(run.variables()), entry.provide(run.folder) as variables, environment(variables):
            spec = EngineSpec(find_model("nano"), find_transport("zmq"), 1, dict(arguments or {}), factory)
            engine = await entry.open(spec, run, endpoint)
            try:
                yield engine
            finally:
                await engine.close()
    finally:
        await asyncio.to_thread(run.end, _END_SECONDS)


ENTRIES: dict[str, Entry] = {
    LOCAL: Entry("vLLM's AsyncLLM in the process that opened the rollout: the reference"),
    "zmq": Entry(
        "ZeroMQ to a front in a process of its own: what is ready travels together, as msgpack",
        "rollout_perf.entries.zmq:ZeroMQ",
        ("zmq", "msgspec"),
        endpoint_check="rollout_perf.transports.zeromq.endpoint:check_endpoint",
    ),
    "zmq-plain": Entry(
        "the same before vLLM's AsyncLLM as it is: what the messages cost alone",
        "rollout_perf.entries.zmq:ZeroMQPlain",
        ("zmq", "msgspec"),
        endpoint_check="rollout_perf.transports.zeromq.endpoint:check_endpoint",
    ),
    "http": Entry(
        "vLLM's own server, tokens in and tokens out: a POST a request",
        "rollout_perf.entries.http:Http",
        ("aiohttp", "zmq", "msgspec"),
        endpoint_check="rollout_perf.entries.http:check_endpoint",
    ),
    "http-router": Entry(
        "the same behind vllm-router",
        "rollout_perf.entries.router:HttpRouter",
        ("vllm_router", "aiohttp", "zmq", "msgspec"),
        endpoint_check="rollout_perf.entries.http:check_endpoint",
    ),
    "ray": Entry(
        "a front in a Ray actor, a call a sample", "rollout_perf.entries.ray:Ray", ("ray",), CLUSTER
    ),
    "ray-group": Entry(
        "a front in a Ray actor, a call for the samples of a prompt",
        "rollout_perf.entries.ray:RayGroup",
        ("ray",),
        CLUSTER,
    ),
    "ray-batch": Entry(
        "a front in a Ray actor, a call for a batch: results of an engine step come together",
        "rollout_perf.entries.ray:RayBatch",
        ("ray",),
        CLUSTER,
    ),
}
"""Every entry by name."""


def find_entry(name: str) -> Entry:
    """The entry `name`. Raises ConfigurationError that names the known ones."""
    if name not in ENTRIES:
        raise ConfigurationError(f"unknown entry {name!r}; known: {', '.join(ENTRIES)}")
    return ENTRIES[name]
