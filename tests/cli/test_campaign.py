"""`rollout-perf campaign`: what it shows, what it leaves, and that the same command goes on."""

import json
import shutil

import pytest
from fake import ROOT
from fake_fleet import FakeFleet, builds_nothing, measures, node
from ledgers import git, write_checkout
from rollout_bench.campaign import cluster, run
from rollout_bench.cli import main as cli

WORDS = ["campaign", "campaign.toml", "--address", "here:1"]


class Here(FakeFleet):
    """A cluster that is joined by its address."""

    def __init__(self, **does):
        super().__init__([node("a"), node("b")], **does)
        self.closed = 0

    def send(self, repository):
        self.sent = repository

    def close(self):
        self.closed += 1


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of three commits, each of another system under test."""
    root = write_checkout(tmp_path / "checkout")
    (root / "benchmarks" / "it.py").touch()
    (root / ".gitignore").write_text("results/\n.asv/\ncampaign.toml\n")
    for number in range(3):
        (root / "rollout_perf" / "number.py").write_text(str(number))
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", f"number {number}")
    (root / "campaign.toml").write_text('range = "--max-count=3 HEAD"\ntables = ["nano"]\nset = "quick"\n')
    shutil.copyfile(ROOT / "tracked.toml", root / "tracked.toml")
    monkeypatch.chdir(root)
    for name in ("_NODES_SECONDS", "_POLL_SECONDS"):
        monkeypatch.setattr(run, name, 0.0)
    return root


def joined(monkeypatch, **does):
    fleet = Here(**does)
    monkeypatch.setattr(cluster, "Cluster", lambda _address: fleet)
    return fleet


def test_a_campaign_is_lines_and_leaves_results_once(checkout, monkeypatch, capsys):
    fleet = joined(monkeypatch)
    assert cli.main(WORDS) == 0
    said = capsys.readouterr().err
    assert "3 sessions on box; 0 commits are measured already" in said
    assert "nano at" in said
    assert "number 2: began on a" in said
    assert "3 of 3 sessions done" in said
    assert "round 1/4" not in said  # what goes on now is for a terminal
    assert len([*checkout.glob("results/box/records/*.jsonl")]) == 3
    assert (fleet.closed, fleet.sent.ledger) == (1, None)
    again = joined(monkeypatch)
    assert cli.main(WORDS) == 0
    assert again.given == []
    assert "0 sessions on box; 3 commits are measured already" in capsys.readouterr().err


def test_with_json_each_event_is_a_line_of_it(checkout, monkeypatch, capsys):
    """And nothing else is on standard output, though Ray writes there when a raylet is killed."""

    def noisy(name, request):
        print("(raylet) Raylet is terminated")
        return builds_nothing(name, request)

    joined(monkeypatch, a=noisy, b=noisy)
    assert cli.main([*WORDS, "--json", "--output", str(checkout / "elsewhere")]) == 1
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = [one["event"] for one in events]
    assert (names[0], names[-1]) == ("begin", "end")
    assert {"began", "lost", "failed"} <= {*names}
    assert {one["why"] for one in events if one["event"] == "failed"} == {"it cannot be built"}
    assert (events[-1]["done"], events[-1]["failed"], events[-1]["left"]) == (0, 3, 0)
    assert all(one["table"] == "nano" for one in events if one["event"] == "began")
    assert not (checkout / "results").exists()


def test_what_is_interrupted_says_what_is_done_and_goes_on(checkout, monkeypatch, capsys):
    def stops(name, request):
        events = measures(name, request)
        return [KeyboardInterrupt, *events] if "number 1" in str(request["commits"]) else events

    fleet = joined(monkeypatch, a=stops, b=stops)
    assert cli.main(WORDS) == 130
    assert "1 of 3 sessions done" in (said := capsys.readouterr().err)
    assert "the same command goes on from there" in said
    assert "goes again" not in said
    assert fleet.closed == 1
    again = joined(monkeypatch)
    assert cli.main(WORDS) == 0
    assert len(again.given) == 2


def test_a_campaign_of_releases_needs_their_ledger(checkout, capsys):
    (checkout / "campaign.toml").write_text('releases = "ray-cpu"')
    assert cli.main(WORDS) == 2
    assert "there is no ledger ray-cpu: `rollout-perf releases ray` makes it" in capsys.readouterr().err
