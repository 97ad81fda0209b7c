"""What a command needs after it has measured is checked before: nothing is measured and then lost."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rollout_bench.cli import main as cli
from rollout_bench.history import asv_runs, environments
from rollout_bench.measure import machine as harness_machine
from rollout_bench.measure.labels import LABELS
from simulated import write_repository

ROOT = Path(__file__).resolve().parents[2]
MEASURING = ["measure", "limit", "compare"]
PATH = ["--path", "zmq"]


@pytest.fixture(autouse=True)
def nothing_starts(tmp_path, monkeypatch):
    """Each of these is refused before an engine, an environment or asv starts."""

    def started(*_arguments, **_keywords):
        raise AssertionError("started")

    for command in ("measure", "limit"):
        monkeypatch.setattr(f"rollout_bench.cli.{command}.measure_cases", started)
    monkeypatch.setattr("rollout_bench.cli.compare.run_session", started)
    monkeypatch.setattr(environments, "build", started)
    monkeypatch.setattr(asv_runs, "run_asv", started)
    monkeypatch.setattr(harness_machine, "gpus", list)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # for reports of a crash


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    folder = tmp_path / "repository"
    write_repository(folder, 3)
    (folder / "benchmarks").mkdir()
    for name in ("asv.conf.json", "tracked.toml"):
        shutil.copy(ROOT / name, folder)
    monkeypatch.chdir(folder)
    return folder


def refused(words, capsys):
    """The one line with which a command refuses."""
    assert cli.main(words) == 2, capsys.readouterr().err
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()[-1]


@pytest.mark.parametrize("command", [*MEASURING, "track"])
def test_what_a_table_needs_is_there_before(command):
    """asv_runner computes the intervals of every table."""
    hidden = (
        "import sys; sys.modules['asv_runner'] = None\n"
        "from rollout_bench.cli.main import main; sys.exit(main())"
    )
    words = [command, "no-such-range"] if command == "track" else [command, "--path", "carrier-pigeon"]
    done = subprocess.run([sys.executable, "-c", hidden, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("rollout-perf: asv_runner"), done.stderr
    assert "is not installed here" in done.stderr


@pytest.mark.parametrize("command", MEASURING)
def test_a_path_without_a_label_is_refused(command, monkeypatch, capsys):
    others = {path: label for path, label in LABELS.items() if path != "zmq"}
    monkeypatch.setattr("rollout_bench.cli.options.LABELS", others)
    line = refused([command, *PATH], capsys)
    assert line.startswith("rollout-perf: the path 'zmq' has no label")
    assert "rollout_bench/measure/labels.py" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["measure", "--path", "sync", "--nodes", "spread"], "nodes go with vllm-mp, zmq, ray, ray-graph"),
        (
            ["compare", *PATH, "--reference", "sync", "--nodes", "left,right"],
            "the path 'sync' has its workers",
        ),
        (["measure", *PATH, "--nodes", "left,right"], "nodes is ['left', 'right'], and RAY_ADDRESS names no"),
        (["measure", *PATH, "--replicas", "2", "--nodes", "spread"], "neither another system nor replicas"),
        (["measure", *PATH, "--timeline", "--nodes", "spread"], "one clock on one host alone"),
        (["measure", *PATH, "--nodes", "left,,right"], "give 'pack', 'spread' or a list of nodes"),
    ],
)
def test_nodes_that_cannot_be_had_are_refused(words, said, monkeypatch, capsys):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    line = refused(words, capsys)
    assert line.startswith("rollout-perf: --")
    assert said in line


@pytest.mark.parametrize("command", MEASURING)
def test_vllm_is_there_before(command, monkeypatch, capsys):
    find = cli.importlib.util.find_spec
    monkeypatch.setattr(
        cli.importlib.util, "find_spec", lambda name, *rest: None if name == "vllm" else find(name, *rest)
    )
    assert "vLLM is not installed" in refused([command, *PATH], capsys)


@pytest.mark.parametrize("command", MEASURING)
@pytest.mark.parametrize("text", ["a letter\n", '{"mine": 1}\n', b"\xff\xfe"])
def test_a_file_of_something_else_takes_no_records(text, command, tmp_path, capsys):
    file = tmp_path / "mine.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = file.read_bytes()
    assert "holds something else than records" in refused([command, *PATH, "--output", str(file)], capsys)
    assert file.read_bytes() == before


@pytest.mark.parametrize("command", MEASURING)
def test_an_output_that_cannot_be_written_is_refused(command, tmp_path, capsys):
    for file in (tmp_path / "gone" / "out.jsonl", tmp_path):
        assert "cannot be written" in refused([command, *PATH, "--output", str(file)], capsys)


def test_an_output_is_not_left_by_a_command_that_is_refused(tmp_path, monkeypatch, capsys):
    file = tmp_path / "out.jsonl"
    for command in MEASURING:
        assert cli.main([command, *PATH, "--output", str(file)]) == 3  # "started"
        assert "AssertionError: started" in capsys.readouterr().err
        assert not file.exists()


def test_a_folder_for_traces_that_cannot_be_made_is_refused(tmp_path, capsys):
    (tmp_path / "file").touch()
    words = ["measure", *PATH, "--profile", str(tmp_path / "file" / "traces")]
    assert "--profile is" in refused(words, capsys)


@pytest.mark.parametrize("option", ["--summary", "--junit"])
def test_a_verdict_that_cannot_be_written_is_refused(option, checkout, capsys):
    """The kernel lets nobody make a file in /proc, root included."""
    line = refused(["gate", "HEAD~1", "HEAD", option, "/proc/verdict"], capsys)
    assert f"{option} is '/proc/verdict', which cannot be written" in line


@pytest.mark.parametrize("words", [["gate", "HEAD~1", "HEAD"], ["track", "--no-publish"]])
def test_results_that_cannot_be_written_are_refused(words, checkout, capsys):
    (checkout / "results").write_text("a file")
    line = refused(words, capsys)
    assert str(checkout / "results") in line
    assert "cannot be written" in line


@pytest.mark.parametrize(("name", "ignored"), [("cpu-box", True), ("h100-9x", False)])
@pytest.mark.parametrize("words", [["gate", "HEAD~1", "HEAD"], ["track", "--no-publish"]])
def test_results_that_git_ignores_are_said(words, name, ignored, checkout, capsys):
    """Neither is there yet, and .gitignore names folders."""
    shutil.copy(ROOT / ".gitignore", checkout)
    assert cli.main([*words, "--machine", name]) == 3  # started
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("git ignores")]
    assert [f"{checkout}/results/{name}" in line for line in said] == [True] * ignored


@pytest.mark.parametrize("words", [["gate", "HEAD~1", "HEAD"], ["track", "--no-publish"]])
def test_a_broken_file_of_machines_is_named(words, checkout, tmp_path, capsys):
    (tmp_path / "home" / ".asv-machine.json").write_text("{broken")
    line = refused(words, capsys)
    assert str(tmp_path / "home" / ".asv-machine.json") in line
    assert "mend it or move it away" in line


TABLE = """
[nanoo]
flavour = "cpu"
preset = "nanoo"
paths.default = ["zmq"]
classes.Typo = { workload = "fixed", batches = [8] }
"""


@pytest.mark.parametrize(
    "words", [["gate", "HEAD~1", "HEAD", "--tracked", "nanoo"], ["track", "--no-publish"]]
)
def test_a_table_without_its_model_is_refused(words, checkout, capsys):
    """It was "absent: this commit has no preset 'nanoo'" at every commit, and exit code 0."""
    file = checkout / "tracked.toml"
    before = file.read_text()
    file.write_text(before + TABLE)
    line = refused(words, capsys)
    assert line.startswith("rollout-perf: tracked.toml: [nanoo]: unknown preset or model folder 'nanoo'; pre")
    file.write_text(before + TABLE.replace('preset = "nanoo"', 'preset = "models/gone"'))
    assert f"model folder '{checkout}/models/gone'" in refused(words, capsys)
    assert not (checkout / ".asv").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("default", "extended"), []),
        (('"cpu"', '"gpu"'), []),
        (("", ""), ["--bench", "Nano\\."]),
    ],
)
def test_a_table_that_is_not_measured_may_be_without_its_model(change, words, checkout, capsys):
    file = checkout / "tracked.toml"
    file.write_text(file.read_text() + TABLE.replace(*change))
    assert cli.main(["track", "--no-publish", *words]) == 3, capsys.readouterr().err  # started
    assert "AssertionError: started" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gate", "HEAD~1", "HEAD", "--preset", "~nouser/x"], "unknown preset or model folder '~nouser/x'"),
        (["measure", *PATH, "--preset", "~nanouser"], "unknown preset '~nanouser' (did you mean nano?)"),
        (["measure", *PATH, "--workload", "~nouser/x"], "unknown workload '~nouser/x'"),
        (["record", "~nouser/x", "--output", "y"], "~nouser/x"),
        (["track", "--no-publish"], "tracked.toml: [nanoo]: unknown preset or model folder '"),
    ],
)
def test_a_home_of_nobody_is_a_folder_that_is_not_there(words, said, checkout, capsys):
    if words[0] == "track":
        file = checkout / "tracked.toml"
        file.write_text(file.read_text() + TABLE.replace('preset = "nanoo"', 'preset = "~nouser/x"'))
    assert said in refused(words, capsys)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("[1]", "is no JSON object"),
        ("null", "is no JSON object"),
        ('{"vocab_size": "x"}', 'vocab_size is "x"; it must be a whole number'),
        ("[" * 100_000, "cannot be read as JSON"),
    ],
)
@pytest.mark.parametrize(
    "words", [["gate", "HEAD~1", "HEAD", "--tracked", "nanoo"], ["track", "--no-publish"]]
)
def test_a_config_that_is_none_is_refused(words, config, said, checkout, capsys):
    file = checkout / "tracked.toml"
    file.write_text(file.read_text() + TABLE.replace('preset = "nanoo"', 'preset = "models/mine"'))
    (checkout / "models" / "mine").mkdir(parents=True)
    (checkout / "models" / "mine" / "config.json").write_text(config)
    line = refused(words, capsys)
    assert line.startswith(f"rollout-perf: tracked.toml: [nanoo]: {checkout}/models/mine/config.json")
    assert said in line


@pytest.mark.parametrize(
    "words", [["detect"], ["publish"], ["track", "--no-publish"], ["gate", "HEAD~1", "HEAD"]]
)
@pytest.mark.parametrize("text", ["{", "[1]", "3", "", "\udcff"])
def test_settings_of_asv_that_are_none_are_refused(text, words, checkout, capsys):
    file = checkout / "asv.conf.json"
    file.write_text(text, errors="surrogateescape")
    line = refused(words, capsys)
    assert line.startswith(f"rollout-perf: {file} is no JSON object of asv's settings: ")


@pytest.mark.parametrize("words", [["detect"], ["track", "--no-publish"], ["gate", "HEAD~1", "HEAD"]])
def test_settings_of_asv_that_cannot_be_read_are_named(words, checkout, monkeypatch, capsys):
    """Root reads what others may not."""

    def refuse(*_arguments, **_keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("asv.util.load_json", refuse)
    assert f"{checkout}/asv.conf.json cannot be read: Permission denied" in refused(words, capsys)


def test_benchmarks_are_matched_by_a_regular_expression(checkout, capsys):
    assert "--bench is '(', which is no regular expression: " in refused(["track", "--bench", "("], capsys)


def test_records_of_before_are_taken(tmp_path, capsys):
    file = tmp_path / "out.jsonl"
    kept = sorted((ROOT / "results").glob("*/records/*.jsonl"))[0].read_text()
    file.write_text(kept)
    assert cli.main(["compare", *PATH, "--output", str(file)]) == 3
    assert "AssertionError: started" in capsys.readouterr().err
    assert json.loads(file.read_text().splitlines()[0])
