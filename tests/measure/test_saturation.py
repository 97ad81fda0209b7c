"""saturation.py and its table: the knee, the most, and the reason, against figures computed by hand."""

from dataclasses import replace

import pytest
from rollout_bench.measure.saturation import Point, Search, find_limit, point, stop_reason
from rollout_bench.report.idle import idle_table, limit_lines, probe_lines, tail_table
from rollout_bench.report.saturation import saturation_table
from rollout_bench.schema.record import ABSENT, FAILED, MEASURED, Record


def record(batch, step_seconds, preemptions=0, status=MEASURED, reason=None, **metrics):
    """A rollout of 10 tokens for each sequence."""
    workload = {"batch": batch, "tokens": 10 * batch, "name": "fixed"}
    measured = {
        "step_seconds": [step_seconds] * 3,
        "latency_p99_seconds": [step_seconds * 0.9] * 3,
        "preemptions": [preemptions] * 3,
    }
    return Record(
        "zmq", "nano", 1, workload, status, reason, measured | metrics if status == MEASURED else {}
    )


def at(batch, tokens_per_second, preemptions=0):
    return Point(batch, tokens_per_second, 1.0, 1.0, preemptions)


def test_a_point_is_the_median_of_its_rollouts():
    mixed = record(8, 0)
    mixed.metrics.update(step_seconds=[3.0, 1.0, 2.0], latency_p99_seconds=[0.9, 0.7, 0.8])
    assert point(mixed) == Point(8, 40.0, 2.0, 0.8, 0)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([at(1, 100)], None),
        ([at(1, 100), at(2, 103)], None),  # 3 % is still worth it
        ([at(1, 100), at(2, 70)], None),  # a single one may be a busy host's
        ([at(1, 100), at(2, 70), at(4, 103), at(8, 105)], None),  # as it was: 4 is the knee
        (
            [at(1, 100), at(2, 102.9), at(4, 90)],
            "throughput grew by 2.9% to 2 and by −10.0% to 4 from batch 1, less than 3%",
        ),
        (
            [at(1, 100), at(2, 101.5), at(4, 102.9)],  # too little together, too
            "throughput grew by 1.5% to 2 and by 2.9% to 4 from batch 1, less than 3%",
        ),
        ([at(1, 100), at(2, 200, 1)], "the KV cache is full at batch 2: 1 sample was preempted"),
        ([at(1, 100), at(2, 200, 7)], "the KV cache is full at batch 2: 7 samples were preempted"),
    ],
)
def test_why_to_stop(points, reason):
    assert stop_reason(points) == reason


def test_the_search_ends_where_throughput_stops_growing():
    search = Search(60.0)
    ends = [
        search.end_reason(record(batch, step_seconds))
        for batch, step_seconds in [(1, 1.0), (2, 1.0), (4, 2.0), (8, 4.0)]
    ]
    assert ends[:3] == [None] * 3
    assert "grew by 0.0% to 4 and by 0.0% to 8" in ends[3]


def test_the_search_ends_at_its_deadline():
    """Which is of what its own rollouts take: others of the session have their turns between them."""
    search = Search(60.0)
    assert search.spend("fixed", 59.0) == 59.0
    search.spend("grpo", 20.0)
    assert search.end_reason(record(8, 1.0)) is None
    search.spend("fixed", 1.5)
    assert search.end_reason(record(16, 1.0)) == "the deadline of 60 s was over after batch 16"


def test_the_search_ends_where_a_batch_was_not_measured():
    failed = record(8, 0, status=FAILED, reason="out of memory at batch 8")
    assert Search(60.0).end_reason(failed) == "out of memory at batch 8"


def test_only_fixed_batches_are_searched_and_only_when_asked_to():
    grpo = record(8, 1.0)
    grpo.workload["name"] = "grpo"
    for search, one in ((Search(1.0), grpo), (Search(None), record(8, 1.0))):
        search.spend("fixed", 60.5)
        assert search.end_reason(one) is None


def test_the_knee_is_the_last_batch_that_paid():
    """10, 20, 36, 36.9, 32 tokens a second: 36.9 is 2.5 % more than 36, so the knee is before it."""
    rising = [record(1, 1.0), record(2, 1.0), record(4, 40 / 36), record(8, 80 / 36.9)]
    limit = find_limit([*rising, record(16, 5.0)])
    assert (limit.knee.batch, limit.best.batch) == (4, 8)
    assert limit.best.tokens_per_second == pytest.approx(36.9)
    assert limit.reason == "throughput grew by 2.5% to 8 and by −11.1% to 16 from batch 4, less than 3%"
    assert find_limit(rising).reason == "batch 8 is the largest that was asked for"


def test_paths_that_were_compared_at_several_batches_say_where_they_saturate():
    """10, 20 and 20.5 tokens a second, and 10, 20 and 40; two batches say nothing."""
    flat = [record(1, 1.0), record(2, 1.0), record(4, 40 / 20.5)]
    steep = [replace(record(batch, 1.0), path="zmq", entry="http") for batch in (1, 2, 4)]
    lines = saturation_table([*flat, *steep, replace(flat[0], path="ray")]).splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["at", "2", "yet"]
    assert lines[2].split()[:4] == ["zmq", "10.0", "20.0", "20.5"]
    assert lines[3].startswith("zmq@http")
    assert saturation_table(flat[:2]) == ""


