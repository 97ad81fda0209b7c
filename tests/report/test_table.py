"""Tables say exactly what the records hold, fit 100 columns, and hide neither failed nor absent cells."""

import pytest
from rollout_bench.report import table
from rollout_bench.schema.record import Record

REASON = "the process ended with exit code 1; its last lines:\nTraceback (most recent call last):\n  boom"


def record(path, steps=(), status="measured", reason=None, batch=8, **more):
    metrics = {"step_seconds": list(steps), "engine_step_seconds": [value / 32 for value in steps], **more}
    workload = {"batch": batch, "output_tokens": 32}
    return Record(path, "nano", 1, workload, status, reason, metrics if steps else {})


SLOW = [0.50, 0.51, 0.52, 0.53, 0.54, 0.55, 0.56]
FAST = [0.40, 0.41, 0.42, 0.43, 0.44, 0.45, 0.46]


def test_every_record_is_a_row_and_the_reason_of_a_failed_one_is_told_in_full():
    text = table.rollout_table(
        [
            record("sync", FAST),
            record("vllm-mp", SLOW),
            record("zmq", status="failed", reason=REASON),
            record("ray", status="absent", reason="ray not installed (pip install ray)"),
        ],
        "vllm-mp",
    )
    assert text.splitlines() == [
        "path     batch  step time [99 %]     tokens/s  engine step  ratio to vllm-mp",
        "sync         8  430 ms [400 .. 460]       595     13.44 ms  0.81 [0.71 .. 0.92]",
        "vllm-mp      8  530 ms [500 .. 560]       483     16.56 ms  1",
        "zmq          8  failed: the process ended with exit code 1; its last lines:",
        "ray          8  absent: ray not installed (pip install ray)",
        "",
        "zmq failed:",
        "    the process ended with exit code 1; its last lines:",
        "    Traceback (most recent call last):",
        "      boom",
    ]


def test_a_path_is_compared_with_the_reference_at_its_own_batch():
    text = table.rollout_table(
        [
            record("vllm-mp", SLOW, batch=1),
            record("vllm-mp", FAST, batch=8),
            record("zmq", SLOW, batch=1),
            record("zmq", FAST, batch=8),
        ],
        "vllm-mp",
    )
    assert [line[-20:] for line in text.splitlines()[3:]] == [
        "  1.00 [0.89 .. 1.12]"[-20:],
        "  1.00 [0.87 .. 1.15]"[-20:],
    ]


def test_without_the_reference_there_is_no_ratio():
    assert table.rollout_table([record("zmq", FAST)], "vllm-mp").splitlines()[1].endswith("13.44 ms")


def test_a_metric_that_a_path_does_not_give_is_absent():
    text = table.rollout_table(
        [record("vllm-mp", SLOW), record("zmq", FAST, wire_bytes=[2048.0])], "vllm-mp", "wire_bytes"
    )
    assert text.splitlines() == [
        "path     batch  wire_bytes [99 %]  tokens/s  engine step  ratio to vllm-mp",
        "vllm-mp      8  absent: this path does not give wire_bytes",
        "zmq          8  2.00 KiB                595     13.44 ms",
    ]


def test_what_is_counted_once_has_no_interval():
    records = [record(path, FAST, wire_bytes=[value]) for path, value in (("vllm-mp", 2048), ("zmq", 1024))]
    *_titles, line = table.rollout_table(records, "vllm-mp", "wire_bytes").splitlines()
    assert line.split() == ["zmq", "8", "1.00", "KiB", "595", "13.44", "ms", "0.50"]


def test_no_line_is_wider_than_100_columns():
    long = "word " * 60
    text = table.rollout_table([record("zmq", status="failed", reason=long)], "vllm-mp")
    text += "\n" + table.pipe_table({"paths": {}, "absent": {"ray": long}, "failed": {"zmq": long}})
    assert max(map(len, text.splitlines())) <= table.WIDTH


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (2.5, "step_seconds", "2.50 s"),
        (0.0123, "step_seconds", "12.3 ms"),
        (0.000241, "p50_seconds", "241 µs"),
        (1536, "wire_bytes", "1.50 KiB"),
        (3 * 1024**2, "host_peak_bytes", "3.00 MiB"),
        (1.0, "wire_calls", "1.00"),
    ],
)
def test_units_read_well(value, name, text):
    assert table.quantity(value, name) == text


def cells(p50, p99):
    small, large = {"p50_seconds": p50, "p99_seconds": p99}, {"p50_seconds": 0.002, "p99_seconds": 0.01}
    return {"1048576": large, "64": small}  # as text they sort so


def test_the_pipe_has_a_row_a_payload_and_a_column_a_path():
    result = {
        "paths": {"zmq": cells(0.0002, 0.0006), "bare-zmq": cells(0.0001, 0.0003)},
        "absent": {"ray": "ray not installed (pip install ray)"},
        "failed": {"bare-ray": "RayError: gone\nmore of it"},
    }
    assert table.pipe_table(result).splitlines() == [
        "p50 / p99                zmq           bare-zmq",
        "64 B         200 µs / 600 µs    100 µs / 300 µs",
        "1 MiB      2.00 ms / 10.0 ms  2.00 ms / 10.0 ms",
        "",
        "ray  absent: ray not installed (pip install ray)",
        "",
        "bare-ray  failed: RayError: gone",
        "    RayError: gone",
        "    more of it",
    ]


def test_columns_that_do_not_fit_come_below():
    result = {"paths": {f"path-{n}": cells(0.0002, 0.0006) for n in range(6)}}
    lines = table.pipe_table(result).splitlines()
    assert len(lines) == 7
    assert max(map(len, lines)) <= table.WIDTH
