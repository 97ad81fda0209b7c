"""The workflows: what actionlint says, what a token may do, and their scripts run for real with a stub gh."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workflows import FOLDER, JOBS, ROOT, WORKFLOWS, steps


def events(name: str) -> set[str]:
    """What starts a workflow; YAML reads the bare word `on` as true."""
    return set(WORKFLOWS[name][True])


def permissions(name: str, job: str) -> dict[str, str]:
    return WORKFLOWS[name]["jobs"][job].get("permissions", WORKFLOWS[name]["permissions"])


@pytest.fixture
def actionlint():
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which("actionlint", path=places)
    if program is None:
        pytest.skip("actionlint is not installed: make actionlint")

    options = ("-no-color", "-config-file", ".github/actionlint.yaml")

    def call(*files: Path) -> subprocess.CompletedProcess:
        return subprocess.run([program, *options, *files], cwd=ROOT, capture_output=True, text=True)

    return call


def test_actionlint_finds_nothing(actionlint):
    done = actionlint()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actionlint_finds_nothing_in_how_actions_are_used(actionlint, tmp_path, name):
    """By their tags it knows them: which inputs each has, and whether GitHub still runs what it needs."""
    tagged = re.sub(r"@[0-9a-f]{40} # (v\d+).*", r"@\1", (FOLDER / f"{name}.yml").read_text())
    assert "@v" in tagged
    (tmp_path / "tagged.yml").write_text(tagged)
    done = actionlint(tmp_path / "tagged.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("needs: measure", "needs: measured", '"measured" which does not exist'),
        ("steps.asv.outcome", "steps.asvv.outcome", '"asvv" is not defined'),
        ("gpu]", "gqu]", '"gqu" is unknown'),
    ],
)
def test_actionlint_finds_what_is_broken(actionlint, tmp_path, right, wrong, said):
    """The test above says nothing where the program looks at nothing."""
    healthy = (FOLDER / "nightly.yml").read_text()
    assert right in healthy
    (tmp_path / "broken.yml").write_text(healthy.replace(right, wrong))
    done = actionlint(tmp_path / "broken.yml")
    assert done.returncode == 1
    assert said in done.stdout


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_to_a_commit(name):
    """A tag can be moved to other code."""
    for line in (FOLDER / f"{name}.yml").read_text().splitlines():
        if "uses:" in line:
            assert re.search(r"uses: (\./|[\w/-]+@[0-9a-f]{40} # v[\d.]+)$", line), line


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_no_script_is_made_of_what_others_write(name, job):
    """An expression in a script is put there before the shell reads it: a title could be a command."""
    for step in steps(name, job):
        assert "${{" not in step.get("run", ""), step


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_token_that_can_write_never_meets_the_code_of_a_pull_request(name, job):
    assert "pull_request_target" not in events(name)
    writes = {scope for scope, access in permissions(name, job).items() if access == "write"}
    if "pull_request" in events(name):
        assert writes == set()
        assert "{{ secrets" not in (FOLDER / f"{name}.yml").read_text()
    if "workflow_run" in events(name):
        assert all("checkout" not in step.get("uses", "") for step in steps(name, job))


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_our_own_machines_only_read(name, job):
    """What runs there stays there until the next job: it must not find a token that can write."""
    if "self-hosted" in WORKFLOWS[name]["jobs"][job]["runs-on"]:
        assert set(permissions(name, job).values()) == {"read"}
        assert "pull_request" not in events(name)
        for step in steps(name, job):
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_what_another_job_left_is_not_unpacked_into_a_checkout(name, job):
    """It could bring hooks along, which git runs, beside a token."""
    uses = {step["uses"].split("@")[0]: step.get("with", {}) for step in steps(name, job) if "uses" in step}
    if {"actions/checkout", "actions/download-artifact"} <= {*uses}:
        assert uses["actions/download-artifact"]["path"].startswith("${{ runner.temp }}/")


# --- the scripts ----------------------------------------------------------------------------------


def test_the_summary_becomes_the_comment_and_calls_nobody(run, measured, tmp_path):
    done = run("comment", "comment", "comment", tmp_path, MEASURED="abc", HEAD_OF_PR="abc")
    assert done.returncode == 0, done.stderr
    assert "gh pr comment 12 --body-file comment.md" in run.asked()
    assert (tmp_path / "comment.md").read_text() == "### same\nthanks to &#64;everyone\n"


def test_no_comment_goes_to_a_pull_request_that_was_not_measured(run, measured, tmp_path):
    """The number is written by code of the pull request, and could be another's."""
    run("comment", "comment", "comment", tmp_path, MEASURED="abc", HEAD_OF_PR="def")
    assert "gh pr comment" not in run.asked()
    (measured / "number").write_text("12; touch owned\n")
    done = run("comment", "comment", "comment", tmp_path, MEASURED="abc", HEAD_OF_PR="abc")
    assert done.returncode == 1
    assert "gh pr comment" not in run.asked()


