"""history/environments.py: a gate's two environments are of one Python, whichever PATH has first today."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rollout_bench.history import environments
from rollout_bench.history.environments import Build, PythonBuild

ROOT = Path(__file__).resolve().parents[2]
OTHER = PythonBuild("/opt/other/bin/python3.11", "3.11.2 (another build)")


@pytest.fixture
def environment(tmp_path):
    """The folder of an environment that is of this Python."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def build_of(folder, python_build):
    return Build("base", "c0ffee", folder, str(folder / "bin" / "python"), {}, python_build)


def test_an_environment_knows_what_it_was_made_of(environment):
    made_of = PythonBuild.of(str(environment / "bin" / "python"))
    assert made_of == PythonBuild.of(sys.executable)
    assert Path(made_of.executable).samefile(os.path.realpath(sys.executable))
    assert made_of.version == " ".join(sys.version.split())


def test_an_environment_of_another_python_is_made_anew_and_one_of_the_same_is_kept(environment):
    reported = []
    environments._remove_unless_of(PythonBuild.of(sys.executable), environment, reported.append)
    assert environment.exists()
    assert reported == []
    environments._remove_unless_of(OTHER, environment, reported.append)
    assert not environment.exists()
    assert reported == [
        f"{environment} is not of {OTHER.executable}, as the base's environment is, and is made anew"
    ]


def test_an_environment_whose_python_has_gone_is_made_anew(environment):
    (environment / "bin" / "python").unlink()
    environments._remove_unless_of(PythonBuild.of(sys.executable), environment, print)
    assert not environment.exists()


@pytest.mark.parametrize("wanted", [None, OTHER])
def test_asv_finds_the_python_that_is_asked_for_else_the_one_that_runs_it(environment, monkeypatch, wanted):
    """asv takes the first pythonX.Y on PATH."""
    found = []
    made = SimpleNamespace(
        dir_name="no-such-folder",
        create=lambda: found.append(os.environ["PATH"].split(os.pathsep)[0]),
        install_project=lambda *_arguments: None,
        find_executable=lambda _name: str(environment / "bin" / "python"),
    )
    monkeypatch.setattr("asv.environment.get_environments", lambda *_arguments: [made])
    before = os.environ["PATH"]
    built = environments.build(ROOT, "test", "HEAD", "-head", print, wanted)
    assert found == [str(Path(wanted.executable if wanted else sys.executable).parent)]
    assert os.environ["PATH"] == before
    assert built.python_build == PythonBuild.of(sys.executable)


def test_pythons_that_differ_are_named(environment):
    here = build_of(environment, PythonBuild.of(sys.executable))
    assert environments.differences(here, here) == []
    [line] = environments.differences(here, build_of(environment, OTHER))
    assert line == f"the environments differ: python {here.python_build.version} -> {OTHER.version}"
