"""history/environments.py: a gate's two environments are of one Python, whichever PATH has first today."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rollout_bench import git
from rollout_bench.cli.checkout import provenance
from rollout_bench.errors import UsageError
from rollout_bench.history import environments
from rollout_bench.history.environments import Build, PythonBuild
from simulated import write_repository

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


def test_a_release_that_could_not_be_installed_is_not_measured_by_a_gate(environment, monkeypatch):
    """Its installer ends well, so that asv has a point with the reason."""
    made = SimpleNamespace(
        dir_name="no-such-folder", create=lambda: None, install_project=lambda *_arguments: None
    )
    monkeypatch.setattr("asv.environment.get_environments", lambda *_arguments: [made])
    monkeypatch.setattr(environments, "why_not_installed", lambda _folder: "torch is gone")
    with pytest.raises(UsageError, match=r"the head, HEAD, cannot be built: torch is gone \(all of it: "):
        environments.build(ROOT, "head", "HEAD", "-head", print)


@pytest.fixture
def worktree(tmp_path, monkeypatch):
    """A linked worktree with a staged change, from which git has started us: a hook, an alias, a bisect."""
    main, folder = tmp_path / "main", tmp_path / "worktree"
    write_repository(main, 3)

    def git(*words):
        asked = ["git", "-C", folder if folder.exists() else main, "-c", "user.name=n", "-c", "user.email=e"]
        return subprocess.run([*asked, *words], check=True, capture_output=True, text=True).stdout.strip()

    git("worktree", "add", "-q", "-b", "work", str(folder))
    (folder / "asv.conf.json").write_text(
        '{"version": 1, "project": "p", "repo": ".", "branches": ["work"], "env_dir": ".asv/env"}'
    )
    (folder / "kept.txt").write_text("kept")
    git("add", "asv.conf.json", "kept.txt")
    git("commit", "-q", "-m", "a file")
    (folder / "staged.txt").write_text("staged")
    git("add", "staged.txt")
    (folder / "untracked.txt").write_text("untracked")
    there = Path(git("rev-parse", "--absolute-git-dir"))
    variables = {"GIT_DIR": there, "GIT_INDEX_FILE": there / "index"}
    monkeypatch.setenv("GIT_PREFIX", "")
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    return folder, there


def everything_of(folder, there):
    """HEAD and the index of a worktree, its branch and its files, byte for byte."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".asv" not in path.parts]
    kept = [there / "HEAD", there / "index", *sorted((there.parents[1] / "refs").rglob("*")), *sorted(files)]
    return {path: path.read_bytes() for path in kept if path.is_file()}


def test_asv_checks_nothing_out_in_the_repository_that_git_exports(worktree, environment, monkeypatch):
    """asv clones the repository and checks the commit out there, in the environment of this process."""
    folder, there = worktree
    clone = folder / ".asv" / "project"
    made = SimpleNamespace(
        dir_name="no-such-folder",
        create=lambda: None,
        install_project=lambda _configuration, repo, commit: repo.checkout(str(clone), commit),
        find_executable=lambda _name: str(environment / "bin" / "python"),
    )
    monkeypatch.setattr("asv.environment.get_environments", lambda *_arguments: [made])
    commit = environments.find_commit(folder, "HEAD~2")
    before, variables = everything_of(folder, there), dict(os.environ)
    for _time in range(2):  # a clone, and one that is there
        built = environments.build(folder, "head", commit, "-head", print)
        assert everything_of(folder, there) == before
    assert (clone / ".git" / "HEAD").read_text().strip() == commit
    assert dict(os.environ) == variables
    assert not {"GIT_DIR", "GIT_INDEX_FILE", "GIT_PREFIX"} & built.variables.keys()


def test_a_question_leaves_the_index_as_it_is(worktree, monkeypatch):
    """git refreshes it where the time of a file has changed, and nothing else."""
    folder, there = worktree
    os.utime(folder / "kept.txt", (1, 1))
    before = everything_of(folder, there)
    monkeypatch.chdir(folder)
    (folder / "benchmarks").mkdir()
    assert git.changed_files(folder) == ["staged.txt"]
    assert provenance()["commit"] == f"{git.answer(folder, 'rev-parse', 'HEAD')}-dirty"
    assert everything_of(folder, there) == before
    (folder / "kept.txt").write_text("other")
    assert git.changed_files(folder) == ["kept.txt", "staged.txt"]
    (folder / "staged.txt").rename(folder / "a name\u2028.txt")
    subprocess.run(["git", "-C", folder, "add", "."], check=True, env=git.environment())
    assert git.changed_files(folder) == ["a name\u2028.txt", "kept.txt", "untracked.txt"]


def test_pythons_that_differ_are_named(environment):
    here = build_of(environment, PythonBuild.of(sys.executable))
    assert environments.differences(here, here) == []
    [line] = environments.differences(here, build_of(environment, OTHER))
    assert line == f"the environments differ: python {here.python_build.version} -> {OTHER.version}"
