"""Tables say exactly what the records hold, fit 100 columns, and hide neither failed nor absent cases."""

import pytest
from rollout_bench.report.estimate import NOT_GATED, ONE_REPLICATE, WARNINGS
from rollout_bench.report.idle import interruption_table, sleep_table
from rollout_bench.report.rollouts import rollout_table
from rollout_bench.report.table import WIDTH
from rollout_bench.schema.record import Record

REASON = "the process ended with exit code 1; its last lines:\nTraceback (most recent call last):\n  boom"


def record(path, steps=(), status="measured", reason=None, batch=8, **more):
    """One of four sessions, of two rounds each but the last."""
    metrics = {"step_seconds": list(steps), "engine_step_seconds": [value / 32 for value in steps], **more}
    workload = {"name": "fixed", "fingerprint": f"f{batch}", "batch": batch, "output_tokens": 32}
    replicates = {"session": ["a", "b", "c", "d"], "rounds": [2, 2, 2, 1], "spoilt": [0] * 4}
    observed = {"engine_starts": 4, "counted": {"wire_bytes": 1}, "replicates": replicates}
    provenance = {"session": "a"}
    return Record(path, "nano", 1, workload, status, reason, metrics if steps else {}, observed, provenance)


SLOW = [0.50, 0.51, 0.52, 0.53, 0.54, 0.55, 0.56]
FAST = [0.40, 0.41, 0.42, 0.43, 0.44, 0.45, 0.46]


def test_every_record_is_a_row_and_the_reason_of_a_failed_one_is_shown_in_full():
    text = rollout_table(
        [
            record("sync", FAST),
            record("vllm-mp", SLOW),
            record("zmq", status="failed", reason=REASON),
            record("ray", status="absent", reason="ray not installed (pip install ray)"),
        ],
        "vllm-mp",
    )
    assert text.splitlines()[1:] == [
        "path     batch  step time [99 %]     tokens/s  engine step  ratio to vllm-mp [95 %]  replicates",
        "sync         8  430 ms [400 .. 460]       595      13.4 ms  0.812 [0.799 .. 0.826]            4",
        "vllm-mp      8  530 ms [500 .. 560]       483      16.6 ms  1                                 4",
        "zmq          8  failed: the process ended with exit code 1; its last lines:",
        "ray          8  absent: ray not installed (pip install ray)",
        "",
        "zmq failed:",
        "    the process ended with exit code 1; its last lines:",
        "    Traceback (most recent call last):",
        "      boom",
    ]


def test_a_path_is_compared_with_the_reference_at_its_own_batch():
    text = rollout_table(
        [
            record("vllm-mp", SLOW, batch=1),
            record("vllm-mp", FAST, batch=8),
            record("zmq", SLOW, batch=1),
            record("zmq", SLOW, batch=8),
        ],
        "vllm-mp",
    )
    assert [line.split("ms  ")[-1].split("  ")[0] for line in text.splitlines()[4:]] == [
        "1.00 [1.00 .. 1.00]",
        "1.231 [1.211 .. 1.252]",
    ]


def test_a_ratio_is_of_the_rounds_of_both_so_that_what_drifts_falls_out():
    """The host takes four times as long in the last session, and zmq 10 % longer in each round of any."""
    drifting = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.6]
    text = rollout_table(
        [record("vllm-mp", drifting), record("zmq", [1.1 * one for one in drifting])], "vllm-mp"
    )
    assert "  1.10 [1.10 .. 1.10]  " in text.splitlines()[3]


@pytest.mark.parametrize("apart", [True, False])
def test_without_the_reference_in_its_sessions_there_is_no_ratio(apart):
    """It was not measured, or in other sessions, as where a run was broken off and went on."""
    reference = record("vllm-mp", FAST)
    reference.observed["replicates"]["session"] = ["e", "f", "g", "h"]
    records = [reference] * apart + [record("zmq", FAST)]
    assert rollout_table(records, "vllm-mp").splitlines()[-1].split()[-3:] == ["13.4", "ms", "4"]


