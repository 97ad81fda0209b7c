"""report/answer.py: who leads, by how much, since when; and when it is too close to call."""

import pytest
from rollout_bench.history.results import Commit, read_results
from rollout_bench.report.answer import Group, answers, rank, sentence
from rollout_bench.report.estimate import Estimate
from rollout_bench.schema.metrics import METRICS, Metric
from simulated import write_records

GROUP = Group("box", "env", "nano", 1, "fixed")
A, B, C, D = (Commit(letter * 40, letter) for letter in "abcd")


def value(middle, spread=0.01):
    return Estimate(middle, middle - spread, middle + spread)


HISTORY = {
    A: {"zmq": value(0.9), "vllm-mp": value(1.0)},
    B: {"zmq": value(1.1), "vllm-mp": value(1.0)},
    C: {"zmq": value(0.8), "vllm-mp": value(1.0), "ray": value(0.81)},
    D: {"zmq": value(0.5), "vllm-mp": value(1.0), "ray": value(0.6)},
}


def test_the_lowest_median_leads_since_the_oldest_commit_of_its_run():
    answer = rank(GROUP, 8, HISTORY)
    assert [standing.path for standing in answer.standings] == ["zmq", "ray", "vllm-mp"]
    against = answer.standings[0].against_reference
    assert (against.middle, against.low, against.high) == pytest.approx((0.5, 0.49 / 1.01, 0.51 / 0.99))
    assert (answer.since, answer.commits, answer.before) == (C, 2, "vllm-mp")
    assert answer.level == []
    assert sentence(answer) == (
        "zmq is fastest: 500 ms [490 .. 510], 0.50 of vllm-mp, since cccccccc (2 commits); before it vllm-mp."
    )


def test_paths_whose_intervals_overlap_the_leaders_are_too_close_to_call():
    answer = rank(GROUP, 8, HISTORY, until=C)
    assert answer.level == ["ray"]
    assert sentence(answer).startswith("zmq leads: ")
    assert sentence(answer).endswith("Too close to call against ray: the intervals overlap.")


def test_where_the_reference_leads_the_next_one_is_named():
    answer = rank(GROUP, 8, HISTORY, until=B)
    assert "zmq takes 1.10 times as long" in sentence(answer)


def test_where_higher_is_better_the_highest_median_leads(monkeypatch):
    monkeypatch.setitem(METRICS, "tokens", Metric("", "tokens/s", "", better="higher"))
    answer = rank(GROUP, 8, HISTORY, metric="tokens")
    assert [standing.path for standing in answer.standings] == ["vllm-mp", "ray", "zmq"]
    assert (answer.since, answer.before, answer.level) == (C, "zmq", [])
    close = rank(GROUP, 8, {A: {"zmq": value(1.0), "ray": value(0.99)}}, metric="tokens")
    assert close.level == ["ray"]


def test_without_the_reference_there_is_no_ratio_and_without_values_no_answer():
    assert rank(GROUP, 8, {A: {"zmq": value(1)}}).standings[0].against_reference is None
    assert rank(GROUP, 8, {}) is None
    assert rank(GROUP, 8, HISTORY, until=Commit("e" * 40)) is None


def test_there_is_an_answer_for_each_group_and_batch(tmp_path):
    write_records(tmp_path, [A, B], batches=[1, 8], metrics=["step_seconds"])
    write_records(tmp_path, [A, B], batches=[8], metrics=["step_seconds"], workload="grpo")
    found = answers(read_results(tmp_path, [A, B]))
    assert [(one.group.workload, one.batch) for one in found] == [("fixed", 1), ("fixed", 8), ("grpo", 8)]
    assert {one.standings[0].path for one in found} == {"sync"}
    assert {one.commits for one in found} == {2}
