"""What a campaign's file may have, and what hardware the cluster: what is wrong is said in a line."""

from pathlib import Path

import pytest
from fake_fleet import node
from rollout_bench.campaign.file import Campaign, read_campaign
from rollout_bench.campaign.kinds import choose, kind_of, share_of
from rollout_bench.errors import UsageError
from rollout_bench.measure.tracked import read_tracked

TRACKED = read_tracked(Path(__file__).resolve().parents[2])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('range = "HEAD"\nrnage = "x"', "has the key 'rnage'; known: range, releases, tables"),
        ('range = "HEAD"\ntables = ["nanno"]', "tables has 'nanno'; those of tracked.toml: nano, nano-rl"),
        ('range = "HEAD"\npresets = ["opt"]', "presets has 'opt'; those of tracked.toml: nano, qwen2.5-0.5b"),
        ('range = "HEAD"\ntables = ["nano"]\npresets = ["qwen2.5-7b"]', "none of its tables has"),
        (
            'range = "HEAD"\nset = "quick"\ntables = ["nano-rl"]',
            "which has no path of the set 'quick': default",
        ),
        ('range = "HEAD"\nset = "all"', "set is 'all'; sets of tracked.toml: quick, default"),
        ('range = "HEAD"\ntables = []', "tables is []; it must be a list of texts"),
        ('range = "HEAD"\nreplicates = 0', "replicates is 0; it must be a whole number of 1 or more"),
        ('range = "HEAD"\nbudget.sessions = 0', "budget sessions is 0; it must be a whole number of 1"),
        ('range = "HEAD"\nbudget.hours = 0', "budget hours is 0; it must be a number above 0"),
        ('range = "HEAD"\nbudget = {}', "budget is {}; it must be a table of sessions or hours"),
        ('range = "HEAD"\nbudget.days = 1', "budget has the key 'days'; known: sessions, hours"),
        ('range = "HEAD"\nmachines = {box = "../box"}', "it must be a table of KIND = NAME, a name of"),
        ('set = "quick"', "has neither range nor releases"),
        ("range = HEAD", "is no TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(text, says, tmp_path):
    file = tmp_path / "campaign.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as raised:
        read_campaign(file, TRACKED)
    assert says in str(raised.value)
    assert str(file) in str(raised.value)


def campaign(*tables, **more):
    return Campaign({name: TRACKED[name] for name in tables}, range="HEAD", **more)


TWO = [node("a", gpus=1, kind="h100-1x"), node("b", gpus=1, kind="h100-1x"), node("c", kind="box")]


@pytest.mark.parametrize(
    ("nodes", "wanted", "says"),
    [
        (TWO, campaign("qwen2.5-7b"), "qwen2.5-7b of tracked.toml asks for 2 GPUs on one node; the cluster "
         "has 2 nodes of h100-1x with 1 GPU; 1 node of box with no GPU"),
        (TWO[:2], campaign("nano"), "asks for a node without a GPU; the cluster has 2 nodes of h100-1x"),
        ([], campaign("nano"), "the cluster has no node with a CPU"),
        (TWO, campaign("nano", machines={"b200": "b200"}), "machines has the kind 'b200'; the cluster has"),
        ([node("a", kind="old"), node("b", kind="new")], campaign("nano"), "has nodes of 2 kinds"),
    ],
)  # fmt: skip
def test_a_cluster_that_does_not_do_says_what_it_has(nodes, wanted, says):
    with pytest.raises(UsageError) as raised:
        choose(nodes, wanted)
    assert says in str(raised.value)


def test_tables_that_are_not_named_are_those_of_the_set_and_the_hardware(tmp_path):
    file = tmp_path / "campaign.toml"
    file.write_text('range = "HEAD"\nset = "quick"')
    every = read_campaign(file, TRACKED)
    assert "nano" in every.tables
    assert "nano-rl" not in every.tables
    assert choose([node("a", kind="box")], every) == {"box": "box"}
    with pytest.raises(UsageError, match="the cluster has no node with a CPU"):
        choose([], every)


def test_nodes_of_several_kinds_are_measured_apart_under_their_names():
    nodes = [node("a", kind="old"), node("b", kind="new"), node("c", gpus=1, kind="h100-1x")]
    named = campaign("nano", machines={"old": "lab", "new": "new"})
    assert choose(nodes, named) == {"old": "lab", "new": "new"}
    assert choose(nodes[1:], campaign("nano", "qwen2.5-0.5b")) == {"new": "new", "h100-1x": "h100-1x"}


def test_a_kind_is_gpu_and_cpu_and_the_count_of_both():
    facts = {
        "gpus": [{"name": "NVIDIA H100 80GB HBM3"}] * 8,
        "cpu": "Intel(R) Xeon(R) CPU @ 2.10GHz",
        "cores": 64,
    }
    assert kind_of(facts, 8) == "h100-80gb-hbm3-8x-intel-xeon-2.10ghz-64-cores"
    assert kind_of(facts, 0) == "intel-xeon-2.10ghz-64-cores"


def test_a_session_takes_what_leaves_no_room_for_one_too_many():
    assert share_of([node("a"), node("b")], 0, 1) == 2.0
    assert share_of([node("a", cpus=64), node("b", cpus=60)], 0, 4) == 15.0
    assert share_of([node("a", cpus=64, gpus=8)], 2, 1) == 16.0
    with pytest.raises(UsageError, match="2 to 4 CPUs for Ray"):
        share_of([node("a"), node("b", cpus=4)], 0, 1)
