"""A repository to examine the judges with: commits of known speed, everything real but the engine.

git, asv's environments, the wheels, the locks, the harness and its processes are the real ones. The
system under test is the fake one, whose engine takes the time that its commit says, with noise that is known:
it moves the clock instead of waiting, so that a busy machine does not disturb an exam of statistics.
"""

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fake import FAKE_SUT

ROOT = Path(__file__).resolve().parents[2]
MACHINE = "exam"
_TAKEN = (
    "asv.conf.json",
    "bench/rollout_bench",
    "benchmarks",
    "pyproject.toml",
    "requirements/install.py",
    "requirements/lock.py",
    "requirements/override.txt",
    "tracked.toml",
)

SETUP = """
from setuptools import setup
setup(name="rollout-perf", version="0.1.0", packages=["rollout_perf"])
"""


@dataclass
class Repository:
    """The exam's repository, and how to run commands in it."""

    folder: Path
    variables: Mapping[str, str]
    commits: dict[str, str] = field(default_factory=dict)

    def call(self, *command: str, **more: str) -> subprocess.CompletedProcess:
        """Run a command there; output and errors are kept apart."""
        return subprocess.run(
            command, cwd=self.folder, env={**self.variables, **more}, capture_output=True, text=True
        )

    def commit(self, name: str, contents: Mapping[str, str]) -> None:
        """Write files and commit them under a name."""
        for path, content in contents.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(content)
        self.call("git", "add", "-A")
        done = self.call("git", "commit", "-q", "--allow-empty", "-m", name)
        assert done.returncode == 0, done.stdout + done.stderr
        self.commits[name] = self.call("git", "rev-parse", "HEAD").stdout.strip()

    def gate(self, base: str, head: str, *options: str, **more: str) -> subprocess.CompletedProcess:
        """`rollout-perf gate` of two commits by their names here."""
        hashes = (self.commits.get(name, name) for name in (base, head))
        return self.tool("gate", *hashes, "--machine", MACHINE, *options, **more)

    def tool(self, *arguments: str, **more: str) -> subprocess.CompletedProcess:
        """`rollout-perf` of this checkout, and not of the one that is examined."""
        return self.call(sys.executable, "-P", "-m", "rollout_bench.cli", *arguments, **more)


def speed(zmq: float = 1.0, wire_bytes: int = 1000) -> dict[str, str]:
    """The file that makes a commit's transport slower by a factor."""
    return {"rollout_perf/speed.py": f"SLOWDOWN = {{'zmq': {zmq}}}\nBYTES = {wire_bytes}\n"}


def lock(version: str) -> dict[str, str]:
    """The lock of a commit: its engine in a version."""
    pin = f"exam-engine=={version}\n"
    return {"requirements/cpu.lock": pin, "requirements/cpu.in": pin}


def make_repository(folder: Path, cv: float, seed: int = 0) -> Repository:
    """An empty repository that asv can measure, with engines 1.0 and 1.1 to install."""
    repository, wheels = folder / "repository", folder / "wheels"
    repository.mkdir()
    wheels.mkdir()
    for name in _TAKEN:
        source, target = ROOT / name, repository / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for version in ("1.0", "1.1"):
        _wheel(wheels, version)
    # requirements/lock.py goes to PyTorch's index where no place has torch.
    (wheels / f"torch-0+cpu-cp311-cp311-linux_{platform.machine()}.whl").touch()
    made = Repository(repository, variables(folder) | _engine(folder, wheels, cv, seed))
    made.call("git", "init", "-q", "-b", "main")
    (repository / ".gitignore").write_text("/.asv/\n/results/\n__pycache__/\n")
    made.commit("first", {"setup.py": SETUP, **_sut(), **speed(), **lock("1.0")})
    return made


def _sut() -> dict[str, str]:
    """The files of the fake system under test."""
    package = FAKE_SUT / "rollout_perf"
    return {f"rollout_perf/{file.name}": file.read_text() for file in package.glob("*.py")}


def variables(folder: Path) -> dict[str, str]:
    """The environment of every command: asv's and git's settings are the exam's own."""
    (folder / "home").mkdir()
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "ASV_"))}
    mine.pop("PYTHONPATH", None)
    return mine | {
        "HOME": str(folder / "home"),  # asv keeps ~/.asv-machine.json
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),  # pip's downloads
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), mine["PATH"]]),  # asv, uv
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "user.name",
        "GIT_CONFIG_VALUE_0": "Exam",
        "GIT_CONFIG_KEY_1": "user.email",
        "GIT_CONFIG_VALUE_1": "exam@localhost",
    }


def _engine(folder: Path, wheels: Path, cv: float, seed: int) -> dict[str, str]:
    """Where the locks' packages come from, and what the engine's noise is."""
    (folder / "notes").mkdir()
    return {
        "ROLLOUT_PERF_FLAVOUR": "cpu",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(wheels),
        "UV_DEFAULT_INDEX": wheels.as_uri(),
        "FAKE_NOTES": str(folder / "notes"),
        "FAKE_NOISE": str(cv),
        "FAKE_SEED": str(seed),
    }


def _wheel(folder: Path, version: str) -> None:
    """A wheel of the package that the lock names: the time of an engine step."""
    info = f"exam_engine-{version}.dist-info"
    contents = {
        "exam_engine.py": "STEP_SECONDS = 0.01\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: exam-engine\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: exam\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"exam_engine-{version}-py3-none-any.whl", "w") as wheel:
        for name, content in contents.items():
            wheel.writestr(name, content)
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*contents, f"{info}/RECORD"]))
