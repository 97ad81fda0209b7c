"""pool.py: what several sessions measured of a case is one record."""

from dataclasses import replace

import pytest
from rollout_bench.measure.pool import link_sessions, pool, replicates_of
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
    assert both.observed["replicates"] == {
        "session": ["a", "b"], "rounds": [2, 2], "spoilt": [1, 1], "without": [[], []],
    }  # fmt: skip
    for pooled, sessions in ((both, ["a", "b"]), (whole, ["a", "b", "a"])):
        found = replicates_of(pooled)
        assert [one.provenance["session"] for one in found] == sessions
        assert [one.metrics for one in found[:2]] == [one.metrics for one in apart]
        assert [one.observed["host"]["spoilt"] for one in found] == [1] * len(found)
        assert [one.observed["control"] for one in found[:2]] == [one.observed["control"] for one in apart]


def test_a_replicate_without_the_control_or_a_metric_leaves_the_others_theirs():
    """Also where it is pooled again, with one that has a metric which no other had."""
    apart = [replace(record(1.0 + n, 1.0 + n), provenance={"session": str(n)}) for n in range(4)]
    del apart[1].observed["control"], apart[1].metrics["control_ratio"]
    apart[2].metrics["gpu_idle_seconds"] = [0.5, 0.6]
    apart[3].metrics["worker_seconds"] = [0.7, 0.8]
    [three] = pool([[one] for one in apart[:3]])
    [whole] = pool([[three], [apart[3]]])
    assert whole.metrics["control_ratio"] == [1.0, 3.0, 4.0]
    found = replicates_of(whole)
    assert [one.metrics for one in found] == [one.metrics for one in apart]
    assert [one.observed.get("control") for one in found] == [one.observed.get("control") for one in apart]


def test_a_previous_control_is_linked_by_every_session_that_has_both():
    """What is pooled again with a part of itself, as paths that share a session, has that once."""
    apart = [replace(record(1.0, 1.0), provenance={"session": str(number)}) for number in range(3)]
    for one, ratio in zip(apart[1:], ([1.1, 1.2], [0.9]), strict=True):
        one.observed["control"]["link"] = {"commit": "b", "lock": "l", "ratio": ratio}
    [both] = pool([[one] for one in apart])
    [whole] = pool([[both], [apart[1]]])
    for found in (both, whole):
        link = found.observed["control"]["link"]
        assert link == {"commit": "b", "lock": "l", "ratio": [1.1, 1.2, 0.9], "rounds": [2, 1]}
        assert link_sessions(link) == [(1.1, 1.2), (0.9,)]


@pytest.mark.parametrize(("starts", "count"), [(1, 1), (3, 0)])
def test_what_does_not_say_of_which_sessions_it_is_is_one_or_none(starts, count):
    one = record(2.0, 1.1)
    one.observed["engine_starts"] = starts
    assert replicates_of(one) == [one] * count
