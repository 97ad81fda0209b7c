"""Where a run's workers are, on the nodes of a Ray cluster: asked for, found, and told to its processes.

Knows no Ray: a process of its own (`ray_nodes`) asks the cluster, before anything of the run starts, and
holds what it was given until the run is over.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .. import errors
from ..errors import ConfigurationError, EngineError, Stalled
from .base import CLOSE_SECONDS, python_path

PACK, SPREAD = "pack", "spread"

Nodes = str | Sequence[str]
"""PACK: all workers on one node; SPREAD: on as many as there are; or a node for each worker, by Ray's name or
id of it or its address, and the first again after the last."""

_FOUND_SECONDS = 90.0

ALIKE = ("python", "ray", "vllm", "torch", "pyzmq", "sut", "gpus")
"""What of a node must be as on this host: with another the figures would be of something else."""


@dataclass(frozen=True)
class Place:
    """Where one worker is."""

    node: str
    """Ray's id."""
    name: str
    """Ray's name of the node, and its address where that is another."""
    is_here: bool
    """Whether it is the driver's node."""
    local_rank: int
    """Which of the run's workers on that node it is."""
    environment: Mapping[str, str]
    """What the worker must find in its own: addresses, interfaces and GPUs are the node's."""


@dataclass(frozen=True)
class Placement:
    """Where all workers are, and what holds the places for them."""

    group: str
    """Ray's id of the placement group, which has a bundle for each rank."""
    address: str
    """This host's, of the interface that reaches the other nodes."""
    store: str
    """ADDRESS:PORT on the node of rank 0, free when it was asked: where the workers find each other."""
    places: tuple[Place, ...]
    """By rank."""
    facts: tuple[dict[str, Any], ...]
    """What each node is, this host's first."""

    @property
    def endpoint(self) -> str:
        """Where this host listens for the workers, as a transport is told."""
        return f"tcp://[{self.address}]" if ":" in self.address else f"tcp://{self.address}"

    @property
    def local_ranks(self) -> list[int]:
        """By rank."""
        return [place.local_rank for place in self.places]

    @property
    def elsewhere(self) -> dict[int, str]:
        """The node of each worker that is not on this host, by rank."""
        return {rank: place.name for rank, place in enumerate(self.places) if not place.is_here}

    def describe(self, by_node: bool = False) -> dict[str, Any]:
        """Facts for the record: what each node is, and where each worker is. vLLM's own executor counts its
        workers `by_node`, this host's first."""
        nodes = [place.node for place in self.places]
        counted = sorted(self.places, key=lambda one: (not one.is_here, nodes.index(one.node)))
        return {
            "facts": list(self.facts),
            "workers": [one.name for one in (counted if by_node else self.places)],
        }

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> "Placement":
        places = tuple(Place(**place) for place in value["places"])
        return cls(**value | {"places": places, "facts": tuple(value["facts"])})


def check_nodes(nodes: Nodes) -> list[str] | str:
    """What was asked for, PACK, SPREAD or names. Raises ConfigurationError for anything else, or for no
    cluster."""
    known = nodes in (PACK, SPREAD) if isinstance(nodes, str) else nodes and all(map(_is_name, nodes))
    if not known:
        raise ConfigurationError(f"nodes is {nodes!r}; give 'pack', 'spread' or a list of nodes")
    if not os.environ.get("RAY_ADDRESS"):
        raise ConfigurationError(
            f"nodes is {nodes!r}, and RAY_ADDRESS names no cluster; set it to the HOST:PORT of its head"
        )
    return nodes if isinstance(nodes, str) else list(nodes)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name != ""


def check_alike(facts: Sequence[Mapping[str, Any]]) -> None:
    """Raise ConfigurationError that names a node that is unlike this host, the first, in what must be
    alike."""
    here = facts[0]
    for there in facts[1:]:
        for name in ALIKE:
            if there[name] != here[name]:
                raise ConfigurationError(
                    f"{_NAMED[name]} differs: {here[name]} on {here['node']} (this host), "
                    f"{there[name]} on {there['node']}; the same must be on every node"
                )


_NAMED = {
    "python": "Python",
    "ray": "Ray",
    "vllm": "vLLM",
    "torch": "torch",
    "pyzmq": "pyzmq",
    "sut": "the hash of the package rollout_perf",
    "gpus": "the kind of GPU",
}


@contextlib.contextmanager
def placed(nodes: Nodes, world_size: int, on_gpus: bool) -> Iterator[Placement]:
    """Have a place for each worker on the nodes of the cluster that RAY_ADDRESS names, for the block.

    Raises ConfigurationError where there is no such cluster, node or room in it, or where what is installed
    differs, and EngineError for what else fails.
    """
    asked = check_nodes(nodes)
    holder = subprocess.Popen(
        [sys.executable, "-P", "-m", "rollout_perf.transports.ray_nodes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": python_path()},
        text=True,
        errors="replace",
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            holder.stdin.write(json.dumps([asked, world_size, "GPU" if on_gpus else "CPU"]) + "\n")
            holder.stdin.flush()
        if not select.select([holder.stdout], [], [], _FOUND_SECONDS)[0]:
            raise Stalled(f"the cluster has not said within {_FOUND_SECONDS:g} s where workers may run")
        answer = holder.stdout.readline()
        if not answer:
            raise EngineError("the process that asks the cluster for places ended; it says why above")
        kind, value = json.loads(answer)
        if kind:
            raise getattr(errors, kind)(value)
        yield Placement.of_json(value)
    finally:
        holder.stdin.close()
        try:
            holder.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            holder.kill()
            holder.wait()
        holder.stdout.close()
