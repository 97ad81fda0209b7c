"""timeline.py: stamps of scheduler and worker to the stages of an engine step."""

import json
from types import SimpleNamespace

import pytest
from rollout_bench.measure import probe, timeline
from rollout_bench.measure.timeline import Stamps, stages
from rollout_bench.schema import variables

# Two steps under way: the third is scheduled once the first one's output has been taken.
SCHEDULED = [(0.0, 1.0), (1.0, 2.5), (10.0, 11.0)]
RAN = [(1.5, 3.0, 8.0), (4.0, 5.0, 13.0), (12.0, 14.0, 18.0)]
UPDATED = [(8.5, 10.0), (13.5, 15.0), (18.25, 19.0)]


def test_the_stages_of_three_steps():
    assert stages(SCHEDULED, UPDATED, RAN) == {
        "schedule": [1.0, 1.5, 1.0],
        "call": [0.5, 1.5, 1.0],
        "launch": [1.5, 1.0, 2.0],
        "compute": [5.0, 8.0, 4.0],
        "reply": [0.5, 0.5, 0.25],
        "update": [1.5, 1.5, 0.75],
        "turn": [4.0],  # from 8 to 12; nothing was scheduled after the other outputs
    }


def test_a_rollout_has_the_medians_of_its_steps_and_of_no_other(tmp_path):
    file = tmp_path / "stamps"
    stamps = Stamps(file)
    file.write_text(json.dumps([[[0.0, 9.0]], [[9.0, 99.0]]]) + "\n")
    stamps.begin()
    with file.open("a") as more:  # no request was left after the second step, and then one came
        for steps in (slice(0, 2), slice(2, 3)):
            more.write(json.dumps([SCHEDULED[steps], UPDATED[steps]]) + "\n")
    found = stamps.stage_seconds(RAN)
    assert found["stage_schedule_seconds"] == 1.0
    assert found["stage_turn_seconds"] == 4.0
    stamps.begin()
    with pytest.raises(ValueError, match="0 steps scheduled, 0 updated and 3 run"):
        stamps.stage_seconds(RAN)


def test_stamps_of_other_steps_are_refused(tmp_path):
    file = tmp_path / "stamps"
    file.write_text(json.dumps([SCHEDULED, UPDATED]) + "\n")
    with pytest.raises(ValueError, match="3 steps scheduled, 3 updated and 2 run"):
        Stamps(file).stage_seconds(RAN[:2])


class Scheduler:
    """As vLLM's: schedules what it is given, and forgets requests that are done."""

    def __init__(self, requests):
        self.requests = requests

    def schedule(self):
        return SimpleNamespace(total_num_scheduled_tokens=len(self.requests))

    def update_from_output(self, _scheduled, done):
        self.requests = self.requests - done
        return "outputs"


def test_the_scheduler_notes_steps_with_work_and_reports_when_no_request_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv(variables.TIMELINE, str(tmp_path / "stamps"))
    scheduler = type("Timed", (timeline._Stamping, Scheduler), {})({"a", "b"})
    for done in ({"a"}, {"b"}):
        assert not (tmp_path / "stamps").exists()
        assert scheduler.update_from_output(scheduler.schedule(), done) == "outputs"
    scheduler.update_from_output(scheduler.schedule(), set())
    [line] = (tmp_path / "stamps").read_text().splitlines()
    scheduled, updated = json.loads(line)
    assert len(scheduled) == len(updated) == 2
    assert all(begin <= end for begin, end in scheduled + updated)
    assert scheduled[0][1] <= updated[0][0]


def test_the_probe_notes_when_an_output_has_been_fetched():
    later, stamps = SimpleNamespace(get_output=lambda: "tokens"), [1.0]
    probe._stamp(stamps, later)
    assert len(stamps) == 2
    assert later.get_output() == "tokens"
    assert len(stamps) == 3
    assert stamps[1] <= stamps[2]
    at_once = [1.0]
    probe._stamp(at_once, "tokens")
    assert at_once[1] == at_once[2]
