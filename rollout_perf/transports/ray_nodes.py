"""The process that asks a Ray cluster for the places of a run's workers, and holds them. See `placement`.

It reads [nodes, world size, "GPU" or "CPU"] and writes ["", a Placement] or [kind of error, its text], a line
of JSON each, and ends with its standard input; the placement group goes with it. Run as

    python -P -m rollout_perf.transports.ray_nodes
"""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..errors import ConfigurationError, EngineError, RolloutError, Stalled
from . import survey as surveying
from .base import python_path
from .placement import PACK, SPREAD, Place, Placement, check_alike

_JOIN_SECONDS = 10.0
_GROUP_SECONDS = 10.0
_SURVEY_SECONDS = 45.0
"""Of which a node needs the most to start a process for it."""

_STRATEGIES = {PACK: "STRICT_PACK", SPREAD: "SPREAD"}


def main() -> None:
    """Answer, and hold what was found until whoever asked has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked decides when it ends
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    nodes, world_size, kind = json.loads(sys.stdin.readline())
    try:
        _reach(os.environ["RAY_ADDRESS"])
        import ray

        _join(answers)
        found = _place(nodes, world_size, kind)
        answer: list[Any] = ["", found.as_json()]
    except RolloutError as error:
        answer = [type(error).__name__, str(error)]
    print(json.dumps(answer), file=answers, flush=True)
    sys.stdin.read()
    with contextlib.suppress(NameError):
        ray.shutdown()


def _reach(address: str) -> None:
    """Raise ConfigurationError where nobody listens at a HOST:PORT."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return  # a word of Ray's, which knows what it means
    try:
        socket.create_connection((host.strip("[]"), int(port)), _JOIN_SECONDS / 2).close()
    except OSError as error:
        raise _unanswered(address, str(error)) from None


def _unanswered(address: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"no Ray cluster answers at RAY_ADDRESS={address} ({why}); give the HOST:PORT of a head that runs"
    )


def _join(answers: Any) -> None:
    """Join the cluster; Ray tries for longer than anybody should wait, and cannot be interrupted."""
    from .ray_workers import join_cluster

    def give_up() -> None:
        why = f"nothing came within {_JOIN_SECONDS:g} s, as where Ray's token is another"
        error = _unanswered(os.environ["RAY_ADDRESS"], why)
        print(json.dumps([type(error).__name__, str(error)]), file=answers, flush=True)
        os._exit(1)

    timer = threading.Timer(_JOIN_SECONDS, give_up)
    timer.start()
    try:
        join_cluster()
    except EngineError as error:
        raise ConfigurationError(str(error)) from error
    finally:
        timer.cancel()


def _place(nodes: list[str] | str, world_size: int, kind: str) -> Placement:
    """Find a place for each worker and see what is there. Raises ConfigurationError."""
    import ray
    from ray.util.placement_group import placement_group, placement_group_table

    living = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    here = ray.get_runtime_context().get_node_id()
    bundles: list[dict[str, float]] = [{kind: 1}] * world_size
    if isinstance(nodes, str):
        _check_room(nodes, None, world_size, kind, living)
        group = placement_group(bundles, strategy=_STRATEGIES[nodes])
    else:
        wanted = [_find(name, living) for name in nodes]
        chosen = [wanted[rank % len(wanted)] for rank in range(world_size)]
        _check_room(nodes, chosen, world_size, kind, living)
        labels = [{"ray.io/node-id": node} for node in chosen]
        group = placement_group(bundles, strategy="SPREAD", bundle_label_selector=labels)
    if not group.wait(_GROUP_SECONDS):
        raise ConfigurationError(
            f"{world_size} {kind}s for {_words(nodes)} were not free within {_GROUP_SECONDS:g} s: "
            f"{_room(ray._private.state.available_resources_per_node(), kind, living)} now"
        )
    table = placement_group_table(group)["bundles_to_node_id"]
    ids = [table[rank] for rank in range(world_size)]
    own, facts, gpus = _survey(group, ids, here, living, kind)
    check_alike([own, *facts.values()])
    return Placement(
        group.id.hex(),
        own["address"],
        "{address}:{free_port}".format(**facts[ids[0]]),
        _places(ids, facts, gpus, here),
        (own, *(its for node, its in facts.items() if node != here)),
    )


