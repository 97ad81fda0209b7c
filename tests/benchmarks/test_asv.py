"""asv over a history of three commits: one that cannot be built, one without an API, a good one.

The whole way, on a copy of this checkout: environment, wheel, engines, results, records, site.
"""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from asv.results import Results

ROOT = Path(__file__).resolve().parents[2]
MACHINE = "testbox"
BENCHMARKS = r"rollout\.Nano\.track_(step_seconds|control_ratio|wire_bytes)"
LEFT_OUT = (".*", "results", "html", "build", "dist", "*.egg-info", "__pycache__")
MEASURED = ("sync", "zmq", "ray")
OURS = ("zmq", "ray")
PATHS = [*MEASURED, "vllm-ray"]
"""A path of each kind but `vllm-mp`, which the control takes, and one that the machine does not have: all
engines of a session start at once."""

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> SimpleNamespace:
    """The repository after `asv run`, with the hashes of its commits by name."""
    folder = tmp_path_factory.mktemp("history")
    repository, home = folder / "repository", folder / "home"
    home.mkdir()
    shutil.copytree(ROOT, repository, ignore=shutil.ignore_patterns(*LEFT_OUT))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {
        "HOME": str(home),  # asv keeps ~/.asv-machine.json
        # Each has taken a process seconds to make: what vLLM knows of the model's class, pip's downloads.
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "ASV_PYTHONPATH": sysconfig.get_path("purelib"),
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "user.name",
        "GIT_CONFIG_VALUE_0": "Test",
        "GIT_CONFIG_KEY_1": "user.email",
        "GIT_CONFIG_VALUE_1": "test@localhost",
    }
    environment.pop("PYTHONPATH", None)

    def call(*command: str) -> str:
        done = subprocess.run(
            command,
            cwd=repository,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return f"{done.stdout}\nexit code {done.returncode}"

    def commit(name: str, **contents: str) -> None:
        originals = {path: (repository / path).read_text() for path in contents}
        for path, content in contents.items():
            (repository / path).write_text(content)
        # A commit of its own even where it restores what was there.
        (repository / "CHANGELOG.md").write_text(name)
        call("git", "add", "-A")
        call("git", "commit", "-q", "-m", name)
        commits[name] = call("git", "rev-parse", "HEAD").split()[0]
        for path, content in originals.items():
            (repository / path).write_text(content)

    commits: dict[str, str] = {}
    call("git", "init", "-q", "-b", "main")
    commit("broken", **{"setup.py": "raise SystemExit('this commit cannot be built')\n"})
    commit("without API", **{"rollout_perf/__init__.py": '"""Nothing here yet."""\n'})
    commit("good")

    def asv(*arguments: str) -> str:
        return call(sys.executable, "-m", "asv", *arguments)

    (repository / "control.toml").write_text(f"commits = ['{commits['good']}']\n")
    tracked = (repository / "tracked.toml").read_text()
    fewer = re.sub(r"(?<=^paths.default = ).*", str(PATHS), tracked, count=1, flags=re.MULTILINE)
    fewer = re.sub(r"(?<=batches = )\[1, 8\]", "[8]", fewer, count=1)
    assert fewer != tracked
    (repository / "tracked.toml").write_text(fewer)
    asv("machine", "--yes", "--machine", MACHINE)
    output = asv("run", "ALL", "--machine", MACHINE, "--bench", BENCHMARKS, "--record-samples")
    print(output)  # pytest shows it where a test fails
    return SimpleNamespace(
        folder=repository,
        home=home,
        commits=commits,
        asv=asv,
        output=output,
        results=repository / "results" / MACHINE,
    )


def results_of(history: SimpleNamespace, name: str) -> Results:
    [file] = history.results.glob(f"{history.commits[name][:8]}-*.json")
    return Results.load(str(file))


def values_of(results: Results, benchmark: str) -> dict[tuple[str, int], tuple]:
    """(value, samples) by path and batch."""
    paths, batches = results.get_result_params(benchmark)
    keys = [(path.strip("'"), int(batch)) for path in paths for batch in batches]
    values = results.get_result_value(benchmark, [paths, batches])
    samples = results.get_result_samples(benchmark, [paths, batches])
    return dict(zip(keys, zip(values, samples, strict=True), strict=True))


def records_of(history: SimpleNamespace, name: str) -> list[dict]:
    [file] = (history.results / "records").glob(f"{history.commits[name][:8]}-*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def absent(value: float | None) -> bool:
    return value is None or math.isnan(value)


def test_the_good_commit_has_numbers_with_samples_for_every_path(history):
    """At least 7 samples: asv cannot tell two sets of 6 from each other, however far apart."""
    values = values_of(results_of(history, "good"), "rollout.Nano.track_step_seconds")
    for (path, batch), (value, samples) in values.items():
        if path in MEASURED:
            assert 0 < value < 60, (path, batch)
            assert len(samples) >= 7, (path, batch)


def test_bytes_on_the_wire_are_known_where_the_transport_is_ours(history):
    values = values_of(results_of(history, "good"), "rollout.Nano.track_wire_bytes")
    for (path, batch), (value, _samples) in values.items():
        assert (path in OURS) != absent(value), (path, batch, value)


def test_every_case_has_a_ratio_to_the_control_of_its_own_session(history):
    """The control is the same commit here, over `vllm-mp`: of `zmq`, which has a worker process too, the
    ratio is near 1."""
    values = values_of(results_of(history, "good"), "rollout.Nano.track_control_ratio")
    for (path, batch), (value, _samples) in values.items():
        assert (path in MEASURED) != absent(value), (path, batch, value)
        if path == "zmq":
            assert 0.5 < value < 2
    for record in records_of(history, "good"):
        if record["status"] == "measured":
            assert record["observed"]["control"]["commit"] == history.commits["good"]


def test_what_the_machine_does_not_have_is_absent_and_the_record_says_why(history):
    values = values_of(results_of(history, "good"), "rollout.Nano.track_step_seconds")
    assert all(absent(value) for (path, _batch), (value, _samples) in values.items() if path == "vllm-ray")
    reasons = {r["path"]: r["reason"] for r in records_of(history, "good") if r["status"] != "measured"}
    assert reasons == {"vllm-ray": "vLLM's CPU platform refuses its Ray executor"}


def test_the_records_say_what_was_measured_of_which_commit(history):
    """What is measured is the commit's wheel in asv's environment, and neither this checkout nor HEAD's."""
    for record in records_of(history, "good"):
        assert record["provenance"]["commit"] == history.commits["good"]
        if record["status"] == "measured":
            assert ".asv/env" in record["observed"]["sut"]


def test_a_commit_without_api_has_absent_values_with_the_reason(history):
    values = values_of(results_of(history, "without API"), "rollout.Nano.track_step_seconds")
    assert all(absent(value) for value, _samples in values.values())
    records = records_of(history, "without API")
    assert {record["status"] for record in records} == {"absent"}
    assert all("no API to measure" in record["reason"] for record in records)


def test_a_commit_that_cannot_be_built_stops_nothing_and_has_no_record(history):
    assert "this commit cannot be built" in history.output
    assert not list((history.results / "records").glob(f"{history.commits['broken'][:8]}-*"))


def test_no_machine_file_outside_was_touched(history):
    assert (history.home / ".asv-machine.json").is_file()


def test_measuring_again_skips_what_is_there_and_starts_no_engine(history):
    """`make track` is run again after an interruption: what took minutes must not be done twice."""
    files = sorted((history.results / "records").iterdir())
    before = [(file, file.stat().st_mtime_ns) for file in files]
    begin = time.monotonic()
    history.asv("run", "ALL", "--machine", MACHINE, "--bench", BENCHMARKS, "--skip-existing")
    assert time.monotonic() - begin < 60
    after = [(file, file.stat().st_mtime_ns) for file in sorted((history.results / "records").iterdir())]
    assert after == before


def test_the_site_is_published_with_a_graph_for_each_path(history):
    output = history.asv("publish")
    assert output.endswith("exit code 0"), output
    graphs = [
        path
        for path in (history.folder / "html" / "graphs").rglob("rollout.Nano.track_step_seconds*")
        if path
    ]
    assert graphs
    index = json.loads((history.folder / "html" / "index.json").read_text())
    assert "rollout.Nano.track_step_seconds" in index["benchmarks"]
