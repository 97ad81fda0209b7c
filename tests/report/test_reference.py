"""What documents say of records and metrics is what the code says, and the schema is right about records."""

import json
from pathlib import Path

import pytest
from rollout_bench.report import reference
from rollout_bench.schema.metrics import METRICS

ROOT = Path(__file__).resolve().parents[2]


def test_the_schema_in_the_documents_is_current():
    pytest.importorskip("pydantic")
    made = reference.record_schema()
    assert (ROOT / reference.SCHEMA).read_text() == made, "run `python -m rollout_bench.report.reference`"


def test_the_page_of_metrics_is_current():
    page = (ROOT / reference.METRICS_PAGE).read_text()
    assert page == reference.metrics_page(), "run `make reference`"
    assert all(f"| `{name}` | {one.title} | {one.unit} |" in page for name, one in METRICS.items())


def test_every_committed_record_is_valid_by_the_schema_in_the_documents():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / reference.SCHEMA).read_text())
    validator = jsonschema.Draft202012Validator(schema)
    lines = [
        json.loads(line)
        for file in (ROOT / "results").glob("*/*/*.jsonl")
        for line in file.read_text().splitlines()[:5]
    ]
    records = [line for line in lines if "path" in line]
    assert len(records) > 50
    assert [error.message for one in records for error in validator.iter_errors(one)] == []
    for damaged in (
        {"status": "broken"},
        {"workload": {"name": "fixed"}},
        {"surplus": 1},
        {"metrics": {"x": 1}},
    ):
        assert not validator.is_valid(records[0] | damaged)
