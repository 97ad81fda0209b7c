"""What asv sees of benchmarks/ is pinned: another name, version, parameter or unit breaks its series off.

benchmarks.json beside this file is the list, and results/benchmarks.json is asv's own, which it writes anew
at every run: as it is committed, a run leaves a clone clean. Where a change is meant, write both anew:

    python tests/benchmarks/test_benchmark_list.py
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

from asv.benchmarks import Benchmarks
from asv.config import Config
from asv_runner.discovery import list_benchmarks

ROOT = Path(__file__).resolve().parents[2]
PINNED = Path(__file__).with_name("benchmarks.json")
FACTS = ("version", "unit", "param_names", "params", "pretty_name")


def benchmarks() -> list[dict[str, Any]]:
    """Every benchmark, as asv discovers it."""
    found = io.StringIO()
    list_benchmarks(str(ROOT / "benchmarks"), found)
    return json.loads(found.getvalue())


def write_asvs_own(folder: Path) -> None:
    """benchmarks.json as asv writes it in its folder of results."""
    settings = Config.load(str(ROOT / "asv.conf.json"))
    settings.results_dir = str(folder)
    Benchmarks(settings, benchmarks()).save()


def test_asv_sees_the_same_names_versions_units_and_parameters():
    pinned = json.loads(PINNED.read_text())
    found = {one["name"]: {fact: one[fact] for fact in FACTS} for one in benchmarks()}
    assert sorted(found) == sorted(pinned)
    assert {name: one for name, one in found.items() if one != pinned[name]} == {}


def test_a_run_of_asv_changes_nothing_that_is_committed(tmp_path):
    write_asvs_own(tmp_path)
    assert (tmp_path / "benchmarks.json").read_bytes() == (ROOT / "results" / "benchmarks.json").read_bytes()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    rows = sorted((one["name"], {fact: one[fact] for fact in FACTS}) for one in benchmarks())
    PINNED.write_text(
        "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in rows) + "\n}\n"
    )
    write_asvs_own(ROOT / "results")
