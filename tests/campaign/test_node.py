"""A node needs no checkout: it gets the repository, and a session in it leaves what asv would have left."""

import json
import sys
from pathlib import Path

import pytest
from ledgers import LOCK, git, write_checkout
from rollout_bench.campaign import node, session
from rollout_bench.campaign.shipment import harness, repository, with_ledger
from rollout_bench.history import asv_runs
from rollout_bench.history.ledger import Entry, Ledger
from rollout_bench.history.results import history

FILE = "box/0f00-virtualenv-py3.11.json"


@pytest.fixture
def sent(tmp_path):
    """A checkout of two commits and a changed file, as it is sent."""
    root = write_checkout(tmp_path / "checkout")
    (root / "setup.py").write_text("one")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "two")
    (root / "setup.py").write_text("changed")
    return repository(root, "main", history(root))


def test_a_lane_has_the_history_and_what_is_changed(sent, tmp_path):
    lane = tmp_path / "lane-0"
    node.check_out(lane, sent)
    assert [one.subject for one in history(lane)] == ["one", "two"]
    assert (lane / "setup.py").read_text() == "changed"
    assert (lane / "tracked.toml").exists()


def test_a_lane_that_is_used_again_has_what_is_sent_then(sent, tmp_path):
    lane, root = tmp_path / "lane-0", tmp_path / "checkout"
    node.check_out(lane, sent)
    (lane / ".asv").mkdir()
    git(root, "rm", "-q", "-f", "setup.py")
    git(root, "commit", "-q", "-m", "three")
    node.check_out(lane, repository(root, "main", history(root)))
    assert [one.subject for one in history(lane)] == ["one", "two", "three"]
    assert not (lane / "setup.py").exists()
    assert (lane / ".asv").is_dir()


def test_the_harness_is_the_same_bytes_for_the_same_files(tmp_path):
    """A node keeps it by these."""
    first = harness()
    assert first == harness()
    (tmp_path / "it.zip").write_bytes(first)
    sys.path.insert(0, str(tmp_path / "it.zip"))
    try:
        from importlib.util import find_spec

        assert find_spec("rollout_bench") is not None
    finally:
        sys.path.pop(0)


def test_a_lane_is_of_one_session_and_another_node_of_ray_has_others(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "_LANE_SECONDS", 0.0)
    first = node.take_lanes(tmp_path, {"lanes": 2, "width": 2})
    assert list(first) == [0, 1]
    second = node.take_lanes(tmp_path, {"lanes": 2, "width": 1})
    assert list(second) == [2]
    first[1].close()
    assert list(node.take_lanes(tmp_path, {"lanes": 2, "width": 1})) == [1]


def test_what_ray_sets_for_a_task_is_not_what_is_measured_with(monkeypatch):
    """OMP_NUM_THREADS is the CPUs that the task asks for, and RAY_ADDRESS would be the campaign's cluster."""
    for name, value in (("RAY_ADDRESS", "x"), ("OMP_NUM_THREADS", "2"), ("CUDA_VISIBLE_DEVICES", "1")):
        monkeypatch.setenv(name, value)
    on_cpu, on_gpu = node._environment(0), node._environment(1)
    assert {"RAY_ADDRESS", "OMP_NUM_THREADS"} & {*on_cpu} == set()
    assert (on_cpu["CUDA_VISIBLE_DEVICES"], on_gpu["CUDA_VISIBLE_DEVICES"]) == ("", "1")


def test_a_ledger_goes_along_and_is_made_on_the_node(sent, tmp_path, capsys):
    root = tmp_path / "checkout"
    ledger = Ledger(root, "ray-cpu", "ray", "cpu")
    ledger.write([Entry("2.58.0", 1_700_000_000, "ray 2.58.0", LOCK)])
    both = with_ledger(sent, ledger)
    assert both.key != sent.key
    lane = tmp_path / "lane-0"
    node.check_out(lane, both)
    there = session.checkout_in(lane, {"ledger": list(both.ledger)})
    assert [one.hash for one in history(there)] == [one.hash for one in history(ledger.folder)]
    assert (there / "sut" / "rollout_perf").is_dir()
    assert asv_runs.results_folder(there) == lane / "releases" / "ray-cpu"


