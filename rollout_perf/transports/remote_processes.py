"""The processes in which a transport's workers run, on the nodes of a Ray cluster: see `processes`.

Ray places an agent for each, which starts the process and ends with it. What a process is to be, its keys
among that, goes there as an argument of the agent's call, and on through a pipe.
"""

import contextlib
import queue
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from ..errors import EngineError, Stalled
from .base import CLOSE_SECONDS, HostSpec
from .lifeline import Held, Lifelines, Line
from .processes import WorkerProcesses
from .ray_places import place_options
from .ray_workers import end_with_raylet, first_line, join_cluster

_LAUNCH_SECONDS = 60.0


class Agent:
    """Starts one worker's process on its own node. It ends with the driver, and with it the process."""

    def __init__(self, rank: int, line: Line, module: str):
        end_with_raylet()
        self._lifeline = Held(line)
        self._processes = WorkerProcesses(module, first=rank)
        self._begun = False

    def launch(self, bootstrap: Any, environment: Mapping[str, str]) -> None:
        """Start it, with `environment` beside this process's own."""
        self._processes.launch([bootstrap], environment)
        self._processes.watch(self._lifeline.end_with)
        self._begun = True

    def end(self, grace_seconds: float) -> None:
        """Wait for it to end by itself, and kill it if it does not."""
        if self._begun:
            self._processes.expect_end()
            self._processes.end(grace_seconds)


_Agent: Any = ray.remote(num_cpus=0, max_restarts=0)(Agent)


class RemoteProcesses:
    """As `WorkerProcesses`; each is where the placement has the worker of its rank."""

    def __init__(self, module: str, spec: HostSpec, ranks: Sequence[int] | None = None):
        assert spec.placement is not None
        self._module, self._spec = module, spec
        chosen = range(len(spec.placement.places)) if ranks is None else ranks
        self._address = spec.placement.address
        self._places = {rank: spec.placement.places[rank] for rank in chosen}
        self._agents: list[Any] = []
        self._lifelines: Lifelines | None = None
        self._joined = False
        self._ends: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._notice: Callable[[str], Any] = self._ends.put
        self._is_expected = False

    def launch(self, bootstraps: Sequence[Any], environment: Mapping[str, str]) -> None:
        """Start a process for each bootstrap, the place's environment beside `environment`."""
        self._joined = join_cluster()
        self._lifelines = Lifelines(self._address)
        self._lifelines.watch({rank: place.name for rank, place in self._places.items()}, self._ended)
        launches = []
        for (rank, place), bootstrap in zip(self._places.items(), bootstraps, strict=True):
            options = place_options(self._spec, rank)
            agent = _Agent.options(num_gpus=self._spec.gpus, **options).remote(
                rank, self._lifelines.line(rank), self._module
            )
            self._agents.append(agent)
            launches.append(agent.launch.remote(bootstrap, dict(environment) | dict(place.environment)))
        for place, launched in zip(self._places.values(), launches, strict=True):
            try:
                ray.get(launched, timeout=_LAUNCH_SECONDS)
            except GetTimeoutError:
                raise Stalled(
                    f"no process could be started on {place.name} within {_LAUNCH_SECONDS:g} s"
                ) from None
            except RayError as error:
                raise EngineError(
                    f"no process could be started on {place.name}: {first_line(error)}"
                ) from error

    def first_end(self) -> str:
        """How the first of them to end did; returns when one has."""
        return self._ends.get()

    def watch(self, notice: Callable[[str], Any]) -> None:
        """From now on call `notice` with how the first of them ended, unless it is expected to."""
        self._notice = notice
        with contextlib.suppress(queue.Empty):
            notice(self._ends.get_nowait())

    def _ended(self, _rank: int, how: str) -> None:
        if not self._is_expected:
            self._notice(how)

    def expect_end(self) -> None:
        """From now on the end of a process is not reported."""
        self._is_expected = True

    def end(self, grace_seconds: float) -> None:
        """Wait for all to end by themselves, after `expect_end`, and kill what has not in time; once."""
        if self._agents:
            with contextlib.suppress(RayError):
                ends = [agent.end.remote(grace_seconds) for agent in self._agents]
                ray.wait(ends, num_returns=len(ends), timeout=grace_seconds + CLOSE_SECONDS)
                for agent in self._agents:
                    ray.kill(agent)
        self._agents = []
        if self._lifelines is not None:
            self._lifelines.close()
        if self._joined:
            ray.shutdown()
