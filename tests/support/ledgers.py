"""A checkout with locks of two packages, and wheels that are made up, for tests of ledgers."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from fake import FAKE_SUT, ROOT
from rollout_bench.history import index
from rollout_bench.history.index import Release
from rollout_bench.history.ledger import UNRESOLVED, Ledger
from rollout_bench.measure import machine

TAKEN = ("asv.conf.json", "pyproject.toml", "tracked.toml", "requirements/install.py", "requirements/lock.py")
LOCK = "vllm==0.32.0\nray==2.60.0\n"
RELEASES = [
    Release(name, 1_700_000_000, f"ray=={name}", f"ray {name}") for name in ("2.50.0", "2.58.0", "2.60.0")
]


def write_checkout(root: Path) -> Path:
    """A repository of one commit: locks, the scripts that apply and make them, a fake system under test."""
    shutil.copytree(FAKE_SUT / "rollout_perf", root / "rollout_perf")
    for name in TAKEN:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    (root / "benchmarks").mkdir()
    (root / "bench").symlink_to(ROOT / "bench")
    for flavour in ("cpu", "cuda"):
        (root / "requirements" / f"{flavour}.in").write_text(LOCK)
        (root / "requirements" / f"{flavour}.lock").write_text(LOCK)
    (root / "requirements" / "override.txt").touch()
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "one")
    return root


def git(root: Path, *words: str) -> str:
    """What git prints there."""
    named = ["-c", "user.name=n", "-c", "user.email=e@x"]
    done = subprocess.run(["git", "-C", root, *named, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def write_wheel(folder: Path, version: str, package: str = "vllm") -> Path:
    """A wheel of that version, with nothing in it."""
    folder.mkdir(exist_ok=True)
    name = f"{package}-{version}"
    file = folder / f"{name}-py3-none-any.whl"
    facts = {
        "METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: n\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(file, "w") as wheel:
        for part, text in facts.items():
            wheel.writestr(f"{name}.dist-info/{part}", text)
    return file


def enter(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Be in such a checkout, with an index that knows three releases of Ray."""
    root = write_checkout(folder / "checkout")
    monkeypatch.chdir(root)
    monkeypatch.setenv("ROLLOUT_PERF_FLAVOUR", "cuda")
    monkeypatch.setattr(machine, "gpus", list)
    monkeypatch.setattr(index, "releases_of", lambda *_some, **_more: RELEASES)
    return root


def resolve_at_once(monkeypatch: pytest.MonkeyPatch, **failed: str) -> None:
    """Have uv answer at once; `failed` are reasons by version."""

    def resolve(_ledger: Ledger, requirement: str, offline: bool = False) -> str:
        version = requirement.partition("==")[2]
        reason = failed.get(version.replace(".", "_"))
        return f"{UNRESOLVED}{reason}\n" if reason else LOCK.replace("2.60.0", version)

    monkeypatch.setattr(Ledger, "resolve", resolve)
