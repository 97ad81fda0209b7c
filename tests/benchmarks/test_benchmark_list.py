"""What asv sees of benchmarks/ is pinned: another name, version, parameter or unit breaks its series off.

benchmarks.json beside this file is the list. Where a change is meant, write it anew:

    python tests/benchmarks/test_benchmark_list.py > tests/benchmarks/benchmarks.json
"""

import json
from pathlib import Path
from typing import Any

from asv_runner.discovery import disc_benchmarks

ROOT = Path(__file__).resolve().parents[2]
PINNED = Path(__file__).with_name("benchmarks.json")


def benchmarks() -> dict[str, dict[str, Any]]:
    """Every benchmark by its name, as asv discovers it."""
    return {
        one.name: {
            "version": one.version,
            "unit": one.unit,
            "param_names": one.param_names,
            "params": one.params,
            "pretty_name": one.pretty_name,
        }
        for one in disc_benchmarks(str(ROOT / "benchmarks"))
    }


def test_asv_sees_the_same_names_versions_units_and_parameters():
    pinned, found = json.loads(PINNED.read_text()), benchmarks()
    assert sorted(found) == sorted(pinned)
    assert {name: one for name, one in found.items() if one != pinned[name]} == {}


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(ROOT))
    lines = [f"{json.dumps(name)}: {json.dumps(one)}" for name, one in sorted(benchmarks().items())]
    print("{\n" + ",\n".join(lines) + "\n}")
