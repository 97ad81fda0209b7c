"""What a job takes from another one that ran the code of others: nothing in it runs, or leads elsewhere."""

import shutil
import subprocess

import pytest
from workflows import ROOT, steps


def test_all_that_is_kept_here_is_of_the_shape_that_the_nightly_takes(run, git, history):
    shutil.copytree(ROOT / "results", history / "results", dirs_exist_ok=True)
    done = run("nightly", "keep", "commit the results", git.folder, HISTORY=str(history))
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = {str(path.relative_to(history)) for path in history.glob("results/**/*") if path.is_file()}
    assert set(git("ls-tree", "-r", "--name-only", "origin/results", "results").splitlines()) == wanted


def test_a_planted_hook_does_not_run_and_nothing_is_pushed(run, git, history, tmp_path):
    """The artifact is unpacked where the workflow says: into the checkout, where it says nothing."""
    planted = history / ".git" / "hooks" / "pre-commit"
    planted.parent.mkdir(parents=True)
    planted.write_text(f"#!/bin/sh\ntouch {tmp_path / 'hooked'}\n")
    planted.chmod(0o755)
    [download] = [step for step in steps("nightly", "keep") if "download-artifact" in step.get("uses", "")]
    path = download["with"].get("path", str(git.folder)).replace("${{ runner.temp }}", str(tmp_path / "temp"))
    shutil.copytree(history, path, dirs_exist_ok=True)
    done = run("nightly", "keep", "commit the results", git.folder, HISTORY=path)
    assert not (tmp_path / "hooked").exists()
    assert done.returncode == 1
    assert done.stdout == "no file of results/, or a link: ./.git\n"
    assert "results" not in git("ls-remote", "origin")


@pytest.mark.parametrize(
    "planted",
    [
        "results/box/secret.json",
        "results/box/records",
        "results/elsewhere",
        "change-points.txt",
        "results/odd\nname",
    ],
)
def test_links_among_the_results_are_refused(planted, run, git, history, tmp_path):
    (tmp_path / "secret").write_text("the token")
    place = history / planted
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(tmp_path / "secret")
    done = run("nightly", "keep", "commit the results", git.folder, HISTORY=str(history))
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert "or a link: " in done.stdout
    assert "results" not in git("ls-remote", "origin")


@pytest.mark.parametrize(
    "name", [".gitattributes", "results/.gitattributes", "results/box/run.sh", "results/a/b/c/d.json", "x"]
)
def test_files_of_another_shape_are_refused(name, run, git, history):
    (history / name).parent.mkdir(parents=True, exist_ok=True)
    (history / name).write_text("* filter=x")
    done = run("nightly", "keep", "commit the results", git.folder, HISTORY=str(history))
    assert done.returncode == 1
    assert "results" not in git("ls-remote", "origin")


@pytest.mark.parametrize("job", ["measure", "site"])
def test_a_link_on_the_branch_of_the_results_becomes_a_plain_file(job, git, tmp_path):
    (tmp_path / "secret").write_text("the token")
    (git.folder / "results").mkdir()
    (git.folder / "results" / "link.json").symlink_to(tmp_path / "secret")
    git("add", "--force", "results")
    git("commit", "-q", "-m", "results")
    git("push", "-q", "origin", "HEAD:results")
    git("reset", "-q", "--hard", "HEAD~1")
    [code] = [step["run"] for step in steps("nightly", job) if "origin/results" in step.get("run", "")]
    subprocess.run(["bash", "-e", "-c", code], cwd=git.folder, check=True, capture_output=True)
    assert not (git.folder / "results" / "link.json").is_symlink()
    assert (git.folder / "results" / "link.json").read_text() == str(tmp_path / "secret")


@pytest.mark.parametrize("planted", ["gate/number", "gate/summary.md", "gate"])
def test_a_link_in_the_place_of_the_summary_is_refused(planted, run, measured, tmp_path):
    (tmp_path / "secret").mkdir()
    for name in ("number", "summary.md"):
        (tmp_path / "secret" / name).write_text("12\n")
    place = tmp_path / "gate" / planted
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.symlink_to(tmp_path / "secret" / ("" if planted == "gate" else place.name))
    done = run("comment", "comment", "comment", tmp_path, MEASURED="abc", HEAD_OF_PR="abc")
    assert done.returncode == 1
    assert done.stdout.startswith("not a plain file: ")
    assert run.asked() == ""


@pytest.mark.parametrize("planted", ["change-points.txt", "found.txt"])
def test_a_link_in_the_place_of_the_steps_is_refused(planted, run, history, tmp_path):
    (history / "found.txt").write_text("1\n")
    (tmp_path / "secret").write_text("1")
    (history / planted).unlink()
    (history / planted).symlink_to(tmp_path / "secret")
    done = run("nightly", "report", "open an issue where something is slower since", tmp_path, RUN="there")
    assert done.returncode == 1
    assert run.asked() == ""