@pytest.mark.parametrize(("lock", "ratio"), [("l", "0.97 [0.97 .. 0.97]¹"), ("other", None)])
def test_paths_that_found_no_room_together_are_compared_over_the_control_of_both(lock, ratio):
    """Their sessions are others, and the host was slower in zmq's; its ratio to the control is 0.97 of that
    of vllm-mp."""
    records = []
    for path, steps, over, its in (("vllm-mp", FAST, 1.0, "l"), ("zmq", SLOW, 0.97, lock)):
        records.append(record(path, steps, control_ratio=[over] * 4))
        records[-1].observed["replicates"]["session"] = [f"{path} {number}" for number in range(4)]
        records[-1].observed["control"] = {"commit": "c", "lock": its, "metrics": {"step_seconds": steps}}
    row, *notes = rollout_table(records, "vllm-mp").splitlines()[3:]
    assert (f"ms  {ratio} " in row) == (ratio is not None)
    assert bool(notes) == (ratio is not None)


def test_a_metric_that_a_path_does_not_give_is_absent():
    text = rollout_table(
        [record("vllm-mp", SLOW), record("zmq", FAST, wire_bytes=[2048.0])], "vllm-mp", "wire_bytes"
    )
    assert text.splitlines()[1:] == [
        "path     batch  wire_bytes [99 %]  tokens/s  engine step  ratio to vllm-mp [95 %]  replicates",
        "vllm-mp      8  absent: this path does not give wire_bytes",
        "zmq          8  2.00 KiB                595      13.4 ms                                    4",
    ]


def test_what_is_counted_once_has_no_interval():
    records = [record(path, FAST, wire_bytes=[size] * 4) for path, size in (("vllm-mp", 2048), ("zmq", 1024))]
    *_titles, line = rollout_table(records, "vllm-mp", "wire_bytes").splitlines()
    assert line.split()[-5:] == ["595", "13.4", "ms", "0.50", "4"]


def test_no_line_is_wider_than_100_columns():
    long = "word " * 60
    text = rollout_table([record("zmq", status="failed", reason=long)], "vllm-mp")
    assert max(map(len, text.splitlines())) <= WIDTH


def test_a_warning_is_marked_at_each_value_and_said_once_below():
    """Both paths have one engine start; zmq's bytes were counted before that was exact."""
    records = [record(path, FAST, wire_bytes=[2048.0, 2050.0, 2048.0, 2050.0]) for path in ("vllm-mp", "zmq")]
    for one in records:
        one.observed["engine_starts"] = 1
        del one.observed["replicates"]
    records[1].observed["counted"].clear()
    _caption, *steps = rollout_table(records, "vllm-mp").splitlines()
    assert ["430 ms [400 .. 460]¹ " in line for line in steps[1:3]] == [True, True]
    assert steps[2].endswith(" 1.00")  # marked beside it already
    assert " ".join(line.strip() for line in steps[3:]) == f"¹ {WARNINGS[ONE_REPLICATE]}"
    _caption, *counts = rollout_table(records, "vllm-mp", "wire_bytes").splitlines()
    assert "2.00 KiB  " in counts[1]  # exact: the same at every start, and without an interval
    assert "]¹²" in counts[2]
    assert counts[3] == f"¹ {WARNINGS[NOT_GATED]}"


def test_what_was_interrupted_and_what_slept_have_tables_of_their_own():
    both = {"full_speed_seconds": [0.5, 0.7, 0.9], "recomputed_share": [0.25] * 3}
    paused = record("ray", FAST, quiet_seconds=[0.1], resume_seconds=[0.2], resent_share=[0.0], **both)
    slept = record("zmq", FAST, sleep_seconds=[2.0], freed_bytes=[3e9], wake_seconds=[1.5], **both)
    slept.metrics.update(update_seconds=[0.8], renewed_seconds=[4.0])
    assert interruption_table([paused, slept]).splitlines()[1:] == [
        "path  batch  until quiet  weights  goes on  full speed  sent again   twice",
        "ray       8       100 ms            200 ms      700 ms      0.00 %  25.0 %",
    ]
    assert sleep_table([paused, slept]).splitlines()[1:] == [
        "path  batch  to sleep     freed  to wake  weights  first step  full speed   twice",
        "zmq       8    2.00 s  2.79 GiB   1.50 s   800 ms      4.00 s      700 ms  25.0 %",
    ]
