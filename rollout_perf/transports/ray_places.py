"""Where Ray has an actor of a run: on the node that a placement names, else on this host, and with what
around it."""

from typing import Any

import ray
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from .base import HostSpec, python_path


def place_options(spec: HostSpec, rank: int) -> dict[str, Any]:
    """Options of an actor for worker `rank`: where it is, and its environment."""
    environment = {"PYTHONPATH": python_path(), **spec.environment}
    # The worker picks its GPU by rank, as vLLM's own workers do.
    environment["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"] = "1"
    if spec.placement is None:
        return {"runtime_env": {"env_vars": environment}, "scheduling_strategy": on_this_host()}
    group = PlacementGroup(ray.PlacementGroupID.from_hex(spec.placement.group))
    return {
        "runtime_env": {"env_vars": environment | dict(spec.placement.places[rank].environment)},
        "scheduling_strategy": PlacementGroupSchedulingStrategy(group, rank),
    }


def on_this_host() -> NodeAffinitySchedulingStrategy:
    """Where an actor goes that needs files of this host: the cluster may have other nodes."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
