"""harness/metrics.py: the arithmetic, against figures computed by hand."""

import pytest

from benchmarks.harness.metrics import METRICS, Counts, RequestTimes, gather, percentile, rollout_metrics

HUNDRED = list(range(100, 0, -1))


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([15, 20, 35, 40, 50], 0.05, 15),  # the textbook's case of nearest rank
        ([15, 20, 35, 40, 50], 0.30, 20),
        ([15, 20, 35, 40, 50], 0.40, 20),
        ([15, 20, 35, 40, 50], 0.50, 35),
        ([15, 20, 35, 40, 50], 1.00, 50),
        ([3, 1, 2, 4], 0.50, 2),  # unsorted; of an even number the lower
        ([3, 1, 2, 4], 0.51, 3),
        ([7], 0.99, 7),
        ([7], 0.0, 7),
        (HUNDRED, 0.99, 99),
        (HUNDRED, 0.50, 50),
        ([*HUNDRED, 101], 0.99, 100),
        ([1, 2], 0.99, 2),
        (list(range(1, 51)), 0.14, 7),  # 0.14 * 50 is 7.000000000000001 in floating point
    ],
)
def test_percentile_is_the_nearest_rank(values, share, expected):
    assert percentile(values, share) == expected


def test_no_values_have_no_percentile():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


TWO = [RequestTimes(0.2, 1.2, 11), RequestTimes(0.4, 1.0, 4)]
"""Gaps of 1.0 / 10 = 0.1 and 0.6 / 3 = 0.2 seconds."""

COUNTS = Counts(
    engine_steps=4,
    engine_cpu_seconds=0.8,
    host_peak_bytes=1000,
    gpu_peak_bytes=77,
    wire_bytes=600,
    wire_calls=8,
)


def test_a_rollout_of_two_requests_by_hand():
    assert rollout_metrics(2.0, TWO, COUNTS) == pytest.approx(
        {
            "step_seconds": 2.0,
            "engine_step_seconds": 0.5,
            "output_token_seconds": 0.15,
            "first_token_p50_seconds": 0.2,
            "first_token_p99_seconds": 0.4,
            "latency_p99_seconds": 1.2,
            "wire_bytes": 150.0,
            "wire_calls": 2.0,
            "engine_cpu_seconds": 0.2,
            "host_peak_bytes": 1000,
            "gpu_peak_bytes": 77,
        }
    )


def test_what_a_path_cannot_tell_is_left_out_and_not_zero():
    metrics = rollout_metrics(2.0, TWO, Counts(engine_steps=4, engine_cpu_seconds=0.8, host_peak_bytes=1000))
    assert not metrics.keys() & {"wire_bytes", "wire_calls", "gpu_peak_bytes"}


def test_nothing_carried_is_zero_and_not_left_out():
    counts = Counts(engine_steps=4, engine_cpu_seconds=0.0, host_peak_bytes=0, wire_bytes=0, wire_calls=0)
    assert rollout_metrics(2.0, TWO, counts)["wire_bytes"] == 0


def test_single_tokens_have_no_time_between_two():
    assert "output_token_seconds" not in rollout_metrics(2.0, [RequestTimes(0.2, 0.2, 1)], COUNTS)


def test_every_metric_is_known_with_unit_and_meaning():
    assert set(rollout_metrics(2.0, TWO, COUNTS)) | {"engine_start_seconds"} == set(METRICS)
    for name, metric in METRICS.items():
        assert metric.unit in ("seconds", "bytes", "calls")
        assert name.endswith(metric.unit)
        assert metric.meaning


def test_samples_are_gathered_by_metric_in_the_order_of_rollouts():
    rollouts = [{"step_seconds": 3.0, "wire_bytes": 1}, {"step_seconds": 2.0, "wire_bytes": 1}]
    assert gather(rollouts) == {"step_seconds": [3.0, 2.0], "wire_bytes": [1, 1]}