def test_what_could_not_be_measured_is_said(run, measured, tmp_path):
    (measured / "summary.md").unlink()
    run("comment", "comment", "comment", tmp_path, MEASURED="abc", HEAD_OF_PR="abc")
    assert "could not measure abc" in (tmp_path / "comment.md").read_text()


def test_a_regression_is_reported_in_an_issue_and_once(run, tmp_path):
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "change-points.txt").write_text(
        "after 0000aaaa a\nup to 1111bbbb b\nbisect: git\n"
    )
    (tmp_path / "history" / "found.txt").write_text("1\n")
    name = "open an issue where something is slower since"
    assert run("nightly", "report", name, tmp_path, RUN="there").returncode == 0
    assert "gh issue create --title Slower since: 1111bbbb --body-file body.md" in run.asked()
    assert (
        tmp_path / "body.md"
    ).read_text() == "```\nafter 0000aaaa a\nup to 1111bbbb b\nbisect: git\n```\nFound by there\n"
    (tmp_path / "titles").write_text("Slower since: 1111bbbb\n")
    run("nightly", "report", name, tmp_path, RUN="there")
    assert run.asked().count("issue create") == 1


def test_where_nothing_is_slower_no_issue_is_opened(run, tmp_path):
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "found.txt").write_text("0\n")
    assert run("nightly", "report", "open an issue where something is slower since", tmp_path).returncode == 0
    assert run.asked() == ""


def test_results_of_each_night_go_to_their_branch_and_main_stays(run, git, history):
    for night in ("first", "second"):
        git("checkout", "-q", "--force", "-B", "main", "origin/main")
        git("fetch", "-q", "origin")
        (history / "results" / "box" / f"{night}.json").write_text("{}")
        done = run("nightly", "keep", "commit the results", git.folder, HISTORY=str(history))
        assert done.returncode == 0, done.stderr
    kept = git("ls-tree", "-r", "--name-only", "origin/results", "results").splitlines()
    names = ["benchmarks.json", "box/first.json", "box/records/0-env-nano.jsonl", "box/second.json"]
    assert kept == [f"results/{name}" for name in names]
    assert git("rev-list", "--count", "origin/main..origin/results") == "2"
    assert git("ls-tree", "-r", "--name-only", "origin/main") == ".gitignore\nnumber"


@pytest.mark.parametrize("code", [2, 3, 130, 141])
def test_bisect_names_the_first_slow_commit_and_leaves_the_harness_where_it_is(code, git):
    """Commit 3 is slow, and the gate of 2 gives no verdict; it sees both with the working tree of 5."""
    (git.folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "bisect", git.folder / ".ci")
    stub = git.folder / ".venv" / "bin" / "rollout-perf"
    stub.parent.mkdir(parents=True)
    stub.write_text(
        '#!/bin/sh\n[ "$1 $4 $5" = "gate --paths zmq" ] || exit 9\n[ "$(cat number)" = 5 ] || exit 9\n'
        f'number=$(git show "$3:number")\n[ "$number" = 2 ] && exit {code}\n'
        '[ "$number" -ge 3 ] && exit 1\nexit 0\n'
    )
    stub.chmod(0o755)
    done = subprocess.run(
        [".ci/bisect", "HEAD~5", "HEAD~1", "--paths", "zmq"], cwd=git.folder, capture_output=True, text=True
    )
    said = done.stdout + done.stderr
    _before, _, suspects = said.partition("The first bad commit could be any of:")
    suspected = [number for number in range(6) if git("rev-parse", f"HEAD~{5 - number}") in suspects]
    assert suspected == [2, 3], said
    assert git("rev-parse", "--abbrev-ref", "HEAD") == "main"
    assert not (git.folder / ".git" / "BISECT_HEAD").exists()
