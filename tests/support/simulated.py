"""Histories that nobody has measured, for tests and benchmarks of what reads results/.

    write_repository(folder, commits=1000)      # a git repository with that many commits
    write_records(folder / "results", commits)  # what the harness would have left of them
    write_asv(folder / "results", commits)      # and asv

Figures are made up, with noise from a seed; nothing here is ever committed under results/.
"""

import json
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rollout_bench.history.results import Commit, history
from rollout_bench.measure.workload import Workload
from rollout_bench.schema.record import MEASURED, Record, path_and_entry

ROOT = Path(__file__).resolve().parents[2]
MACHINE, ENVIRONMENT = "simulated-1x", "virtualenv-py3.12"
PATHS = {"sync": 1.0, "vllm-mp": 1.05, "vllm-ray": 1.12, "zmq": 1.02, "ray": 1.3}
SPLIT = {"wire_encode_seconds": 0.03, "wire_send_seconds": 0.02, "wire_wait_seconds": 0.75,
         "wire_receive_seconds": 0.02, "wire_decode_seconds": 0.03}  # fmt: skip
SHARES = {"gpu_idle_share": 0.3, "roofline_gap_share": 0.6, "tail_share": 0.3}
DONE = {"done_50_seconds": 0.45, "done_90_seconds": 0.7, "done_99_seconds": 0.93}
FEW = ("step_seconds", "engine_step_seconds", "engine_cpu_seconds", "wire_bytes", "host_peak_bytes")
STEPS = 128

Slower = Callable[[str, int, int], float]
"""Factor on the step time of a path, at a batch, at the commit of that number."""


def write_repository(folder: Path, commits: int) -> list[Commit]:
    """A repository with that many empty commits, a day apart; they are returned oldest first.

    Beside them is what asv.conf.json, copied into it, needs.
    """
    subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True)
    stream = []
    for number in range(commits):
        subject = f"change {number} of the transports"
        stream.append(
            f"commit refs/heads/main\ncommitter N <n@example.org> {1_700_000_000 + number * 86400} +0000\n"
            f"data {len(subject)}\n{subject}\n"
        )
    subprocess.run(
        ["git", "-C", str(folder), "fast-import", "--quiet"], input="".join(stream), text=True, check=True
    )
    (folder / "bench").symlink_to(ROOT / "bench")  # asv's plugin is there
    return history(folder)


def write_records(
    results: Path,
    commits: Sequence[Commit],
    batches: Sequence[int] = (1, 64, 256),
    paths: Mapping[str, float] = PATHS,
    metrics: Sequence[str] | None = None,
    workload: str = "fixed",
    slower: Slower = lambda path, batch, number: 1.0,
    versions: Callable[[int], dict[str, str]] = lambda number: {"vllm": "0.26.0", "ray": "2.60.0"},
    machine: str = MACHINE,
    gpu: bool = True,
    environment: str = ENVIRONMENT,
) -> None:
    """records/*.jsonl of every commit, and machine.json. `metrics` are those kept (default: all)."""
    folder = results / machine / "records"
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"machine": machine, "os": "Linux", "arch": "x86_64", "cpu": "simulated", "num_cpu": "16",
             "ram": "128 GiB", "version": 1}  # fmt: skip
    (results / machine / "machine.json").write_text(
        json.dumps(facts | ({"gpu": "none at all"} if gpu else {}))
    )
    draw = random.Random(0)
    loads = [Workload(prompts=batch, name=workload).as_dict() for batch in batches]
    for number, commit in enumerate(commits):
        lines = []
        for path, factor in paths.items():
            for load in loads:
                step = 0.2 * (1 + load["batch"] / 100) * factor * slower(path, load["batch"], number)
                values = simulated(draw, step, path in ("zmq", "ray"))
                kept = {name: values[name] for name in metrics or values if name in values}
                lines.append(_record(path, load, kept, commit, number, versions(number), gpu).to_json())
        name = f"{commit.hash[:8]}-{environment}-simulated.jsonl"
        with (folder / name).open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))


