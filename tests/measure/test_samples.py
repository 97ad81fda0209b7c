"""samples.py: the arithmetic, against figures computed by hand."""

from dataclasses import replace

import pytest
from rollout_bench.measure import drive, samples
from rollout_bench.measure.samples import Counts, RequestTimes, gather, percentile, rollout_metrics
from rollout_bench.measure.timeline import stages
from rollout_bench.schema.metrics import METRICS

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
            "slowest_token_seconds": 0.2,
        }
    )


def test_what_a_path_cannot_measure_is_left_out_and_not_zero():
    metrics = rollout_metrics(2.0, TWO, Counts(engine_steps=4, engine_cpu_seconds=0.8, host_peak_bytes=1000))
    assert not metrics.keys() & {"wire_bytes", "wire_calls", "gpu_peak_bytes"}


def test_nothing_carried_is_zero_and_not_left_out():
    counts = Counts(engine_steps=4, engine_cpu_seconds=0.0, host_peak_bytes=0, wire_bytes=0, wire_calls=0)
    assert rollout_metrics(2.0, TWO, counts)["wire_bytes"] == 0


def test_single_tokens_have_no_time_between_two():
    assert "output_token_seconds" not in rollout_metrics(2.0, [RequestTimes(0.2, 0.2, 1)], COUNTS)


def done(*seconds: float) -> list[RequestTimes]:
    times = {"ways_seconds": (0.1, 0.1, 0.05, 0.1), "first_seen_seconds": 0.1}
    return [RequestTimes(0.1, 0.2, 2, one, **times) for one in seconds]


def test_the_tail_of_ten_samples_by_hand():
    """Nine are done within 5 s, the last after 8; the rollout's end is seen half a second later."""
    tail = rollout_metrics(8.5, done(8.0, *range(5, 0, -1), 1.0, 1.0, 1.0, 1.0), COUNTS)
    assert [tail[f"done_{percent}_seconds"] for percent in (50, 90, 99)] == [1.0, 5, 8.0]
    assert tail["tail_share"] == pytest.approx(3.5 / 8.5)


def test_the_slowest_sample_is_the_one_with_the_longest_time_between_two_tokens():
    slow, short = RequestTimes(1.0, 10.0, 4), RequestTimes(8.0, 9.0, 2)
    assert rollout_metrics(10.0, [slow, short], COUNTS)["slowest_token_seconds"] == 3.0


def test_without_the_time_of_every_sample_there_is_no_tail():
    assert not rollout_metrics(2.0, [*done(1.0), *TWO], COUNTS).keys() & {"done_50_seconds", "tail_share"}


def test_the_ways_of_two_requests_by_hand():
    """Medians, and CPU time for each request; without the times of every sample there are none."""
    ways = ((0.1, 0.3, 0.05, 1.0), (0.3, 0.4, 0.15, 2.0))
    there = [replace(one, ways_seconds=way) for one, way in zip(TWO, ways, strict=True)]
    counts = replace(COUNTS, caller_cpu_seconds=0.5, front_cpu_seconds=1.0, entry_bytes=300)
    metrics = rollout_metrics(2.0, there, counts)
    assert (metrics["to_front_seconds"], metrics["in_engine_seconds"]) == pytest.approx((0.1, 1.5))
    assert metrics["entry_bytes"] == 150
    names = ("way_in_seconds", "way_back_seconds", "caller_cpu_seconds", "front_cpu_seconds")
    assert [metrics[name] for name in names] == pytest.approx([0.2, 0.35, 0.25, 0.5])
    older = rollout_metrics(2.0, [replace(one, ways_seconds=one.ways_seconds[:2]) for one in there], COUNTS)
    assert older["way_back_seconds"] == pytest.approx(0.35)
    assert "to_front_seconds" not in older
    assert not rollout_metrics(2.0, [there[0], TWO[1]], COUNTS).keys() & {*names}


def test_when_the_caller_saw_the_first_tokens_of_what_streams():
    times = zip(TWO, (0.25, 0.5), strict=True)
    metrics = rollout_metrics(2.0, [replace(one, first_seen_seconds=seen) for one, seen in times], COUNTS)
    assert (metrics["first_seen_p50_seconds"], metrics["first_seen_p99_seconds"]) == (0.25, 0.5)
    assert "first_seen_p50_seconds" not in rollout_metrics(2.0, TWO, COUNTS)


def test_idle_time_of_a_gpu_by_hand():
    """Of 2 s the GPU ran its 4 steps for 1.5: it idles 0.125 s for each of them."""
    metrics = rollout_metrics(2.0, TWO, replace(COUNTS, gpu_busy_seconds=1.5))
    assert metrics["gpu_idle_share"] == 0.25
    assert metrics["gpu_idle_seconds"] == 0.125
    assert not any(name.startswith("worker_idle") for name in metrics)


def test_without_a_gpu_it_is_the_worker_that_idles():
    metrics = rollout_metrics(2.0, TWO, replace(COUNTS, worker_busy_seconds=0.5))
    assert metrics["worker_idle_share"] == 0.75
    assert metrics["worker_idle_seconds"] == 0.375
    assert not any(name.startswith("gpu_idle") for name in metrics)


