"""A campaign keeps a cluster busy, and loses nothing that is finished, whatever its nodes do."""

import json

import pytest
from fake_fleet import ENVIRONMENT, FakeFleet, builds_nothing, dies, measures, node, values
from rollout_bench.campaign import run as module
from rollout_bench.campaign.file import Campaign
from rollout_bench.campaign.home import Home
from rollout_bench.campaign.plan import Session
from rollout_bench.campaign.run import Runner
from rollout_bench.history.results import Commit
from rollout_bench.measure.tracked import Class, Tracked

TABLE = Tracked(
    "nano", [], "nano", sets={"default": ["vllm-mp", "zmq"]}, classes={"Nano": Class("fixed", [])}
)
SESSIONS = [Session("nano", "box", "box", (Commit(f"{number:040d}"[::-1]),)) for number in range(1, 5)]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(module, "_NODES_SECONDS", 0.0)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.0)


def runner(folder, fleet, **campaign):
    told = []
    made = Runner(
        fleet, Home(folder, ENVIRONMENT), Campaign({"nano": TABLE}, **campaign), {"box": "box"}, None,
        lambda name, **facts: told.append((name, facts)),
    )  # fmt: skip
    return made, told


def there(folder):
    """The commits of which records lie in results/, and those of which asv's values do."""
    records = {one.name[:8] for one in folder.glob("box/records/*.jsonl")}
    return records, {one.name[:8] for one in folder.glob("box/*-*.json")}


@pytest.mark.parametrize("does", [dies, builds_nothing])
def test_what_a_node_loses_is_measured_on_another(does, tmp_path):
    fleet = FakeFleet([node("a"), node("b")], a=does)
    made, told = runner(tmp_path, fleet)
    made.run(SESSIONS)
    everything = {one.commits[0].hash[:8] for one in SESSIONS}
    assert (made.done, made.failed, there(tmp_path)) == (4, [], (everything, everything))
    assert "lost" in [name for name, _facts in told]
    content = [json.loads(one.read_text())["results"] for one in tmp_path.glob("box/*-*.json")]
    assert all(rows["rollout.Nano.track_step_seconds"][0] for rows in content)


def test_a_node_that_measures_nothing_gets_no_more_sessions(tmp_path):
    """It is done with each at once, and would take all of them."""
    fleet = FakeFleet([node("a"), node("b")], a=builds_nothing)
    many = [Session("nano", "box", "box", (Commit(f"{number:040d}"[::-1]),)) for number in range(1, 20)]
    made, _told = runner(tmp_path, fleet)
    made.run(many)
    assert made.done == len(many)
    assert [name for name, _request in fleet.given].count("a") < 8


def test_a_commit_that_cannot_be_built_anywhere_says_so_in_results(tmp_path):
    fleet = FakeFleet([node("a"), node("b")], a=builds_nothing, b=builds_nothing)
    made, _told = runner(tmp_path, fleet)
    made.run(SESSIONS[:1])
    assert [why for _session, why in made.failed] == ["it cannot be built"]
    assert [name for name, _request in fleet.given] == ["a", "b"]
    assert there(tmp_path) == (set(), {SESSIONS[0].commits[0].hash[:8]})


def test_no_more_are_with_ray_than_can_run_and_few_more(tmp_path):
    """A hundred thousand tasks would be the head's to keep, and none could go to a node that comes."""
    made, _told = runner(tmp_path, FakeFleet([node("a"), node("b")]))
    most = 0

    def tell(_name, **_facts):
        nonlocal most
        most = max(most, len(made.running))

    made.tell = tell
    made.run(SESSIONS * 10)
    assert made.done == 40
    assert most == 4


@pytest.mark.parametrize(("budget", "done"), [({"sessions": 3}, 3), ({"hours": 1e-9}, 0), ({"hours": 1}, 4)])
def test_a_budget_holds_what_begins(budget, done, tmp_path):
    made, _told = runner(tmp_path, FakeFleet([node("a")]), **budget)
    made.run(SESSIONS)
    assert (made.done, made.left) == (done, 4 - done)


def test_an_interruption_ends_what_runs_and_keeps_what_is_finished(tmp_path):
    def stops(name, request):
        events = measures(name, request)
        return [*events[:3], KeyboardInterrupt, *events[3:]]

    fleet = FakeFleet([node("a")], a=stops)
    made, _told = runner(tmp_path, fleet)
    with pytest.raises(KeyboardInterrupt):
        made.run(SESSIONS)
    records, of_asv = there(tmp_path)
    assert (len(records), len(of_asv), made.running) == (1, 0, {})


def test_a_session_that_waits_may_run_on_a_node_that_comes(tmp_path):
    """Ray is told the nodes of a kind with each session."""
    fleet = FakeFleet([node("a")])
    made, _told = runner(tmp_path, fleet)
    submitted = []
    submit = fleet.submit

    def watched(request, cpus, gpus, nodes):
        submitted.append((request["commits"][0], list(nodes)))
        if len(submitted) == 3:
            fleet.here.append(node("b"))
        return submit(request, cpus, gpus, nodes)

    fleet.submit = watched
    made.run(SESSIONS)
    assert made.done == 4
    waited = [commit for commit, nodes in submitted if nodes == ["a"]]
    assert {commit for commit, nodes in submitted if nodes == ["a", "b"]} & {*waited[1:]}
    assert "b" in {name for name, _request in fleet.given}


def test_values_of_two_tables_of_a_commit_come_together(tmp_path):
    """asv has one file for both, and two nodes each send their own."""
    home, commit = Home(tmp_path, ENVIRONMENT), SESSIONS[0].commits[0].hash
    path = f"box/{commit[:8]}-{ENVIRONMENT}.json"
    home.take({path: values(commit, ["Nano"], 0.1)})
    home.take({path: values(commit, ["NanoGrpo"], 0.2), "../outside.json": "{}"})
    rows = json.loads((tmp_path / path).read_text())["results"]
    assert {name.split(".")[1] for name in rows} == {"Nano", "NanoGrpo"}
    assert not (tmp_path.parent / "outside.json").exists()
