"""A campaign on a cluster of Ray's own: tasks, labels, streams, a node that is killed. Sessions only wait."""

import pytest
from fake_fleet import ENVIRONMENT
from rollout_bench.campaign.file import Campaign
from rollout_bench.campaign.home import Home
from rollout_bench.campaign.plan import Session
from rollout_bench.campaign.run import Runner
from rollout_bench.history.results import Commit
from rollout_bench.measure.tracked import Class, Tracked
from stub_cluster import RECORD_BYTES, stub_cluster

pytestmark = pytest.mark.engine

TABLE = Tracked("nano", [], "nano", sets={"default": ["zmq"]}, classes={"Nano": Class("fixed", [])})


def test_a_node_that_is_killed_loses_no_session(tmp_path, no_cluster):
    """One of two raylets goes away in the middle of its first session, another comes, and all are done."""
    told = []

    def tell(name, **facts):
        told.append((name, facts.get("node"), facts.get("session")))
        begun = {node for name, node, _session in told if name == "began"}
        if len(begun) == 2 and len(nodes.worker_nodes) == 1 and not killed:
            killed.extend(nodes.worker_nodes)
            nodes.remove_node(killed[0], allow_graceful=False)
            nodes.add_node(num_cpus=1, object_store_memory=100_000_000)

    killed = []
    with stub_cluster([1, 1]) as (fleet, nodes):
        here = fleet.nodes()
        assert len(here) == 2
        campaign, home = Campaign({"nano": TABLE}, folder="1.5"), Home(tmp_path, ENVIRONMENT)
        made = Runner(fleet, home, campaign, {here[0].kind: "stub"}, None, tell)
        sessions = [
            Session("nano", here[0].kind, "stub", (Commit(f"{number:08d}" * 5),)) for number in range(6)
        ]
        made.run(sessions)
    assert (made.done, made.failed) == (6, [])
    assert [session for name, _node, session in told if name == "lost"]
    assert len({node for name, node, _session in told if name == "began"}) == 3
    records = [*tmp_path.glob("stub/records/*.jsonl")]
    assert len(records) == 6
    assert {one.stat().st_size for one in records} == {RECORD_BYTES}
