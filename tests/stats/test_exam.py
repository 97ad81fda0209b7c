"""stats/exam.py: the exam itself is right, and the detector passes its short form."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from rollout_bench.cli import main as cli
from rollout_bench.stats import exam as scorecard
from rollout_bench.stats.exam import NOISES, OURS, Answer, Question, ask, simulate

from studies.detectors import __main__ as study
from studies.detectors import tigerbeetle
from studies.detectors.rivals import detectors
from studies.detectors.tigerbeetle import RealAnswer

ROOT = Path(__file__).resolve().parents[2]
SERIES = 24
WANTED = {0.02: 0.70, 0.03: 0.95, 0.05: 0.99, 0.10: 1.00}
"""Hits to reach within 3 commits, with Gaussian noise and with outliers."""


@pytest.fixture(scope="module")
def short():
    """The short form's answers, by noise, step and how many commits are known."""
    answers = scorecard.examine({OURS: scorecard.ours}, scorecard.QUESTIONS, SERIES)
    return {(a.question.noise, a.question.step, a.question.known_until): a.share for a in answers}


def least(share):
    """What a detector that reaches `share` does not fall below in SERIES series, but once in a thousand."""
    return share - 3.1 * math.sqrt(share * (1 - share) / SERIES) - 0.5 / SERIES


@pytest.mark.parametrize("noise", NOISES)
def test_false_alarms_are_rare(short, noise):
    assert short[noise, 0.0, None] <= 2 / SERIES  # 1 % of series: three of 24 come twice in a thousand


@pytest.mark.parametrize("noise", ["gaussian", "outliers", "two machines"])
@pytest.mark.parametrize("step", WANTED)
def test_steps_are_found_where_they_are(short, noise, step):
    assert short[noise, step, None] >= least(WANTED[step])


def test_a_step_is_distinguished_from_wandering(short):
    assert short["ar(0.7)", 0.05, None] >= least(0.80)


@pytest.mark.parametrize("noise", NOISES)
def test_a_step_of_5_percent_is_known_three_commits_later(short, noise):
    assert short[noise, 0.05, 44] >= least(0.90)


def test_a_detector_that_is_blind_or_sees_ghosts_fails():
    """The exam can be failed: by one that finds nothing, and by one that always finds something."""
    step, none = Question("gaussian", 0.05), Question("gaussian")
    assert ask(lambda values, machines: [], "blind", step, 10).share == 0
    assert ask(lambda values, machines: [36], "off by four", step, 10).share == 0
    assert ask(lambda values, machines: [37, 10], "off by three", step, 10).share == 1
    assert ask(lambda values, machines: [3], "ghosts", none, 10).share == 1


@pytest.mark.parametrize("noise", NOISES)
def test_the_series_are_what_they_are_called(noise):
    values, machines = simulate(Question(noise, 0.05), 2000)
    before, after = np.median(values[:, :40:2]), np.median(values[:, 40::2])
    assert after / before == pytest.approx(1.05, abs=0.002)
    odd, even = values[:, 1:40:2], values[:, 0:40:2]
    assert np.median(odd) / np.median(even) == pytest.approx(1.03 if machines else 1.0, abs=0.002)
    flat = simulate(Question(noise), 2000)[0][:, ::2]
    spread = 1.4826 * np.median(np.abs(flat - np.median(flat)))
    assert spread == pytest.approx(0.01, rel=0.1)
    assert np.mean(flat > 1.045) == pytest.approx(0.05 if noise == "outliers" else 0, abs=0.003)
    neighbours = simulate(Question(noise), 2000)[0] - 1
    together = np.corrcoef(neighbours[:, 10], neighbours[:, 11])[0, 1]
    assert together == pytest.approx(0.7 if noise == "ar(0.7)" else 0.0, abs=0.07)


def test_online_sees_the_same_series_up_to_three_commits_after_the_step():
    whole, _machines = simulate(Question("two machines", 0.05), 3)
    known, machines = simulate(Question("two machines", 0.05, known_until=44), 3)
    assert known.shape == (3, 44)
    assert len(machines) == 44
    assert (known == whole[:, :44]).all()


def test_rivals_are_given_each_machine_apart():
    values, machines = simulate(Question("two machines", 0.10), 1)
    for name, detector in detectors(None).items():
        assert any(abs(place - 40) <= 3 for place in detector(values[0].tolist(), machines)), name


def test_an_interval_is_that_of_clopper_and_pearson():
    low, high = Answer("x", Question("gaussian"), 0, 1000).interval
    assert (low, high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 1000)))


def test_precision_and_recall_are_against_the_labels():
    answer = RealAnswer("x", [10, 15, 61, 99], [15, 70, 96], 10)
    assert (answer.hits, answer.recall, answer.precision) == (2, 2 / 3, 2 / 4)
    assert RealAnswer("x", [], [15], 10).precision is None


TEST_FILE = '''
def _get_series():
    """
    A drawing.
    +------>
      3  5    7
    """
    return [1, 2, 30, 4, 5, 6, 7, 8]
'''


def test_the_labels_are_read_from_otavas_test(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "tigerbeetle_test.py").write_text(TEST_FILE)
    history = tigerbeetle.labelled(tmp_path)
    assert (history.values[history.outlier], history.steps) == (30.0, [4, 6])
    (tmp_path / "tests" / "tigerbeetle_test.py").write_text("def other(): pass")
    with pytest.raises(tigerbeetle.Unavailable):
        tigerbeetle.labelled(tmp_path)


def test_the_study_shows_tables_and_json_and_says_what_it_cannot_fetch(monkeypatch, capsys):
    def unreachable(folder):
        raise tigerbeetle.Unavailable("no network")

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(tigerbeetle, "otava_sources", unreachable)
    monkeypatch.setattr(scorecard, "QUESTIONS", [Question("gaussian"), Question("gaussian", 0.10)])
    monkeypatch.setattr(scorecard, "OTHERS", {"60 commits, CV 5 %": [Question("ar(0.7)", cv=0.05)]})
    monkeypatch.setattr(sys, "argv", ["detectors", "--series", "5"])
    assert study.main() == 0
    out, err = capsys.readouterr()
    assert "cannot be fetched: no network" in err
    assert f"| {OURS} | gaussian | 0.0 [0.0 .. 52.2] | 100.0 [47.8 .. 100.0] |" in out
    assert "| 60 commits, CV 5 % | ar(0.7) |" in out
    result = json.loads(out.splitlines()[-1])
    assert {row["detector"] for row in result["exam"]} == set(detectors(None))
    assert "history" not in result


def test_the_command_examines_our_detector_alone(monkeypatch, capsys):
    monkeypatch.setattr(scorecard, "QUESTIONS", [Question("gaussian"), Question("gaussian", 0.10)])
    assert cli.main(["scorecard", "--series", "5"]) == 0
    out, _err = capsys.readouterr()
    assert f"| {OURS} | gaussian | 0.0 [0.0 .. 52.2] | 100.0 [47.8 .. 100.0] |" in out
    assert cli.main(["scorecard", "--series", "5", "--json"]) == 0
    assert {row["detector"] for row in json.loads(capsys.readouterr().out)["exam"]} == {OURS}


def test_a_bad_number_of_series_is_refused(capsys):
    assert cli.main(["scorecard", "--series", "0"]) == 2
    assert "--series is 0" in capsys.readouterr().err
