"""`rollout-perf gate`: what cannot be asked is told in one line, before anything is built."""

import json
from pathlib import Path

import pytest

from benchmarks.harness import machine as ruler_machine
from rollout_perf import cli
from rollout_perf.tracking import sides, track

ROOT = Path(__file__).resolve().parent.parent
BUILT = "built"


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch, tmp_path):
    """Each of these tests is about what comes before that."""

    def build(*_arguments):
        raise AssertionError(BUILT)

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path))  # asv keeps ~/.asv-machine.json
    monkeypatch.setattr(sides, "build", build)
    monkeypatch.setattr(sides, "changed_files", lambda root: [])
    monkeypatch.setattr(track, "results_folder", lambda root: tmp_path / "results")
    monkeypatch.setattr(ruler_machine, "gpus", list)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "BASE, HEAD"),
        (["no-such-commit", "HEAD"], "unknown commit 'no-such-commit'"),
        (["HEAD", "--output=x"], "HEAD"),
        (["HEAD", "HEAD", "--paths", "pigeon"], "known: sync, vllm-mp"),
        (["HEAD", "HEAD", "--paths", "vllm-ray"], "refuses its Ray executor"),
        (["HEAD", "HEAD", "--metrics", "beauty"], "known: step_seconds"),
        (["HEAD", "HEAD", "--threshold", "much"], "give a percentage"),
        (["HEAD", "HEAD", "--threshold", "-3"], "give a percentage"),
        (["HEAD", "HEAD", "--threshold", "beauty=3"], "unknown metric 'beauty'"),
        (["HEAD", "HEAD", "--summary", "no/such/folder/file.md"], "there is no folder no/such/folder"),
        (["HEAD", "HEAD", "--budget", "0"], "above 0 minutes"),
        (["HEAD", "HEAD", "--budget", "nan"], "above 0 minutes"),
        (["HEAD", "HEAD", "--budget", "long"], "long"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, told, capsys):
    assert cli.main(["gate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rollout-perf: ")
    assert err.count("\n") == 1
    assert told in err


def test_results_of_another_machine_are_not_written_to(tmp_path, capsys):
    """Two machines in one series would be read as steps."""
    file = tmp_path / "results" / "other" / "machine.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"cpu": "Abacus", "machine": "other"}))
    assert cli.main(["gate", "HEAD", "HEAD", "--machine", "other"]) == 2
    assert "is of another machine (cpu Abacus, here " in capsys.readouterr().err
    assert not (tmp_path / ".asv-machine.json").exists()  # nor is it taken for this one from now on


def test_a_damaged_machine_file_is_named_and_passed_over(tmp_path, capsys):
    file = tmp_path / "results" / "box" / "machine.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(AssertionError, match=BUILT):
        cli.main(["gate", "HEAD", "HEAD", "--machine", "box"])
    assert f"damaged and passed over: {file}" in capsys.readouterr().err
    assert json.loads(file.read_text())["machine"] == "box"


def test_a_dirty_ruler_is_said(monkeypatch, capsys):
    """What is measured is the commits; what measures is the working tree."""
    monkeypatch.setattr(sides, "changed_files", lambda root: ["benchmarks/rollout.py", "README.md"])
    with pytest.raises(AssertionError, match=BUILT):
        cli.main(["gate", "HEAD", "HEAD"])
    told = capsys.readouterr().err
    assert "uncommitted changes (2 files)" in told
    assert "the ruler is that of the working tree, with benchmarks/rollout.py changed" in told
