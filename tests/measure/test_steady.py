"""steady.py: where the warm-up ends, and what is so after it, by hand."""

import pytest
from rollout_bench.measure.samples import Counts, RequestTimes
from rollout_bench.measure.steady import NotSteady, produced, steady_metrics, warm_up

COUNTS = Counts(engine_steps=1, engine_cpu_seconds=0.0, host_peak_bytes=0)


@pytest.mark.parametrize(
    ("values", "left_out"),
    [
        ([10.0] * 8, 0),
        ([0.0, 5.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0], 2),
        ([10.0, 9.0, 11.0, 10.0, 9.0, 11.0, 10.0, 9.0], 0),  # noise is no warm-up
        ([0.0, 10.0, 9.0, 11.0, 10.0, 9.0, 11.0, 10.0], 1),
    ],
)
def test_the_first_values_are_left_out_as_long_as_that_narrows_the_mean(values, left_out):
    assert warm_up(values) == left_out


def test_what_still_changes_at_half_time_is_not_steady():
    with pytest.raises(NotSteady, match="still changing"):
        warm_up([float(one) for one in range(8)])


def test_tokens_of_a_request_come_at_even_distances_after_its_first():
    """Sent at 1 s, the first at 2, the fifth at 4."""
    request = [RequestTimes(1.0, 3.0, 5, sent_seconds=1.0)]
    assert [produced(request, at) for at in (0.0, 1.9, 2.0, 2.5, 3.0, 4.0, 9.0)] == [0, 0, 1, 2, 3, 5, 5]


def staggered(requests):
    """One each eighth of a second; its nine tokens come within a second, the first at once."""
    return [RequestTimes(0.0, 1.0, 9, sent_seconds=number / 8) for number in range(requests)]


def test_the_steady_state_begins_where_the_window_is_full_and_ends_with_the_last_request():
    """The last of 81 is sent after 10 s. From 1 s on eight are under way, with 8 tokens a second each, and
    eight first tokens come a second: 72. Two workers compute a half and a quarter of the time."""
    steps = [[(100 + number / 10 + 0.01, seconds) for number in range(110)] for seconds in (0.05, 0.025)]
    counts = Counts(1, 0.0, 0, gpu_busy_seconds=1.0, steps=steps)
    found = steady_metrics(staggered(81), 100.0, counts)
    assert found["warm_up_share"] == 0.1
    assert found["steady_token_seconds"] == pytest.approx(1 / 72)
    assert found["steady_gpu_idle_share"] == pytest.approx(1 - 0.375)
    assert (found["steady_first_token_p99_seconds"], found["steady_latency_p50_seconds"]) == (0.0, 1.0)
    assert not {name for name in steady_metrics(staggered(81), 0.0, COUNTS) if "idle" in name}


@pytest.mark.parametrize(
    ("requests", "says"),
    [
        ([RequestTimes(0.1, 1.0, 9, sent_seconds=0.0)] * 8, "all requests were sent at once"),
        ([RequestTimes(0.0, 100.0, 801, sent_seconds=one / 8) for one in range(81)], "still changing"),
        (staggered(12), "7 requests were sent"),
        (
            [RequestTimes(0.0, 9.0, 9, sent_seconds=float(one)) for one in (0, 0, 0, 9)],
            "4 requests were sent",
        ),
    ],
)
def test_too_few_requests_have_no_steady_state_and_say_so(requests, says):
    with pytest.raises(NotSteady, match=says):
        steady_metrics(requests, 0.0, COUNTS)
