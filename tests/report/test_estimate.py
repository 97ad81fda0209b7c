"""Warnings travel with a value: from the record into every ratio that is made of it."""

import pytest
from rollout_bench.report.estimate import NOT_GATED, ONE_REPLICATE, Estimate, estimate_of, ratio
from rollout_bench.schema.record import MEASURED, Record


def record(**observed):
    metrics = {"step_seconds": [1.0, 2.0, 3.0], "wire_bytes": [100.0], "odd": [float("nan")]}
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
    ],
)
def test_a_record_says_what_must_be_known_of_its_values(observed, metric, warnings):
    assert estimate_of(record(**observed), metric).warnings == warnings


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