@pytest.mark.parametrize(
    ("encode_seconds", "wait_seconds", "explained"),
    [
        (0.02, 0.3, 0.08),  # less waiting than the 0.375 s that the GPU computes in a step
        (0.02, 0.385, 0.09),  # 0.01 s more: on its way
        (0.2, 0.3, 0.125),
        (0.02, 0.9, 0.125),
    ],
)
def test_the_pipe_explains_what_it_does_and_carries_and_no_more_than_there_is(
    encode_seconds, wait_seconds, explained
):
    """0.02 s of each of its other three parts; idle are 0.125 s for each step."""
    wire = dict.fromkeys(samples._PIPE, 0.02)
    wire |= {"wire_encode_seconds": encode_seconds, "wire_wait_seconds": wait_seconds}
    idle = samples._idle(2.0, replace(COUNTS, gpu_busy_seconds=1.5), wire)
    assert idle["pipe_idle_seconds"] == pytest.approx(explained)


def test_what_is_busy_longer_than_the_step_does_not_idle_less_than_nothing():
    metrics = rollout_metrics(2.0, TWO, replace(COUNTS, gpu_busy_seconds=2.001))
    assert (metrics["gpu_idle_share"], metrics["gpu_idle_seconds"]) == (0.0, 0.0)


def test_the_share_above_the_roofline_and_that_of_prompts_not_cached():
    metrics = rollout_metrics(
        2.0, TWO, replace(COUNTS, floor_seconds=0.5, prompt_tokens=64, cached_tokens=48)
    )
    assert (metrics["roofline_gap_share"], metrics["prefix_miss_share"]) == (0.75, 0.25)


def test_what_turns_take_and_what_of_their_history_was_lost():
    """Later turns have 48 and 50 tokens of history: of blocks of 16 that is 32 and 48, since the last token
    of an answer is not computed. The cache had 60 of these 80."""
    requests = [
        RequestTimes(0.5, 4.0, 5, done_seconds=4.0, sent_seconds=0.0),
        RequestTimes(0.1, 1.0, 5, done_seconds=6.0, sent_seconds=5.0, history_tokens=48),
        RequestTimes(0.2, 2.0, 5, done_seconds=11.0, sent_seconds=9.0, history_tokens=50),
    ]
    metrics = rollout_metrics(
        11.0, requests, replace(COUNTS, cached_tokens=60, prompt_tokens=300, block_tokens=16)
    )
    assert (metrics["turn_p50_seconds"], metrics["turn_p99_seconds"]) == (2.0, 4.0)
    assert (metrics["later_first_token_p50_seconds"], metrics["later_first_token_p99_seconds"]) == (0.1, 0.2)
    assert metrics["history_miss_share"] == 0.25
    assert not {"tail_share", "done_50_seconds"} & metrics.keys()


EVERYTHING = replace(
    COUNTS,
    wire_seconds={f"wire_{name}": 0.4 for name in drive._WIRE_SECONDS},
    gpu_busy_seconds=1.0,
    worker_busy_seconds=1.0,
    preemptions=0,
    prompt_tokens=10,
    cached_tokens=0,
    stage_seconds={f"stage_{name}_seconds": 0.1 for name in stages([], [], [])},
    floor_seconds=1.0,
    caller_cpu_seconds=0.1,
    front_cpu_seconds=0.1,
    worker_cpu_seconds=0.4,
    entry_bytes=100,
    caller_lag_seconds=0.001,
    front_lag_seconds=0.002,
)
NOT_OF_A_ROLLOUT = {"engine_start_seconds", "control_ratio", "warm_up_share", "history_miss_share"}
NOT_OF_A_ROLLOUT |= {"quiet_seconds", "update_seconds", "resume_seconds", "resent_share", "recomputed_share"}
NOT_OF_A_ROLLOUT |= {"sleep_seconds", "wake_seconds", "freed_bytes", "renewed_seconds", "full_speed_seconds"}
NOT_OF_A_ROLLOUT |= {name for name in METRICS if name.startswith(("steady_", "turn_", "later_"))}


def test_every_metric_is_known_with_unit_and_meaning():
    assert set(rollout_metrics(2.0, done(1.0), EVERYTHING)) | NOT_OF_A_ROLLOUT == set(METRICS)
    for name, metric in METRICS.items():
        assert metric.unit in ("seconds", "bytes", "calls", "share", "preemptions", "ratio")
        assert name.endswith(metric.unit)
        assert metric.meaning


def test_what_the_pipe_spends_is_given_by_engine_step_and_explains_idle_time():
    metrics = rollout_metrics(2.0, done(1.0), EVERYTHING)
    assert metrics["wire_encode_seconds"] == metrics["wire_wait_seconds"] == 0.1  # 0.4 s in 4 engine steps
    assert metrics["pipe_idle_seconds"] == 0.25  # all of it: idle 1 s of 2, the pipe 0.4 s a step


def test_samples_are_gathered_by_metric_in_the_order_of_rollouts():
    rollouts = [{"step_seconds": 3.0, "wire_bytes": 1}, {"step_seconds": 2.0, "wire_bytes": 1}]
    assert gather(rollouts) == {"step_seconds": [3.0, 2.0], "wire_bytes": [1, 1]}


def test_a_metric_that_one_rollout_could_not_give_is_left_out():
    """A case's metrics have one sample a rollout, or none."""
    rollouts = [{"step_seconds": 3.0, "gpu_idle_share": 0.1}, {"step_seconds": 2.0}]
    assert gather(rollouts) == {"step_seconds": [3.0, 2.0]}