@pytest.fixture
def request_(sent, tmp_path, monkeypatch):
    """A session in a lane, with an asv that leaves what it finds and what it is asked."""
    lane = tmp_path / "lane-0"
    node.check_out(lane, sent)
    (lane / "results" / "box").mkdir(parents=True)
    (lane / "results" / "box" / "of-before.json").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ROLLOUT_PERF_ALONE", "a test")

    def run_asv(root, asked, commits, machine, chosen, say, _end):
        results = Path(root) / "results" / machine
        found = sorted(one.name for one in results.rglob("*.json*"))
        (results / "records").mkdir(exist_ok=True)
        (results / "records" / "0f00-e-nano.jsonl").write_text("a record\n")
        say("zmq nano: measured")
        say("asv looks up values")
        content = {
            "asked": list(asked),
            "found": found,
            "chosen": chosen,
            "commits": [str(one) for one in commits],
        }
        (results / "0f00-e.json").write_text(json.dumps(content))
        return 0

    monkeypatch.setattr(asv_runs, "run_asv", run_asv)
    entry = {"machine": "box", "os": "Linux", "arch": "x", "cpu": "c", "num_cpu": "2", "ram": "8 GiB"}
    return lane, {
        "machine": entry, "classes": ["Nano"], "set": "quick", "replicates": 3, "node": "n 1",
        "commits": [["0f00" * 10, "one", 0]], "files": {"box/records/0f00-e-nano-rl.jsonl": "known\n"},
        "gpus": 0, "lanes": 1, "width": 1, "locked": [0], "ledger": None,
    }  # fmt: skip


def test_a_session_begins_with_what_was_sent_and_tells_what_is_new(request_, capsys):
    lane, asked = request_
    assert session.run(lane, asked) == {"code": 0, "why": None}
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    files = {path: text for one in events if one["event"] == "files" for path, text in one["files"].items()}
    assert list(files) == ["box/records/0f00-e-nano.jsonl", "box/0f00-e.json"]
    told = json.loads(files["box/0f00-e.json"])
    assert told["found"] == ["0f00-e-nano-rl.jsonl"]  # nothing that another session has left
    assert told["asked"][1] == r"--bench=^rollout\.(Nano)\."
    assert told["chosen"] == {
        "ROLLOUT_PERF_SET": "quick", "ROLLOUT_PERF_NODE": "n 1", "ROLLOUT_PERF_REPLICATES": "3",
    }  # fmt: skip
    # The record came as soon as it was there.
    assert [one["event"] for one in events] == ["doing", "files", "doing", "files"]


def test_a_disk_that_is_short_of_space_loses_other_lanes_environments_first(request_, monkeypatch, capsys):
    lane, asked = request_
    own, others = lane / ".asv" / "env", lane.parent / "lane-1" / ".asv" / "env"
    for folder in (own, others):
        folder.mkdir(parents=True)
    free = iter([1e9, 9e9, 9e9])
    monkeypatch.setattr(session.shutil, "disk_usage", lambda _path: type("", (), {"free": next(free)}))
    session.make_room(lane, asked)
    assert (own.exists(), others.exists()) == (True, False)
    assert "removing the environments of" in capsys.readouterr().out


def test_a_disk_without_room_says_how_much_is_wanted(request_, monkeypatch):
    lane, asked = request_
    monkeypatch.setattr(session.shutil, "disk_usage", lambda _path: type("", (), {"free": 1e9}))
    with pytest.raises(session.BenchError, match=r"has 1.0 GB free, and environments take 7 GB: make room"):
        session.make_room(lane, asked)
