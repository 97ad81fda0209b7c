"""record.py: a record survives as a line, and a damaged line is refused."""

import json
import re
from pathlib import Path

import pytest
from rollout_bench.schema.record import ABSENT, MEASURED, Record, minute

ROOT = Path(__file__).resolve().parents[2]

WORKLOAD = {"name": "fixed", "batch": 1, "fingerprint": "f" * 12}


def measured() -> Record:
    return Record(
        path="zmq",
        preset="nano",
        tensor_parallel_size=2,
        workload={"name": "fixed", "batch": 8, "fingerprint": "f" * 12},
        status=MEASURED,
        metrics={"step_seconds": [1.0, 2.0]},
        observed={"executor": "an executor", "workers": [{"ray_actor": False}]},
        provenance={"commit": "abc"},
    )


class TestLines:
    @pytest.mark.parametrize(
        "record", [measured(), Record("ray", "nano", 1, WORKLOAD, ABSENT, "no Ray\nhere")]
    )
    def test_a_record_survives_as_one_line(self, record):
        line = record.to_json()
        assert "\n" not in line
        assert Record.from_json(line) == record

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            (measured().to_json()[:-5], "not JSON"),
            ("", "not JSON"),
            ("[]", "not an object"),
            ("null", "not an object"),
            ("{}", "a record of schema None; 1 is understood"),
            ('{"schema": 1}', "'path' is missing"),
            ({"schema": 2}, "a record of schema 2; 1 is understood"),
            ({"surplus": 1}, "a record has no 'surplus'"),
            ({"tensor_parallel_size": "2"}, "'tensor_parallel_size' is no whole number"),
            ({"status": "broken"}, "'status' is not one of measured, absent, failed"),
            ({"reason": 5}, "'reason' is no text"),
            (
                {"workload": {"name": "fixed", "batch": 8}},
                "the workload's 'fingerprint' is missing",
            ),
            ({"metrics": None}, "'metrics' is no object"),
            ({"metrics": {"step_seconds": 1.0}}, "the metrics' 'step_seconds' is no list of numbers"),
            ({"metrics": {"step_seconds": ["fast"]}}, "the metrics' 'step_seconds' is no list of numbers"),
            ({"observed": {"host": {"pinned": "no"}}}, "the host's 'pinned' is no truth value"),
            ({"provenance": {"versions": []}}, "the provenance's 'versions' is no object"),
            (
                {"provenance": {"machine": {"gpus": [0]}}},
                "the machine's 'gpus' is no list of objects",
            ),
        ],
    )
    def test_a_damaged_line_is_refused_and_says_why(self, line, says):
        whole = line if isinstance(line, str) else json.dumps(json.loads(measured().to_json()) | line)
        with pytest.raises(ValueError, match=f"^{re.escape(says)}"):
            Record.from_json(whole)

    def test_what_may_be_left_out_may_be_null_too(self):
        line = json.loads(measured().to_json()) | {"reason": None, "provenance": {"machine": {"gpus": None}}}
        assert Record.from_json(json.dumps(line)).provenance == {"machine": {"gpus": None}}

    def test_every_committed_record_is_read(self):
        """Records of before this schema was checked as a whole, of every kind of run that is kept."""
        read = 0
        for file in (ROOT / "results").glob("*/*/*.jsonl"):
            for line in file.read_text().splitlines():
                if "path" in json.loads(line):
                    read += bool(Record.from_json(line).path)
        assert read > 500


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("2026-01-01T00:30:59+00:00", "2026-01-01T00:30"),
        ("2026-01-01T00:30:00-08:00", "2026-01-01T08:30"),
        ("2026-01-01T00:30:00", "2026-01-01T00:30"),
        ("0001-01-01T00:00:00+14:00", ""),
        ("yesterday", ""),
        (None, ""),
    ],
)
def test_a_time_is_shown_in_utc_whatever_its_zone(given, shown):
    """The site writes UTC behind it."""
    assert minute(given) == shown
