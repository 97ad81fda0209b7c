"""The pipe alone as text: rows are payloads, columns paths, and what is missing has its reason."""

from rollout_bench.report.pipe import pipe_table
from rollout_bench.report.table import WIDTH


def percentiles(p50, p99):
    small, large = {"p50_seconds": p50, "p99_seconds": p99}, {"p50_seconds": 0.002, "p99_seconds": 0.01}
    return {"1048576": large, "64": small}  # as text they sort so


def test_the_pipe_has_a_row_a_payload_and_a_column_a_path():
    result = {
        "paths": {"zmq": percentiles(0.0002, 0.0006), "bare-zmq": percentiles(0.0001, 0.0003)},
        "absent": {"ray": "ray not installed (pip install ray)"},
        "failed": {"bare-ray": "RayError: gone\nmore of it"},
    }
    assert pipe_table(result).splitlines()[1:] == [
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
    result = {"paths": {f"path-{n}": percentiles(0.0002, 0.0006) for n in range(6)}}
    lines = pipe_table(result).splitlines()
    assert len(lines) == 8
    assert max(map(len, lines)) <= WIDTH


def test_no_line_is_wider_than_100_columns():
    long = "word " * 60
    text = pipe_table({"paths": {}, "absent": {"ray": long}, "failed": {"zmq": long}})
    assert max(map(len, text.splitlines())) <= WIDTH


def test_what_is_null_is_as_if_left_out():
    """As JSON of somebody else has it; what is read may be null wherever it may be missing."""
    assert pipe_table({"paths": {}, "absent": None, "failed": None}) == ""
