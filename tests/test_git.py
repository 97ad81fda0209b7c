"""git.py: what somebody gives to git names commits, and is never an option of git's."""

import re
import subprocess
from pathlib import Path

import pytest
from rollout_bench import git
from rollout_bench.cli import main as cli
from rollout_bench.errors import UsageError
from rollout_bench.history import asv_runs as track
from rollout_bench.history.results import history
from simulated import write_repository

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    write_repository(folder, 5)
    return folder


@pytest.fixture
def checkout(repository, monkeypatch):
    """A repository that the commands take for a checkout of this one; they run in it."""
    (repository / "benchmarks").symlink_to(ROOT / "benchmarks")
    (repository / "asv.conf.json").write_text((ROOT / "asv.conf.json").read_text())
    monkeypatch.chdir(repository)
    monkeypatch.setenv("HOME", str(repository.parent))
    return repository


def test_the_name_of_a_commit_is_its_tag_where_it_has_one(repository):
    first, last = git.answer(repository, "rev-list", "main").split()[::-4]
    git.change(repository, "tag", "0.31.0", first)
    assert git.name_of(repository, first) == "0.31.0"
    assert git.name_of(repository, last) == last[:8]


def everything(folder):
    return {path for path in folder.rglob("*") if ".git" not in path.relative_to(folder).parts}


@pytest.mark.parametrize(
    "given",
    [
        "--output=FILE HEAD~1..HEAD",
        "HEAD~1..HEAD --output=FILE",
        "HEAD~1..HEAD --output FILE",
        "HEAD~1..HEAD '--output'=FILE",
        "HEAD --ext-diff -p",
        "HEAD -O FILE",
        "--stdin HEAD",
        "HEAD --format=%B",
        "HEAD -- FILE",
        "HEAD --max-count=1\n--output=FILE",
        "HEAD -1x",
    ],
)
def test_a_range_with_another_option_is_refused_and_nothing_is_written(given, checkout, capsys):
    before = everything(checkout.parent)
    assert cli.main(["track", "--no-publish", "--", given]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rollout-perf: a range has no option '-")
    assert err.count("\n") == 1
    assert everything(checkout.parent) == before


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (None, 2),
        ("--max-count=2 HEAD", 2),
        ("-3 HEAD", 3),
        ("HEAD -3", 3),
        ("--skip=1 HEAD~3..HEAD", 2),
        ("--since=2000-01-01 --no-merges HEAD", 5),
        ("--all", 5),
        ("HEAD ^HEAD~2", 2),
    ],
)
def test_a_range_may_choose_commits_by_options(given, count, repository):
    assert len(track.find_range(repository, given)[1]) == count


@pytest.mark.parametrize("given", ["", " ", " -1 ", "-2", "--max-count=3", "--since=2000-01-01", "\t\n"])
def test_a_range_without_a_revision_is_refused(given, repository):
    """Of `make track COMMITS=" "` all commits were measured, and to asv `-1` is no range."""
    with pytest.raises(UsageError, match="names no revision: give what `git rev-list` takes") as raised:
        track.find_range(repository, given)
    assert repr(given) in str(raised.value)


def test_spaces_around_a_range_are_none_of_it(repository):
    assert track.find_range(repository, " -1 HEAD~1 ")[0] == "-1 HEAD~1"
    assert [len(track.find_range(repository, one)[1]) for one in (" HEAD ", "\tHEAD~2..HEAD\n")] == [1, 2]