def write_session(
    results: Path,
    paths: Mapping[str, Sequence[float]],
    batch: int = 8,
    machine: str = MACHINE,
    day: str = "2026-01-02",
    name: str = "session",
    **record: Any,
) -> None:
    """A file of a session: by path the step time of each replicate, of which every round took the same."""
    load = Workload(prompts=batch).as_dict()
    observed = {"workers": [], "tokens_generated": load["tokens"], "vllm": "0.26.0", "engine": {}}
    provenance = {"measured_at": f"{day}T00:00:00+00:00", "commit": "a" * 40}
    lines = [
        Record(
            **{"path": path_and_entry(path)[0], "entry": path_and_entry(path)[1]}
            | {"preset": "simulated", "tensor_parallel_size": 1, "workload": load}
            | {"status": MEASURED, "metrics": {"step_seconds": [seconds] * 4}}
            | {"observed": observed, "provenance": provenance}
            | record
        ).to_json()
        for replicate in zip(*paths.values(), strict=True)
        for path, seconds in zip(paths, replicate, strict=True)
    ]
    folder = results / machine / "turns"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{day}-{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def simulated(draw: random.Random, step: float, ours: bool) -> dict[str, list[float]]:
    """Seven samples of every metric around a step time."""

    def some(value: float) -> list[float]:
        return [value * draw.gauss(1, 0.01) for _ in range(7)]

    values = {"step_seconds": some(step), "engine_step_seconds": some(step / STEPS)}
    values |= {name: some(share * step / STEPS) for name, share in SPLIT.items() if ours}
    values |= {name: some(share) for name, share in SHARES.items()}
    values |= {name: some(share * step) for name, share in DONE.items()}
    values |= {"gpu_idle_seconds": some(0.3 * step / STEPS), "engine_cpu_seconds": some(0.8 * step / STEPS)}
    values |= {"wire_bytes": [4632.0] * 7, "host_peak_bytes": some(3.5e9), "engine_start_seconds": [31.0]}
    return values


def _record(
    path: str, load: Any, values: Any, commit: Commit, number: int, versions: dict[str, str], gpu: bool
) -> Record:
    hardware = {"cpu": "simulated", "cores": 16, "python": "3.12.3"}
    if gpu:
        hardware["gpus"] = [{"name": "none at all", "driver": "580.1", "memory": "0 MiB"}]
    return Record(
        path,
        "simulated",
        1,
        load,
        MEASURED,
        metrics=values,
        observed={"engine_starts": 1, "tokens_generated": load["batch"] * STEPS, "executor": "none"}
        | ({} if gpu else {"absent": {"idle": "no CUDA here"}}),
        provenance={
            "commit": commit.hash,
            "command": "asv run",
            "measured_at": f"2026-01-01T{number // 60 % 24:02d}:{number % 60:02d}:00+00:00",
            "versions": versions,
            "machine": hardware,
        },
    )


def write_asv(
    results: Path,
    commits: Sequence[Commit],
    series: int,
    machine: str = MACHINE,
    slower: Callable[[int], float] = lambda number: 1.0,
    **facts: Any,
) -> None:
    """asv's own results and benchmarks.json: one benchmark with that many values. `facts` are more of it."""
    from asv.benchmarks import Benchmarks
    from asv.results import Results

    name = "rollout.Simulated.track_step_seconds"
    benchmark = {
        "name": name, "param_names": ["case"], "params": [[str(number) for number in range(series)]],
        "type": "track", "unit": "seconds", "version": "1", "code": "", "timeout": 60,
        "pretty_name": "step time", "setup_cache_key": None,
    } | facts  # fmt: skip
    (results / "benchmarks.json").write_text(json.dumps({name: benchmark, "version": Benchmarks.api_version}))
    known = json.loads((results / machine / "machine.json").read_text())
    parameters = {key: value for key, value in known.items() if key != "version"} | {"python": "3.12"}
    draw = random.Random(0)
    for number, commit in enumerate(commits):
        date = (1_700_000_000 + number * 86400) * 1000
        kept = Results(parameters, {}, commit.hash, date, "3.12", ENVIRONMENT, {})
        kept._results[name] = [draw.gauss(0.2, 0.002) * slower(number) for _ in range(series)]
        kept._benchmark_version[name] = benchmark["version"]
        kept._benchmark_params[name] = benchmark["params"]
        kept._started_at[name] = date
        kept._duration[name] = 1.0
        for column in (kept._samples, kept._stats):
            column[name] = [None] * series
        kept.save(str(results))
