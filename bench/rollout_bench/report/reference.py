"""Writes what documents say of records and metrics, from the code that defines them.

    python -m rollout_bench.report.reference    # in a checkout

docs/reference/record.schema.json is the JSON Schema of a record, docs/reference/metrics.md has the metrics. A
test says when either is not current. Takes pydantic, which comes with vLLM.
"""

import json
import sys
from pathlib import Path
from typing import Any

from ..schema.metrics import METRICS, Metric
from ..schema.record import SCHEMA as VERSION
from ..schema.record import Record
from ..schema.shape import shapes
from .table import table

SCHEMA, METRICS_PAGE = Path("docs/reference/record.schema.json"), Path("docs/reference/metrics.md")
_MADE = "<!-- made by `make reference` from bench/rollout_bench/schema/metrics.py: edit that and run it -->"
_ABOUT = "Named as in records, asv and `--metric`; base units; words are in the [glossary](../glossary.md)."


def record_schema() -> str:
    """The JSON Schema of a record as it is written."""
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_schema(Record, "serialization")}
    made["additionalProperties"] = False
    made["properties"]["schema"]["const"] = VERSION
    made["required"].remove("entry")  # the local one is not written
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _schema(shape: type, mode: Any = "validation") -> dict[str, Any]:
    from pydantic import ConfigDict, TypeAdapter

    settings = ConfigDict(use_attribute_docstrings=True, json_schema_serialization_defaults_required=True)
    shape.__pydantic_config__ = settings  # type: ignore[attr-defined]
    made = TypeAdapter(shape).json_schema(mode=mode)
    made["description"] = shape.__doc__
    for name, inner in shapes(shape).items():
        field = made["properties"][name]
        described = {fact: field[fact] for fact in ("description",) if fact in field}
        made["properties"][name] = _schema(inner) | described
    return made


def metrics_table() -> str:
    """The metrics as a table in Markdown."""
    rows = [[f"`{name}`", one.title, one.unit, one.better, _meaning(one)] for name, one in METRICS.items()]
    return table(["metric", "called", "unit", "better", "meaning"], rows, markdown=True)


def _meaning(one: Metric) -> str:
    return "; ".join(filter(None, [one.meaning, one.note, "exact" if one.exact else ""]))


def metrics_page() -> str:
    """The page of metrics."""
    return f"# Metrics\n\n{_MADE}\n\n{_ABOUT}\n\n{metrics_table()}\n"


def main() -> int:
    """Write both, in the current directory."""
    SCHEMA.parent.mkdir(parents=True, exist_ok=True)
    SCHEMA.write_text(record_schema())
    METRICS_PAGE.write_text(metrics_page())
    print(f"written: {SCHEMA}, {METRICS_PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
