"""Writes what documents say of records and metrics, from the code that defines them.

    python -m rollout_bench.report.reference    # in a checkout

docs/reference/record.schema.json is the JSON Schema of a record, and the table of metrics in
docs/glossary.md stands between two marks. A test says when either is not current. Takes pydantic, which
comes with vLLM.
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

SCHEMA, GLOSSARY = Path("docs/reference/record.schema.json"), Path("docs/glossary.md")
BEGIN = "<!-- made by `python -m rollout_bench.report.reference`: edit schema/metrics.py and run it -->"
END = "<!-- end of what is made -->"


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


def with_metrics(glossary: str) -> str:
    """The glossary with the table of metrics between its marks. Raises ValueError where it has none."""
    head, begin, rest = glossary.partition(f"{BEGIN}\n")
    _old, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{GLOSSARY} lacks the line {BEGIN!r} or {END!r}")
    return f"{head}{begin}\n{metrics_table()}\n\n{end}{tail}"


def main() -> int:
    """Write both, in the current directory."""
    SCHEMA.parent.mkdir(parents=True, exist_ok=True)
    SCHEMA.write_text(record_schema())
    GLOSSARY.write_text(with_metrics(GLOSSARY.read_text()))
    print(f"written: {SCHEMA}, {GLOSSARY}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
