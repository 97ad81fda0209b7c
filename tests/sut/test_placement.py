"""Workers on nodes of a cluster: what is asked for, what must be alike, what is refused before a start."""

import asyncio
import dataclasses
import json
import os
import socket
import time

import pytest

from rollout_perf import ConfigurationError, open_rollout
from rollout_perf.transports import ray_nodes
from rollout_perf.transports.placement import Place, Placement, check_alike, check_nodes, placed

MUST_BE_ALIKE = ("python", "ray", "vllm", "torch", "pyzmq", "sut", "gpus")
HERE = dict.fromkeys(MUST_BE_ALIKE, "1") | {"node": "left", "kernel": "6.1", "driver": ["580"]}
THERE = HERE | {"node": "right (10.0.0.2)", "kernel": "6.8", "driver": ["570"]}

PLACES = (
    Place("aa", "left", True, 0, {"VLLM_HOST_IP": "10.0.0.1"}),
    Place("bb", "right", False, 0, {"VLLM_HOST_IP": "10.0.0.2"}),
    Place("bb", "right", False, 1, {}),
)
PLACEMENT = Placement("f00", "10.0.0.1", "10.0.0.1:4711", PLACES, (HERE, THERE))


def node(name: str, address: str, **resources: float) -> dict:
    return {
        "NodeID": f"id-{name}",
        "NodeName": name,
        "NodeManagerAddress": address,
        "NodeManagerHostname": f"{name}.cluster",
        "Resources": resources,
    }


LIVING = {
    one["NodeID"]: one for one in (node("left", "10.0.0.1", GPU=1, CPU=4), node("right", "10.0.0.2", GPU=2))
}


@pytest.mark.parametrize("name", MUST_BE_ALIKE)
def test_nodes_that_differ_where_they_must_not_are_named_with_both_values(name):
    with pytest.raises(ConfigurationError) as refused:
        check_alike([HERE, THERE | {name: "2"}])
    text = str(refused.value)
    assert "differs: 1 on left (this host), 2 on right (10.0.0.2)" in text
    assert "\n" not in text


def test_kernels_and_drivers_may_differ_and_are_in_the_facts():
    check_alike([HERE, THERE])
    assert [one["kernel"] for one in PLACEMENT.describe()["facts"]] == ["6.1", "6.8"]
    assert PLACEMENT.describe()["workers"] == ["left", "right", "right"]


def test_the_processes_of_a_run_read_the_placement_that_was_found():
    assert Placement.of_json(json.loads(json.dumps(PLACEMENT.as_json()))) == PLACEMENT
    assert PLACEMENT.elsewhere == {1: "right", 2: "right"}
    assert PLACEMENT.local_ranks == [0, 0, 1]
    assert dataclasses.replace(PLACEMENT, address="fd00::1").endpoint == "tcp://[fd00::1]"


@pytest.mark.parametrize("nodes", ["", "both", [], [""], ["left", 3]])
def test_what_names_no_nodes_is_refused(nodes):
    with pytest.raises(ConfigurationError, match="give 'pack', 'spread' or a list of nodes"):
        check_nodes(nodes)


@pytest.mark.parametrize("name", ["right", "id-right", "10.0.0.2", "right.cluster"])
def test_a_node_is_found_by_its_name_id_or_address(name):
    assert ray_nodes._find(name, LIVING) == "id-right"


def test_an_unknown_node_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"'middle'; the cluster has: left \(10.0.0.1\), right"):
        ray_nodes._find("middle", LIVING)


@pytest.mark.parametrize(
    ("nodes", "chosen", "size", "kind", "said"),
    [
        ("spread", None, 4, "GPU", "4 workers on all nodes need 4 GPUs; the cluster has 1 on left"),
        ("pack", None, 3, "GPU", "3 workers on one node need 3 GPUs; the cluster has 1 on left"),
        (["left"], ["id-left"] * 2, 2, "GPU", "2 workers on left need 2 GPUs; the cluster has 1 on left"),
        (
            "spread",
            None,
            5,
            "CPU",
            "need 5 CPUs; the cluster has 4 on left (10.0.0.1), 0 on right (10.0.0.2)",
        ),
    ],
)
def test_a_cluster_that_is_too_small_says_how_many_of_what_it_has(nodes, chosen, size, kind, said):
    with pytest.raises(ConfigurationError) as refused:
        ray_nodes._check_room(nodes, chosen, size, kind, LIVING)
    assert said in str(refused.value)


@pytest.mark.parametrize(("nodes", "size"), [("spread", 3), ("pack", 2)])
def test_a_cluster_that_has_enough_is_taken(nodes, size):
    ray_nodes._check_room(nodes, None, size, "GPU", LIVING)


def test_workers_of_a_node_see_all_of_its_gpus_and_each_knows_its_own():
    facts = {
        "id-left": HERE | {"address": "10.0.0.1", "interface": "eth0"},
        "id-right": THERE | {"address": "10.0.0.2", "interface": "ens5"},
    }
    ids = ["id-right", "id-left", "id-right"]
    right, left, other = ray_nodes._places(ids, facts, [["3"], ["0"], ["1"]], "id-left")
    assert (right.local_rank, left.local_rank, other.local_rank) == (0, 0, 1)
    assert right.environment == other.environment
    assert right.environment["CUDA_VISIBLE_DEVICES"] == "3,1"
    assert right.environment["GLOO_SOCKET_IFNAME"] == right.environment["NCCL_SOCKET_IFNAME"] == "ens5"
    assert left.environment["VLLM_HOST_IP"] == "10.0.0.1"
    assert (left.is_here, right.is_here) == (True, False)


@pytest.mark.parametrize(
    ("by_node", "workers"),
    [(False, ["right", "left", "left", "right"]), (True, ["left", "left", "right", "right"])],
)
def test_the_record_has_workers_by_rank_as_whoever_counts_them(by_node, workers):
    places = [Place(f"id-{name}", name, name == "left", 0, {}) for name in ("right", "left", "left", "right")]
    placement = Placement("group", "10.0.0.1", "10.0.0.2:1", tuple(places), (HERE, THERE))
    assert placement.describe(by_node)["workers"] == workers


def opened(path: str, **arguments) -> None:
    async def enter() -> None:
        async with open_rollout("nano", path, 2, **arguments):
            pass

    asyncio.run(enter())


def test_a_path_that_has_its_workers_on_this_host_says_which_do_not():
    with pytest.raises(ConfigurationError, match="nodes go with vllm-mp, zmq, ray, ray-graph"):
        opened("verl-zmq", nodes="spread")


def test_replicas_share_this_host():
    with pytest.raises(
        ConfigurationError, match="2 replicas share this host; with nodes there is one engine"
    ):
        opened("zmq", nodes="spread", replicas=2)


def test_nodes_need_a_cluster(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigurationError, match="RAY_ADDRESS names no cluster"):
        opened("zmq", nodes="spread")


def test_an_address_where_nobody_listens_is_refused_at_once_in_one_line(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setitem(os.environ, "RAY_ADDRESS", f"127.0.0.1:{port}")
    begin = time.monotonic()
    with pytest.raises(ConfigurationError) as refused, placed("spread", 2, False):
        pass
    assert time.monotonic() - begin < 10
    assert f"no Ray cluster answers at RAY_ADDRESS=127.0.0.1:{port}" in str(refused.value)
    assert "\n" not in str(refused.value)