def test_a_knee_after_a_lull_is_one():
    """10, 10 and 40 tokens a second, as one slow rollout of a shared host has it."""
    limit = find_limit([record(1, 1.0), record(2, 2.0), record(4, 1.0)])
    assert (limit.knee.batch, limit.best.batch) == (4, 4)


def test_memory_that_ran_out_is_an_answer():
    records = [
        record(1, 1.0),
        record(2, 1.0),
        record(4, 0, status=FAILED, reason="out of memory at batch 4: CUDA out of memory\nTraceback"),
        record(8, 0, status=ABSENT, reason="not tried: out of memory at batch 4"),
    ]
    limit = find_limit(records)
    assert (limit.knee.batch, limit.best.batch) == (2, 2)
    assert limit.reason == "out of memory at batch 4: CUDA out of memory"


def test_the_deadline_and_the_end_of_the_batches_are_reported():
    late = record(2, 0, status=ABSENT, reason="not tried: the deadline of 5 s was over after batch 1")
    assert find_limit([record(1, 1.0), late]).reason == "the deadline of 5 s was over after batch 1"
    assert find_limit([record(1, 1.0)]).reason == "batch 1 is the largest that was asked for"


def test_a_path_without_a_measured_batch_has_no_limit():
    records = [record(1, 0, status=ABSENT, reason="ray not installed")]
    assert find_limit(records) is None
    assert limit_lines("ray", None, records) == ["ray, nano, workload fixed absent: ray not installed"]


def test_the_table_of_a_limit():
    records = [record(1, 1.0), record(2, 1.0), record(4, 2.0), record(8, 8.0)]
    assert limit_lines("zmq", find_limit(records), records) == [
        "zmq, nano, workload fixed",
        "one batch after the other, growth over the one before; only sessions say which path is faster",
        "batch  tokens/s   growth  step time  latency p99  preempted",
        "    1      10.0              1.00 s       900 ms          0  ############",
        "    2      20.0   +100 %     1.00 s       900 ms          0  ########################",
        "    4      20.0   +0.0 %     2.00 s       1.80 s          0  ########################",
        "    8      10.0  −50.0 %     8.00 s       7.20 s          0  ############",
        "knee: batch 2, 20.0 tokens/s, latency p99 900 ms",
        "best: batch 2, 20.0 tokens/s, latency p99 900 ms",
        "stopped: throughput grew by 0.0% to 4 and by −50.0% to 8 from batch 2, less than 3%",
    ]


GPU = {"gpu_idle_share": [0.25], "gpu_idle_seconds": [0.0005], "pipe_idle_seconds": [0.0001]}
TAIL = {"done_50_seconds": [0.5], "done_90_seconds": [0.8], "done_99_seconds": [0.95], "tail_share": [0.2]}
ROLLOUTS = [
    record(
        1,
        1.0,
        **TAIL,
        **GPU,
        roofline_gap_share=[0.6],
        prefix_miss_share=[0.25],
        slowest_token_seconds=[0.02],
    ),
    record(2, 1.0, 3, worker_idle_share=[0.5], worker_idle_seconds=[0.001]),
    record(4, 0, status=FAILED, reason="broken"),
]


def test_the_table_of_tails():
    """A token each 20 ms is 50 a second."""
    assert tail_table(ROLLOUTS).splitlines()[1:] == [
        "path  batch  50 % done    90 %    99 %     all    tail  slowest  preempted  cached",
        "zmq       1     500 ms  800 ms  950 ms  1.00 s  20.0 %   50.0/s          0  75.0 %",
        "zmq       2     absent  absent  absent  1.00 s  absent   absent          3     off",
    ]


def test_the_table_of_idle_time():
    assert idle_table(ROLLOUTS).splitlines()[1:] == [
        "path  batch    busy    idle  idle a step  pipe <=  roofline",
        "zmq       1  75.0 %  25.0 %       500 µs   100 µs    40.0 %",
        "zmq       2  50.0 %  50.0 %      1.00 ms   absent    absent",
    ]


def test_where_nothing_was_measured_there_is_no_table():
    """That it was not, and why, is in the first one."""
    assert tail_table(ROLLOUTS[2:]) == idle_table(ROLLOUTS[2:]) == ""


def test_what_the_probe_costs_is_reported_in_pairs():
    """With it 1 % slower each time, whatever the rollout itself took."""
    off = [1.0, 2.0, 1.5, 1.0, 2.0, 1.5, 1.0]
    one = record(8, 1.0, engine_step_seconds=[0.002] * 3)
    one.observed["probe"] = {
        "off_step_seconds": off,
        "on_step_seconds": [value * 1.01 for value in off],
        "seconds_for_each_step": 5e-6,
    }
    assert probe_lines([one, record(2, 1.0)]) == [
        "zmq 8: the probe takes 5.00 µs of an engine step, 0.25 %; with it step times "
        "change by +1.0 % [+1.0 % .. +1.0 %]"
    ]
