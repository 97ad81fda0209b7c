"""record.py: a record survives as a line, and a damaged line is refused."""

import json

import pytest
from rollout_bench.schema.record import ABSENT, MEASURED, Record

RECORD = Record(
    path="zmq",
    preset="nano",
    tensor_parallel_size=2,
    workload={"batch": 8, "fingerprint": "f" * 12},
    status=MEASURED,
    metrics={"step_seconds": [1.0, 2.0]},
    observed={"executor": "an executor", "workers": [{"ray_actor": False}]},
    provenance={"commit": "abc"},
)


class TestLines:
    @pytest.mark.parametrize(
        "record", [RECORD, Record("ray", "nano", 1, {"batch": 1}, ABSENT, "no Ray\nhere")]
    )
    def test_a_record_survives_as_one_line(self, record):
        line = record.to_json()
        assert "\n" not in line
        assert Record.from_json(line) == record

    @pytest.mark.parametrize(
        "line",
        [
            RECORD.to_json()[:-5],
            "",
            "[]",
            "null",
            "{}",
            '{"schema": 1}',
            json.dumps(json.loads(RECORD.to_json()) | {"schema": 2}),
            json.dumps(json.loads(RECORD.to_json()) | {"surplus": 1}),
        ],
    )
    def test_a_damaged_line_is_refused(self, line):
        with pytest.raises(ValueError):
            Record.from_json(line)