def _find(name: str, living: dict[str, Any]) -> str:
    """The id of the node that is so named."""
    known = ("NodeName", "NodeID", "NodeManagerAddress", "NodeManagerHostname")
    for key in known:
        found = [node_id for node_id, node in living.items() if node[key] == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigurationError(
                f"{len(found)} nodes are called {name!r}; give Ray's id of one: {', '.join(found)}"
            )
    names = ", ".join(sorted(_name(node) for node in living.values()))
    raise ConfigurationError(f"unknown node {name!r}; the cluster has: {names}")


def _name(node: dict[str, Any]) -> str:
    """A node's name, and its address where that says more."""
    name, address = node["NodeName"], node["NodeManagerAddress"]
    return name if name == address else f"{name} ({address})"


def _check_room(
    nodes: list[str] | str, chosen: list[str] | None, world_size: int, kind: str, living: dict[str, Any]
) -> None:
    """Raise ConfigurationError where there is not enough even of what others use now."""
    has = {node: int(facts["Resources"].get(kind, 0)) for node, facts in living.items()}
    if chosen is not None:
        enough = all(has[node] >= count for node, count in Counter(chosen).items())
    else:
        enough = (max(has.values()) if nodes == PACK else sum(has.values())) >= world_size
    if not enough:
        resources = {node: facts["Resources"] for node, facts in living.items()}
        raise ConfigurationError(
            f"{world_size} workers on {_words(nodes)} need {world_size} {kind}s; "
            f"the cluster has {_room(resources, kind, living)}"
        )


def _words(nodes: list[str] | str) -> str:
    if nodes == PACK:
        return "one node"
    return "all nodes" if nodes == SPREAD else ", ".join(nodes)


def _room(resources: dict[str, Any], kind: str, living: dict[str, Any]) -> str:
    return ", ".join(
        f"{resources.get(node, {}).get(kind, 0):g} on {_name(facts)}" for node, facts in living.items()
    )


def _survey(
    group: Any, ids: Sequence[str], here: str, living: dict[str, Any], kind: str
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], list[list[str]]]:
    """Facts of this process; of each node that has a worker, by id, as a worker there sees them; and the GPUs
    of each bundle."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    from .ray_workers import first_line

    ray.cloudpickle.register_pickle_by_value(surveying)
    near = living[here]["NodeManagerAddress"]
    far = next((living[node]["NodeManagerAddress"] for node in ids if node != here), near)

    def seen_from(other: str) -> tuple[dict[str, Any], list[str]]:
        return surveying.survey(other), [str(gpu) for gpu in ray.get_gpu_ids()]

    asked = []
    for rank, node in enumerate(ids):
        options = {
            "num_cpus": 0,
            "num_gpus": int(kind == "GPU"),
            "max_retries": 0,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(group, rank),
            "runtime_env": {"env_vars": {"PYTHONPATH": python_path()}},
        }
        asked.append(ray.remote(seen_from).options(**options).remote(far if node == here else near))
    own = {"node": _name(living[here])} | surveying.survey(far)
    facts: dict[str, dict[str, Any]] = {}
    gpus: list[list[str]] = []
    for node, reference in zip(ids, asked, strict=True):
        name = _name(living[node])
        try:
            seen, held = ray.get(reference, timeout=_SURVEY_SECONDS)
        except ray.exceptions.GetTimeoutError:
            raise Stalled(f"node {name} has not answered within {_SURVEY_SECONDS:g} s") from None
        except ray.exceptions.RayError as error:
            raise EngineError(f"node {name} cannot be asked: {first_line(error)}") from error
        facts[node] = {"node": name} | seen
        gpus.append(held)
    return own, facts, gpus


def _places(
    ids: Sequence[str], facts: dict[str, dict[str, Any]], gpus: Sequence[Sequence[str]], here: str
) -> tuple[Place, ...]:
    """A place for each rank, on nodes that have been surveyed."""
    places = []
    for rank, node in enumerate(ids):
        ranks = [other for other, its in enumerate(ids) if its == node]
        own = facts[node]
        environment = {"VLLM_HOST_IP": own["address"]}
        if own["interface"] is not None:
            environment |= {f"{name}_SOCKET_IFNAME": own["interface"] for name in ("GLOO", "NCCL", "TP")}
        # Every worker of a node sees the GPUs of all of them, as vLLM's own do: they reach into each other's.
        if visible := [gpu for other in ranks for gpu in gpus[other]]:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(visible)
        places.append(Place(node, own["node"], node == here, ranks.index(rank), environment))
    return tuple(places)


if __name__ == "__main__":
    main()
