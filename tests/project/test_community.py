"""What people expect of a project beside its code: the gate as an action, an image, hooks, templates."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


@pytest.fixture
def gate_step(tmp_path):
    """Runs the action's gate in a checkout whose rollout-perf notes its arguments, and ends with a code."""
    [step] = [step for step in ACTION["runs"]["steps"] if step.get("id") == "gate"]

    def ran(code, **given):
        stub = tmp_path / ".venv" / "bin" / "rollout-perf"
        stub.parent.mkdir(parents=True)
        stub.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > asked\necho said > gate/summary.md\nexit {code}\n')
        stub.chmod(0o755)
        inputs = {name: one.get("default", "") for name, one in ACTION["inputs"].items()} | given
        asked = {
            name: inputs[re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", value)[1]]
            for name, value in step["env"].items()
        }
        files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=tmp_path,
            env=os.environ | asked | files,
        )
        return done.returncode, *(Path(file).read_text() for file in files.values())

    return ran


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_action_ends_as_the_gate_does_and_shows_what_it_says(code, gate_step):
    assert gate_step(code, base="a", head="b") == (code, f"code={code}\n", "said\n")


def test_the_action_hands_its_inputs_to_the_gate_and_none_becomes_code(gate_step, tmp_path):
    gate_step(0, base="$(touch owned)", head="b; touch owned", options="--paths zmq *")
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[:3] == ["gate", "$(touch owned)", "b; touch owned"]
    assert asked[-3:] == ["--paths", "zmq", "*"]
    assert not (tmp_path / "owned").exists()
    assert all("${{" not in step["run"] for step in ACTION["runs"]["steps"])


def test_the_image_has_the_cuda_of_the_lock():
    dockerfile = (ROOT / "Dockerfile").read_text()
    [version] = re.findall(r"^FROM docker\.io/nvidia/cuda:(\d+\.\d+)\.", dockerfile, re.MULTILINE)
    assert f"\nnvidia-cuda-runtime=={version}." in (ROOT / "requirements" / "cuda.lock").read_text()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_an_issue_template_asks_for_something_under_names_of_its_own(template):
    form = yaml.safe_load(template.read_text())
    assert {"name", "description", "body"} <= form.keys()
    names = [field["id"] for field in form["body"]]
    assert len({*names}) == len(names)
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_packages_citation_and_changelog_name_the_same_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version = cited["version"]
    assert f'version="{version}"' in (ROOT / "setup.py").read_text()
    assert f'\nversion = "{version}"\n' in (ROOT / "bench" / "pyproject.toml").read_text()
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == ["[Unreleased]", f"[{version}] - {cited['date-released']}"]


def test_the_hooks_are_what_make_lint_runs():
    [hooks] = [
        repo["hooks"] for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    ]
    named = {hook["entry"].removeprefix(".venv/bin/").partition(" --")[0] for hook in hooks}
    [recipe] = re.findall(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert named == {line.strip().replace(" --check", "").removesuffix(" .") for line in recipe.splitlines()}
