"""The two wheels: what is measured is alone in its own, and both work in a folder that is no checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
MEASURED = {
    "__init__",
    "engine",
    "entries",
    "errors",
    "models",
    "presets",
    "replicas",
    "rollout",
    "surroundings",
    "transports",
    "versions",
}
"""What the system under test is made of: nothing that generates load, times, judges or shows."""


def build(project: Path, folder: Path) -> Path:
    """The wheel of a distribution, made from a copy, so that setuptools leaves nothing in the checkout."""
    source = folder / f"source-{project.name}"
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "results", "html", "tests", "docs")
    shutil.copytree(project, source, ignore=ignored)
    options = ["--wheel", "--no-build-isolation", "--offline", "--quiet", "--out-dir", str(folder)]
    subprocess.run([UV, "build", "--python", sys.executable, *options, str(source)], check=True)
    [wheel] = folder.glob(f"{'rollout_bench' if project.name == 'bench' else 'rollout_perf'}-*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("wheels")
    return [build(ROOT, folder), build(ROOT / "bench", folder)]


def test_the_measured_wheel_holds_the_system_under_test_and_nothing_else(wheels):
    names = [Path(name) for name in zipfile.ZipFile(wheels[0]).namelist()]
    tops = {name.parts[0] for name in names}
    assert tops == {"rollout_perf", next(top for top in tops if top.endswith(".dist-info"))}
    assert {
        name.parts[1].removesuffix(".py") for name in names if name.parts[0] == "rollout_perf"
    } == MEASURED
    assert not [name for name in names if name.name == "entry_points.txt"]


def test_the_other_wheel_holds_the_command_and_its_data(wheels):
    names = zipfile.ZipFile(wheels[1]).namelist()
    assert {Path(name).parts[0] for name in names if ".dist-info/" not in name} == {"rollout_bench"}
    for data in ("measure/data/gsm8k_lengths.json", "site/static/index.html", "site/npm/package.json"):
        assert f"rollout_bench/{data}" in names
    entry = zipfile.ZipFile(wheels[1]).read(next(name for name in names if name.endswith("entry_points.txt")))
    assert b"rollout-perf = rollout_bench.cli.main:main" in entry


@pytest.fixture(scope="module")
def anywhere(wheels, tmp_path_factory):
    """Runs the command in an environment that has both wheels, in an empty folder of its own."""
    place = tmp_path_factory.mktemp("anywhere")
    python = place / "venv" / "bin" / "python"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, place / "venv"], check=True)
    options = ["--no-deps", "--offline", "--quiet", "--python", python]
    subprocess.run([UV, "pip", "install", *options, *wheels], check=True)
    [packages] = (place / "venv").glob("lib/python*/site-packages")
    # What the locks name is there already. A folder on a .pth is not read for .pth files of its own, so the
    # checkout, which is installed in place there, is not seen.
    [theirs] = Path(sys.prefix).glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{theirs}\n")
    empty = place / "empty"
    empty.mkdir()

    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: str) -> subprocess.CompletedProcess:
        command = [str(python.with_name("rollout-perf")), *words]
        return subprocess.run(command, cwd=empty, env=variables, capture_output=True, text=True)

    where = "import rollout_bench as b, rollout_perf as p; print(b.__file__, p.__file__)"
    command = [python, "-c", where]
    origin = subprocess.run(command, cwd=empty, env=variables, capture_output=True, text=True, check=True)
    assert origin.stdout.count(str(packages)) == 2
    return run, empty, packages


@pytest.mark.parametrize("words", [["track"], ["gate", "main", "HEAD"]])
def test_what_measures_commits_says_in_a_line_that_it_needs_a_repository(anywhere, words):
    run, _empty, _packages = anywhere
    done = run(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "there is no checkout of rollout-perf" in done.stderr


@pytest.mark.parametrize("words", [["report", "newest"], ["detect"], ["publish"]])
def test_without_results_what_reads_them_says_where_it_looked(anywhere, words):
    run, empty, _packages = anywhere
    done = run(*words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"there is no folder {empty}/results" in done.stderr


def test_results_are_reported_judged_and_published(anywhere, tmp_path):
    run, empty, _packages = anywhere
    kept = tmp_path / "kept"
    shutil.copytree(ROOT / "results" / "h200-1x", kept / "h200-1x")
    shown = run("report", "newest", "--results", str(kept))
    assert (shown.returncode, "h200-1x" in shown.stdout) == (0, True), shown.stderr
    found = run("detect", "--results", str(kept), "--json")
    assert found.returncode == 0, found.stderr
    json.loads(found.stdout)
    made = run("publish", "--results", str(kept))
    assert made.returncode == 0, made.stderr
    assert "site: html/index.html" in made.stdout
    assert (empty / "html" / "index.html").is_file()
    shutil.rmtree(empty / "html")


def test_the_detector_is_examined(anywhere):
    run, _empty, _packages = anywhere
    done = run("scorecard", "--series", "2")
    assert (done.returncode, "| rollout-perf | gaussian |" in done.stdout) == (0, True), done.stderr


@pytest.mark.engine
@pytest.mark.timeout(400)
def test_paths_are_measured_compared_and_driven_to_their_limit(anywhere):
    """With real engines; what is measured is the installed wheel, which the worker of `zmq` must find too."""
    run, empty, packages = anywhere
    small = ["--preset", "nano", "--output-tokens", "4", "--json"]
    measured = run(
        "measure", "--path", "zmq", *small, "--batch", "1", "--rollouts", "1", "--output", "kept.jsonl"
    )
    assert measured.returncode == 0, measured.stderr
    [record] = json.loads(measured.stdout)["records"]
    assert record["observed"]["sut"] == str(packages / "rollout_perf")
    assert (empty / "kept.jsonl").is_file()
    few = ["--starts", "1", "--rounds", "2", "--warmups", "0"]
    compared = run("compare", "--reference", "sync", "--path", "sync", *small, "--batch", "1", *few)
    assert compared.returncode == 0, compared.stderr
    assert [row["path"] for row in json.loads(compared.stdout)["ratios"]] == ["sync"]
    found = run("limit", "--path", "sync", *small, "--max-batch", "1", "--rollouts", "1")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["limits"]["sync"]["knee"]["batch"] == 1


@pytest.mark.engine
def test_the_pipe_is_measured_alone(anywhere):
    run, _empty, _packages = anywhere
    done = run("pipe", "--path", "zmq", "--path", "bare-zmq", "--blocks", "7", "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["paths"]) == {"zmq", "bare-zmq"}
