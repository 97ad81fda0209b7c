"""Puts the fake system under test (fake_sut/) in the place of rollout_perf and vLLM, where they are measured.

notes = fake.put(monkeypatch, tmp_path, FAKE_BEHAVIOUR="zmq:hangs")
"""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE_SUT = Path(__file__).with_name("fake_sut")


def put(monkeypatch: pytest.MonkeyPatch, notes: Path, **variables: str) -> Path:
    """Have processes import the fake, steered by variables; the folder of its notes."""
    import_from(monkeypatch, FAKE_SUT)
    for name, value in (variables | {"FAKE_NOTES": str(notes)}).items():
        monkeypatch.setenv(name, value)
    return notes


def put_module(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Have processes import a rollout_perf of this code, and nothing in the place of vLLM."""
    for name, content in (("rollout_perf", code), ("vllm", "")):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(content)
    import_from(monkeypatch, folder)


def import_from(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have processes that measure import the system under test from a folder."""
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")
