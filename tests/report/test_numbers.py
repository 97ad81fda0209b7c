"""One formatter of numbers: units that read well, digits that mean something, never a false certainty."""

import math

import pytest
from rollout_bench.report import numbers
from rollout_bench.report.estimate import Estimate


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (2.5, "step_seconds", "2.50 s"),
        (0.0123, "step_seconds", "12.3 ms"),
        (0.000241, "p50_seconds", "241 µs"),
        (12, "wire_bytes", "12.0 B"),
        (1536, "wire_bytes", "1.50 KiB"),
        (3 * 1024**2, "host_peak_bytes", "3.00 MiB"),
        (1.0, "wire_calls", "1.00"),
        (0.3, "gpu_idle_share", "30.0 %"),
        (12.5, "beauty", "12.5"),
    ],
)
def test_units_read_well(value, name, text):
    assert numbers.quantity(value, name) == text


def test_an_interval_is_in_the_unit_of_its_value():
    assert numbers.interval(Estimate(0.9999, 0.9, 1.1), "step_seconds") == "1000 ms [900 .. 1100]"
    assert numbers.interval(Estimate(1.0, -math.inf, math.inf), "step_seconds") == "1.00 s"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        ((0.807, 0.712, 0.924), "0.81 [0.71 .. 0.92]"),
        ((0.9984, 0.9951, 1.0022), "0.9984 [0.9951 .. 1.0022]"),
        ((1.0449, 1.0211, 1.0702), "1.045 [1.021 .. 1.070]"),
        ((0.9, 0.899996, 0.900004), "0.90 [0.90 .. 0.90]"),  # no noise at all
        ((0.9, -math.inf, math.inf), "0.90"),
    ],
)
def test_a_ratio_has_the_decimals_that_its_interval_asks_for(ratio, text):
    assert numbers.interval(Estimate(*ratio)) == text
    assert numbers.interval(Estimate(*ratio), "control_ratio") == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (1.049, "+4.9 %"),
        (1.3, "+30.0 %"),
        (0.75, "−25.0 %"),
        (1.0, "+0.0 %"),
        (2.5, "+150 %"),
        (12.0, "> +999 %"),
    ],
)
def test_a_ratio_reads_as_a_change(ratio, text):
    assert numbers.change(ratio) == text


@pytest.mark.parametrize(("value", "text"), [(0.99259, "99.25 %"), (0.99999, ">99.99 %"), (0.95, "95 %")])
def test_a_confidence_is_never_rounded_up_to_certainty(value, text):
    assert numbers.confidence(value) == text
