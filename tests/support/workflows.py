"""The workflows as data, and what it takes to run the scripts of their steps for real."""

import os
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yml"))}
JOBS = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"]]


def steps(name: str, job: str) -> list[dict]:
    """The steps of a job."""
    return WORKFLOWS[name]["jobs"][job]["steps"]


class Runner:
    """Runs the script of a step, with a gh that writes down what it is asked and answers as set up."""

    def __init__(self, folder: Path):
        self._folder = folder
        (folder / "bin").mkdir()
        gh = folder / "bin" / "gh"
        gh.write_text(
            '#!/bin/sh\necho "gh $*" >> "$ASKED"\n'
            'case "$1 $2" in "pr view") echo "$HEAD_OF_PR";; "issue list") cat "$TITLES";; esac\n'
        )
        gh.chmod(0o755)
        (folder / "titles").write_text("")

    def __call__(
        self, name: str, job: str, step: str, folder: Path, **variables: str
    ) -> subprocess.CompletedProcess:
        """Run that step in `folder`."""
        [code] = [one["run"] for one in steps(name, job) if one.get("name") == step]
        asked = {
            "ASKED": str(self._folder / "asked"),
            "TITLES": str(self._folder / "titles"),
            "PATH": f"{self._folder / 'bin'}:{os.environ['PATH']}",
        }
        return subprocess.run(
            ["bash", "-e", "-c", code],
            cwd=folder,
            env=os.environ | asked | variables,
            capture_output=True,
            text=True,
        )

    def asked(self) -> str:
        """What gh was asked, a line each."""
        return (self._folder / "asked").read_text() if (self._folder / "asked").exists() else ""


class Clone:
    """git in a clone of a repository with six commits."""

    def __init__(self, folder: Path):
        self.folder = folder / "clone"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(folder / "origin")], check=True)
        subprocess.run(
            ["git", "clone", "-q", str(folder / "origin"), str(self.folder)], check=True, capture_output=True
        )
        self("config", "user.name", "Test")
        self("config", "user.email", "test@localhost")
        self("checkout", "-q", "-B", "main")
        (self.folder / ".gitignore").write_text("/results/*\n/.venv\n")
        for number in range(6):
            (self.folder / "number").write_text(str(number))
            self("add", "-A")
            self("commit", "-q", "-m", str(number))
        self("push", "-q", "origin", "main")

    def __call__(self, *arguments: str) -> str:
        """What git prints."""
        done = subprocess.run(["git", "-C", str(self.folder), *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def nightly_artifact(folder: Path) -> Path:
    """What the runner with the GPU leaves, as the artifact has it."""
    (folder / "results" / "box" / "records").mkdir(parents=True)
    (folder / "results" / "benchmarks.json").write_text("{}")
    (folder / "results" / "box" / "records" / "0-env-nano.jsonl").write_text("{}")
    (folder / "change-points.txt").write_text("")
    (folder / "found.txt").write_text("0\n")
    return folder


def gate_artifact(folder: Path) -> Path:
    """What the run of a pull request leaves."""
    folder.mkdir(parents=True)
    (folder / "number").write_text("12\n")
    (folder / "summary.md").write_text("### same\nthanks to @everyone\n")
    return folder
