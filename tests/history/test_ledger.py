"""history/ledger.py: a release is a commit, which results follow; every command takes it for a checkout."""

import json
import shutil

import pytest
from ledgers import LOCK, git, write_checkout
from rollout_bench.cli import checkout as cli_checkout
from rollout_bench.errors import UsageError
from rollout_bench.history import asv_runs, ledger
from rollout_bench.history.ledger import UNRESOLVED, Entry, Ledger


@pytest.fixture
def root(tmp_path):
    return write_checkout(tmp_path / "checkout")


def entry(version, lock=None):
    published = 1_700_000_000 + 86_400 * int(version.replace(".", ""))
    return Entry(version, published, f"vllm {version}", lock or LOCK.replace("0.32.0", version))


def hashes(made):
    return git(made.folder, "log", "--reverse", "--format=%H").splitlines()


def test_a_release_is_a_commit_with_its_lock_and_the_log_reads_as_a_changelog(root):
    made = Ledger(root, "vllm-cuda", "vllm", "cuda")
    broken = entry("0.2.0", f"{UNRESOLVED}torch is gone\n")
    third = entry("0.3.0", "vllm==0.3.0\nray @ file:///x/ray-2.61.0-py3-none-any.whl\ntorch==2\n")
    made.write([entry("0.1.0"), broken, third])
    log = git(made.folder, "log", "--reverse", "--date=short", "--format=%D|%ad|%s|%b")
    assert log == (
        "tag: 0.1.0|2023-11-24|vllm 0.1.0|the first lock here\n\n"
        "tag: 0.2.0|2023-12-04|vllm 0.2.0|cannot be resolved: torch is gone\n\n"
        "HEAD -> main, tag: 0.3.0|2023-12-14|vllm 0.3.0|ray 2.60.0 -> 2.61.0\n"
        "torch none -> 2\nvllm 0.1.0 -> 0.3.0"
    )
    assert git(made.folder, "ls-tree", "-r", "--name-only", "HEAD") == "requirements/cuda.lock"
    assert git(made.folder, "status", "--short") == ""
    assert made.entries() == [entry("0.1.0"), broken, third]
    assert made.entries()[1].reason == "torch is gone"


def test_the_same_releases_are_the_same_commits_and_a_clone_has_them_of_the_bundle(root):
    made = Ledger(root, "vllm-cuda", "vllm", "cuda")
    made.write([entry("0.1.0"), entry("0.2.0")])
    before = hashes(made)
    made.write(made.entries())
    assert hashes(made) == before
    shutil.rmtree(root / ".asv")
    again = Ledger(root, "vllm-cuda", "vllm", "cuda")
    assert hashes(again) == before
    assert [one.name for one in again.entries()] == ["0.1.0", "0.2.0"]


def test_results_follow_a_release_before_which_another_comes_unless_its_lock_changed(root):
    made = Ledger(root, "vllm-cuda", "vllm", "cuda")
    made.write([entry("0.2.0"), entry("0.3.0")])
    records = made.results / "box" / "records"
    records.mkdir(parents=True)
    for commit in hashes(made):
        (records / f"{commit[:8]}-env-nano.jsonl").write_text(f'{{"commit": "{commit}"}}\n')
    kept, gone = hashes(made)
    other = entry("0.3.0", "vllm==0.3.0\nray==3\n")
    made.write([entry("0.1.0"), entry("0.2.0"), other])
    new = hashes(made)[1]
    assert new != kept
    assert {file.name: json.loads(file.read_text()) for file in records.iterdir()} == {
        f"{new[:8]}-env-nano.jsonl": {"commit": new},
        f"{gone[:8]}-env-nano.jsonl": {"commit": gone},
    }


def test_the_ledger_is_a_checkout_with_results_of_its_own(root, monkeypatch):
    made = Ledger(root, "vllm-cuda", "vllm", "cuda")
    made.take_sut(print)
    made.write([entry("0.1.0"), entry("0.2.0")])
    monkeypatch.chdir(made.folder)
    assert cli_checkout.find_checkout("track") == made.folder
    assert ledger.home(made.folder) == root
    assert (ledger.is_ledger(made.folder), ledger.is_ledger(root)) == (True, False)
    _range, commits = asv_runs.find_range(made.folder, "0.1.0..0.2.0")
    assert [one.subject for one in commits] == ["vllm 0.2.0"]
    assert asv_runs.results_folder(made.folder) == root / "releases" / "vllm-cuda"
    settings = asv_runs.configuration(made.folder)
    assert "{conf_dir}/sut" in settings["build_command"][0]
    assert settings["build_cache_size"] == 0  # a wheel of before would be of another system under test
    (install,) = settings["install_command"]
    assert "{conf_dir}/../../../requirements/install.py" in install
    assert "{build_dir}/requirements" in install
    assert install.endswith("--flavour cuda --release vllm")
    assert (made.folder / "sut" / "rollout_perf" / "__init__.py").exists()


def test_a_new_system_under_test_is_said_and_one_with_changes_is_not_taken(root, capsys):
    made = Ledger(root, "vllm-cuda", "vllm", "cuda")
    said = []
    made.take_sut(said.append)
    made.take_sut(said.append)
    git(root, "commit", "-q", "--allow-empty", "-m", "a document")
    made.take_sut(said.append)
    assert said == []
    (root / "rollout_perf" / "speed.py").write_text("changed")
    made.take_sut(said.append)
    assert "has uncommitted changes" in said.pop()
    git(root, "commit", "-qam", "two")
    made.take_sut(said.append)
    new = git(root, "rev-parse", "HEAD")[:8]
    assert said == [f"the system under test is now that of {new}: results of before are of another"]
    assert (made.folder / "sut" / "rollout_perf" / "speed.py").read_text() == "changed"
    assert new in (made.folder / "sut" / "setup.cfg").read_text()


def test_a_disk_too_small_is_said_before_and_environments_of_a_checkout_stay(root, monkeypatch):
    made = Ledger(root, "vllm-cpu", "vllm", "cpu")
    monkeypatch.setattr(ledger, "gpus", list)
    monkeypatch.setattr(
        ledger.shutil, "disk_usage", lambda _folder: shutil._ntuple_diskusage(9, 5, 4_000_000_000)
    )
    with pytest.raises(
        UsageError, match=r"2 environments of 3\.5 GB take 7 GB, and .* has 4\.0 GB: make room"
    ):
        ledger.check_room(made.folder, 2)
    ledger.check_room(root, 2)
    for folder in (made.folder, root):
        (folder / ".asv" / "env-head").mkdir(parents=True, exist_ok=True)
        with ledger.environments(folder, keep=True):
            pass
        assert (folder / ".asv" / "env-head").exists()
        with ledger.environments(folder):
            pass
    assert not (made.folder / ".asv" / "env-head").exists()
    assert (root / ".asv" / "env-head").exists()
