"""pool.py: what several sessions measured of a case is one record."""

from dataclasses import replace

import pytest
from rollout_bench.measure.pool import pool, replicates_of
from rollout_bench.measure.tracked import fixed
from rollout_bench.schema.record import FAILED, MEASURED, Record

LOAD = fixed("nano", [1])[0].as_dict()


def record(step, ratio, status=MEASURED, reason=None):
    if status != MEASURED:
        return Record("zmq", "nano", 1, LOAD, status, reason)
    metrics = {"step_seconds": [step, step], "control_ratio": [ratio]}
    observed = {"engine_starts": 1, "rollouts": 2, "sut": "here"}
    observed["control"] = {"commit": "c", "lock": "l", "metrics": {"step_seconds": [1.0, 1.0]}}
    observed["host"] = {"rounds": {"load": [step, step]}, "spoilt": 1, "repeated": 2, "pinned": False}
    return Record("zmq", "nano", 1, LOAD, status, metrics=metrics, observed=observed)


def test_samples_of_all_replicates_are_there_and_a_failed_one_is_left_out():
    replicates = [[record(2.0, 1.1)], [record(0, 0, FAILED, "it broke")], [record(3.0, 1.2)]]
    [found] = pool(replicates)
    assert found.metrics == {"step_seconds": [2.0, 2.0, 3.0, 3.0], "control_ratio": [1.1, 1.2]}
    assert found.observed == {
        "engine_starts": 2, "rollouts": 4, "sut": "here", "replicates_left_out": ["it broke"],
        "control": {"commit": "c", "lock": "l", "metrics": {"step_seconds": [1.0] * 4}},
        "host": {"rounds": {"load": [2.0, 2.0, 3.0, 3.0]}, "spoilt": 2, "repeated": 4, "pinned": False},
    }  # fmt: skip


def test_one_replicate_is_as_it_was_and_what_none_has_is_as_the_last_left_it():
    alone, first, last = record(2.0, 1.1), record(0, 0, FAILED, "one"), record(0, 0, FAILED, "two")
    assert pool([[alone]]) == [alone]
    assert pool([[first], [last]]) == [last]


def test_a_pooled_record_is_taken_apart_by_session_as_it_was_put_together():
    apart = [
        replace(record(step, ratio), provenance={"session": session, "commit": "c"})
        for step, ratio, session in ((2.0, 1.1, "a"), (3.0, 1.2, "b"))
    ]
    apart[1].observed["control"]["metrics"] = {"step_seconds": [1.0, 2.0]}
    [both] = pool([[one] for one in apart])
    [whole] = pool([[both], [apart[0]]])  # as where more is measured later
    assert both.observed["replicates"] == {"session": ["a", "b"], "rounds": [2, 2], "spoilt": [1, 1]}
    for pooled, sessions in ((both, ["a", "b"]), (whole, ["a", "b", "a"])):
        found = replicates_of(pooled)
        assert [one.provenance["session"] for one in found] == sessions
        assert [one.metrics for one in found[:2]] == [one.metrics for one in apart]
        assert [one.observed["host"]["spoilt"] for one in found] == [1] * len(found)
        assert [one.observed["control"] for one in found[:2]] == [one.observed["control"] for one in apart]


@pytest.mark.parametrize(("starts", "count"), [(1, 1), (3, 0)])
def test_what_does_not_say_of_which_sessions_it_is_is_one_or_none(starts, count):
    one = record(2.0, 1.1)
    one.observed["engine_starts"] = starts
    assert replicates_of(one) == [one] * count