@pytest.mark.parametrize("name", ["../box", "-x", ".hidden", "a/b", 'box"', "<b>", "box\n", ""])
def test_a_machine_has_a_plain_name(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    if name:
        with pytest.raises(UsageError, match="a name is of letters"):
            track.machine_entry(name, [])
    assert track.machine_entry("gpu box-1.example.org", [])["machine"] == "gpu box-1.example.org"


def test_what_is_given_stands_behind_the_options(repository, tmp_path):
    file = tmp_path / "written"
    assert git.answer(repository, "log", "--format=%H", given=[f"--output={file}", "--"]) is None
    assert git.answer(repository, "rev-parse", given=["a\0b"]) is None
    assert history(repository, f"--output={file}") == []
    assert not file.exists()


def test_a_hook_of_another_repository_does_not_turn_the_question_elsewhere(repository, tmp_path, monkeypatch):
    other = tmp_path / "other"
    write_repository(other, 1)
    for name, value in {"GIT_DIR": other / ".git", "GIT_WORK_TREE": other, "GIT_INDEX_FILE": "x"}.items():
        monkeypatch.setenv(name, str(value))
    assert len(history(repository)) == 5


def test_a_subject_that_is_no_utf8_is_read(repository):
    subprocess.run(
        ["git", "-C", repository, "-c", "user.name=n", "-c", "user.email=e", "-c",
         "i18n.commitEncoding=bytes", "commit", "-q", "--allow-empty", "-m", b"caf\xe9"],
        check=True,
    )  # fmt: skip
    assert history(repository)[-1].subject.startswith("caf")


_SUBJECTS = {
    "a line separator": "pasted\u2028line".encode(),
    "a next line": "nel\x85x".encode(),
    "a form feed": b"a \x0c b",
    "a file separator at its end": b"a b\x1c",
    "Latin-1": b"Gr\xfc\xdfe",
    "none": b"",
}


@pytest.mark.parametrize("subject", _SUBJECTS.values(), ids=_SUBJECTS)
def test_a_commit_is_read_whatever_its_subject_holds(subject, repository):
    """Also where it is the first or the last one, whose ends a strip would take."""
    commit = write_commit(repository, subject)
    read = subject.decode(errors="replace")
    for listed in (history(repository)[-1:], track.find_range(repository, "HEAD^!")[1]):
        assert [(one.hash, one.subject) for one in listed] == [(commit, read)]
    assert len(history(repository)) == 6
    assert len(track.find_range(repository, "HEAD")[1]) == 1
    assert track.find_range(repository, None)[1][0].hash == commit


def test_a_signed_commit_is_read_where_git_shows_signatures(repository, tmp_path):
    """As git's configuration may ask it to, among what it logs."""
    gpg = tmp_path / "gpg"
    gpg.write_text("#!/bin/sh\necho 'gpg: a signature of somebody' >&2\nexit 1\n")
    gpg.chmod(0o755)
    for name, value in {"log.showSignature": "true", "gpg.program": str(gpg)}.items():
        subprocess.run(["git", "-C", repository, "config", name, value], check=True)
    signature = b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n"
    commit = write_commit(repository, b"signed", signature)
    shown = subprocess.run(["git", "-C", repository, "log", "-1", "--format=%s"], capture_output=True)
    assert b"gpg: a signature" in shown.stdout  # else this tests nothing
    listed = history(repository)[-1]
    assert (listed.hash, listed.subject) == (commit, "signed")


def write_commit(repository, message, headers=b""):
    """A commit on the branch, byte for byte; its hash."""

    def git(*words, given=None):
        done = subprocess.run(["git", "-C", repository, *words], input=given, capture_output=True, check=True)
        return done.stdout.decode().strip()

    who = b"n <n@example.org> 1800000000 +0000\n"
    head = f"tree {git('rev-parse', 'HEAD^{tree}')}\nparent {git('rev-parse', 'HEAD')}\n".encode()
    content = head + b"author " + who + b"committer " + who + headers + b"\n" + message + b"\n"
    commit = git("hash-object", "-t", "commit", "-w", "--stdin", given=content)
    git("update-ref", "refs/heads/main", commit)
    return commit


def test_git_is_asked_in_one_place():
    """Another would be one without the environment, and without --end-of-options."""
    for file in (ROOT / "bench" / "rollout_bench").rglob("*.py"):
        if file.name != "git.py":
            assert not re.search(r"""\[\s*["']git["']\s*,\s*["']-C""", file.read_text()), file
