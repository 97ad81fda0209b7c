"""The gate's exam with real engines: a change of a known size, planted into a copy of the system under test.

    python -m studies.planted none --tracked qwen2.5-0.5b --paths zmq --minutes 8 --folder exam
    python -m studies.planted driver --size 150 ...     # microseconds that the driver computes in each step
    python -m studies.planted worker --size 150 ...     # microseconds that the worker computes in each step
    python -m studies.planted kernel --size 600000 ...  # GPU cycles that a worker's step takes longer

It judges as `rollout-perf gate` does, without environments of asv's, which a host without a network makes
slowly: both builds are folders on the path of the Python that runs this. Verdicts, parts and records go into
the folder, and count there as history for the next one.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from rollout_bench.cli.gate_records import Records, at_once_argument, lanes_of
from rollout_bench.gate import report
from rollout_bench.gate.sessions import run_gate
from rollout_bench.gate.verdicts import Question
from rollout_bench.history.environments import Build, PythonBuild
from rollout_bench.history.noise import read_noise
from rollout_bench.measure.alone import alone
from rollout_bench.measure.sizing import at_once
from rollout_bench.measure.tracked import read_tracked
from rollout_bench.schema.metrics import EXACT
from rollout_bench.schema.record import now
from rollout_bench.stats.paired import THRESHOLD

ROOT = Path(__file__).resolve().parents[1]

_SAMPLED = "        return self._worker.sample_tokens(grammar_output) if output is None else output\n"

PLANTS = {
    "driver": (
        "transports/executor.py",
        "        message = encode()\n",
        "        while time.perf_counter() < begin + {size}e-6:\n            pass\n"
        "        message = encode()\n",
    ),
    "worker": (
        "transports/worker.py",
        _SAMPLED,
        "        import time\n\n        end = time.perf_counter() + {size}e-6\n"
        "        while time.perf_counter() < end:\n            pass\n" + _SAMPLED,
    ),
    "kernel": (
        "transports/worker.py",
        _SAMPLED,
        "        import torch\n\n        torch.cuda._sleep({size})\n" + _SAMPLED,
    ),
}
"""The file, what stands there, and what is put in its place."""


def plant(folder: Path, what: str, size: int) -> Path:
    """Copy the system under test into a folder, with a change."""
    shutil.copytree(ROOT / "rollout_perf", folder / "rollout_perf")
    if what in PLANTS:
        change(folder, what, size)
    return folder


def change(folder: Path, what: str, size: int) -> None:
    """Plant a change into the system under test that lies in a folder."""
    name, old, new = PLANTS[what]
    file = folder / "rollout_perf" / name
    text = file.read_text()
    assert text.count(old) == 1, f"{file} has changed: it has not {old!r} once"
    file.write_text(text.replace(old, new.format(size=size)))


def _build(name: str, folder: Path) -> Build:
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, "PYTHONPATH": path}
    return Build(name, name, folder.resolve(), sys.executable, variables, PythonBuild.of(sys.executable))


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Measure, judge, show; keep what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plant", choices=["none", *PLANTS])
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--tracked", default="nano")
    parser.add_argument("--paths", default="zmq")
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--minutes", type=float, default=8.0)
    at_once_argument(parser)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    engines = read_tracked(ROOT)[given.tracked]
    loads = [load for load in engines.workloads if not given.batch or load.batch in given.batch]
    exact = frozenset(EXACT)
    thresholds = {"step_seconds": THRESHOLD, **dict.fromkeys(sorted(exact), 0.0)}
    gates = given.folder.resolve() / "gates"
    gates.mkdir(parents=True, exist_ok=True)
    name = f"{now()[:19]}-{given.tracked}-{given.plant}-{given.size}".replace(":", "")
    noise = read_noise(gates.parent)
    question = Question(given.paths.split(","), thresholds, exact, given.minutes * 60, noise)
    builds = {
        build: _build(build, plant(gates.parent / "builds" / name / build, what, given.size))
        for build, what in (("base", "none"), ("head", given.plant))
    }
    lanes = lanes_of(given.at_once, engines, question)
    records = Records(builds, engines, loads, question, gates / f"{name}.jsonl", lanes)
    room = at_once(engines.preset, engines.tensor_parallel_size, engines.workloads, len(lanes))
    with alone(_say):
        outcome = run_gate(question, room, records.measure, _say, at_once=len(lanes))
    facts = {"base": "none", "head": given.plant, "machine": "this", "measured_at": now()}
    content = report.content(outcome, facts | {"command": " ".join(sys.argv), "notes": records.notes()})
    (gates / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    print(report.text(content))


if __name__ == "__main__":
    main()
