"""What the tests of the workflows share: a stub of gh, what a job hands on, and a clone."""

import os

import pytest
from workflows import Clone, Runner, gate_artifact, nightly_artifact


@pytest.fixture
def run(tmp_path):
    return Runner(tmp_path)


@pytest.fixture
def measured(tmp_path):
    return gate_artifact(tmp_path / "gate" / "gate")


@pytest.fixture
def history(tmp_path):
    return nightly_artifact(tmp_path / "history")


@pytest.fixture
def git(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Clone(tmp_path)
