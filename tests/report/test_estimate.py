"""Warnings travel with a value: from the record into every ratio that is made of it."""

import pytest
from rollout_bench.report.estimate import (
    BUSY_HOST,
    FEW_SAMPLES,
    NOT_GATED,
    OF_COMMIT,
    ONE_REPLICATE,
    Estimate,
    estimate,
    estimate_of,
    estimates_of,
    ratio,
)
from rollout_bench.schema.record import MEASURED, Record


def record(**observed):
    metrics = {"step_seconds": [1.0, 2.0, 3.0, 2.0], "wire_bytes": [100.0], "odd": [float("nan")]}
    load = {"name": "fixed", "batch": 8, "fingerprint": "f"}
    return Record("zmq", "nano", 1, load, MEASURED, metrics=metrics, observed=observed)


@pytest.mark.parametrize(
    ("observed", "metric", "warnings"),
    [
        ({"engine_starts": 1}, "step_seconds", (ONE_REPLICATE,)),
        ({}, "step_seconds", (ONE_REPLICATE,)),
        ({"engine_starts": 3}, "step_seconds", ()),
        ({"engine_starts": 1}, "wire_bytes", (NOT_GATED, ONE_REPLICATE)),
        ({"engine_starts": 3}, "wire_bytes", (NOT_GATED,)),
        ({"engine_starts": 1, "counted": {"wire_bytes": 800}}, "wire_bytes", ()),
        ({"engine_starts": 3, "host": {"spoilt": 0, "repeated": 4}}, "step_seconds", ()),
        ({"engine_starts": 3, "host": {"spoilt": 2}}, "step_seconds", (BUSY_HOST,)),
        ({"host": {"spoilt": 2}, "counted": {"wire_bytes": 800}}, "wire_bytes", ()),
    ],
)
def test_a_record_says_what_must_be_known_of_its_values(observed, metric, warnings):
    assert estimate_of(record(**observed), metric).warnings == warnings


def test_what_is_counted_exactly_has_no_interval():
    one = record(counted={"wire_bytes": 100})
    one.metrics["wire_bytes"] = [100.0] * 8
    assert not estimate_of(one, "wire_bytes").has_interval
    assert not ratio(estimate_of(one, "wire_bytes"), estimate_of(one, "wire_bytes")).has_interval
    assert estimate_of(one, "step_seconds").has_interval
    one.observed.clear()  # as before starts were gated
    assert estimate_of(one, "wire_bytes").has_interval


def test_a_ratio_has_the_warnings_of_both():
    one, other = (
        Estimate(2.0, 1.0, 3.0, (ONE_REPLICATE,)),
        Estimate(1.0, 0.5, 2.0, (NOT_GATED, ONE_REPLICATE)),
    )
    assert ratio(one, other) == Estimate(2.0, 0.5, 6.0, (ONE_REPLICATE, NOT_GATED))
    assert ratio(Estimate(1.0, 1.0, 1.0), Estimate(1.0, 1.0, 1.0)).warnings == ()


def test_what_is_no_number_is_no_value():
    assert estimate_of(record(), "odd") is None
    assert estimate_of(record(), "beauty") is None


@pytest.mark.parametrize(
    "samples", [[90.0, 90.8, 500.0, 91.0], [1.0, 1.0, 9.0, 1.1, 1.0], [0.0, 0.0, 0.0, 3.0]]
)
def test_an_interval_never_reaches_below_zero(samples):
    """A step time was shown as 90.8 ms [-28.61 .. 558], and a ratio as 0.85 [0.12 .. -4.00]."""
    value = estimate(samples)
    assert value.has_interval
    assert 0 <= value.low <= value.middle <= value.high
    assert (value.low > 0) == (min(samples) > 0)
    against = ratio(estimate([1.0, 1.1, 1.2, 1.3]), value)
    assert against is None if not value.middle else 0 < against.low < against.middle < against.high


def test_a_scale_changes_nothing_but_the_unit():
    one, thousand = estimate([1.0, 1.5, 1.1, 1.2]), estimate([1000.0, 1500.0, 1100.0, 1200.0])
    assert (thousand.low, thousand.high) == (pytest.approx(one.low * 1000), pytest.approx(one.high * 1000))


def test_what_was_measured_at_another_commit_says_so():
    one = record(counted={"wire_bytes": 100})
    one.provenance["of_commit"] = "a" * 40
    assert estimate_of(one, "step_seconds").warnings == (OF_COMMIT, ONE_REPLICATE)
    assert estimate_of(one, "wire_bytes").warnings == (OF_COMMIT,)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_samples_give_a_value_and_no_interval(count):
    value = estimate([2.0, 2.1, 1.9][:count])
    assert not value.has_interval
    assert value.warnings == ((FEW_SAMPLES,) if count > 1 else ())
    assert not ratio(estimate([1.0] * 7), value).has_interval


def test_of_many_records_each_value_is_what_it_is_alone():
    rows = [[], [float("nan"), 2.0], [3.0], [0.0] * 7, [0.0, 0.25, 0.5, 0.5, 0.125], [5.0, 3.0]]
    rows += [[1.0 + 0.01 * (7 * one % 5) for one in range(count)] for count in (4, 5, 7, 8, 12)]
    records = [
        Record("zmq", "nano", 1, {}, MEASURED, metrics={"tail_share": row}, observed={"engine_starts": place})
        for place, row in enumerate(rows)
    ]
    one_by_one = [estimate_of(one, "tail_share") for one in records]
    at_once = estimates_of(records, "tail_share")
    assert [one and one.warnings for one in at_once] == [one and one.warnings for one in one_by_one]
    assert [one and one.replicates for one in at_once] == [one and one.replicates for one in one_by_one]
    for one, alone in zip(at_once, one_by_one, strict=True):
        assert (one is None) == (alone is None)
        if one and alone:
            numbers = [(its.middle, its.low, its.high) for its in (one, alone)]
            assert numbers[0] == pytest.approx(numbers[1], rel=1e-12)
