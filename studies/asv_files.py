"""asv's own file of a commit, made of records that were measured without asv.

python -m studies.asv_files vllm-cuda h100-4x    # of all releases that a machine has measured
"""

import argparse
import ast
import importlib.util
import itertools
import json
import os
import platform
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from asv.results import Results
from asv.runner import BenchmarkResult
from rollout_bench import git
from rollout_bench.history.environments import find_commit
from rollout_bench.history.ledgers import find_ledger
from rollout_bench.measure.tracked import DEFAULT_SET, Tracked, read_tracked
from rollout_bench.schema import variables
from rollout_bench.schema.record import FAILED, Record, read_records

ROOT = Path(__file__).resolve().parents[1]


def write_machine(folder: Path, facts: dict[str, Any]) -> dict[str, str]:
    """asv's machine.json of a folder of results, made of a record's facts of its machine; its content."""
    gpus = facts.get("gpus") or []
    entry = {
        "arch": platform.machine(),
        "cpu": str(facts["cpu"]),
        "machine": folder.name,
        "num_cpu": str(facts["cores"]),
        "os": platform.system(),
        "ram": f"{facts['memory_bytes'] / 1024**3:.0f} GiB",
    } | ({"driver": gpus[0]["driver"], "gpu": f"{len(gpus)} x {gpus[0]['name']}"} if gpus else {})
    file = folder / "machine.json"
    if not file.exists():
        file.write_text(json.dumps(entry | {"version": 1}, indent=4) + "\n")
    content: dict[str, str] = json.loads(file.read_text())
    return content


def write_results(
    folder: Path,
    repository: Path,
    commit: str,
    environment: str,
    measured: Sequence[tuple[Tracked, Sequence[Record]]],
) -> None:
    """Write folder/COMMIT-ENVIRONMENT.json as `asv run --record-samples` would, from a commit's records,
    those of each table of tracked.toml.

    The benchmarks are those of results/benchmarks.json and their values what benchmarks/rollout.py makes of
    the records. What failed is without a value.
    """
    os.environ.setdefault(variables.SET, DEFAULT_SET)
    spec = importlib.util.spec_from_file_location("rollout", ROOT / "benchmarks" / "rollout.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    date = git.answer(repository, "log", "-1", "--format=%ct", given=[commit])
    assert date is not None, f"{repository} has no commit {commit}"
    machine = {name: its for name, its in _json(folder / "machine.json").items() if name != "version"}
    python = environment.rpartition("py")[2]
    params = machine | {"python": python}
    results = Results(params, {}, commit, int(date) * 1000, python, environment, {})
    benchmarks = _json(ROOT / "results" / "benchmarks.json")
    for tracked, records in measured:
        _add(results, benchmarks, module, tracked, records)
    results.save(str(folder.parent))


def _add(
    results: Results,
    benchmarks: Mapping[str, Any],
    module: ModuleType,
    tracked: Tracked,
    records: Sequence[Record],
) -> None:
    """The values of the benchmarks of a table."""
    cache: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.status != FAILED:
            cache[record.way].append(record)
    for name, benchmark in benchmarks.items():
        kind, _, method = name.removeprefix("rollout.").partition(".")
        if kind not in tracked.classes:
            continue
        own = getattr(module, kind)()
        combinations = itertools.product(*(map(ast.literal_eval, some) for some in benchmark["params"]))
        given = [getattr(own, method)(cache, *one) for one in combinations]
        samples = [one["samples"] if isinstance(one, dict) else None for one in given]
        number = [one["number"] if isinstance(one, dict) else None for one in given]
        values = [median(one["samples"]) if isinstance(one, dict) else one for one in given]
        done = BenchmarkResult(values, samples, number, 0, "", None)
        results.add_result(benchmark, done, record_samples=True)


def _json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def main() -> None:
    """Write the files of a ledger's releases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ledger")
    parser.add_argument("machine")
    given = parser.parse_args()
    ledger = find_ledger(ROOT, given.ledger)
    folder = ledger.results / given.machine
    by_release: dict[tuple[str, str], list[tuple[Tracked, list[Record]]]] = defaultdict(list)
    for tracked in read_tracked(ROOT).values():
        for file in sorted((folder / "records").glob(f"*-{tracked.name}.jsonl")):
            commit, _, environment = file.stem.removesuffix(f"-{tracked.name}").partition("-")
            by_release[commit, environment].append((tracked, read_records(file.read_text())))
    for (commit, environment), measured in by_release.items():
        write_results(folder, ledger.folder, find_commit(ledger.folder, commit), environment, measured)
    shutil.copy(ROOT / "results" / "benchmarks.json", ledger.results)


if __name__ == "__main__":
    main()
