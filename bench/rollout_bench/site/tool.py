"""Runs a tool that the site is made with, such as asv or npm."""

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .. import git


def run_tool(
    command: list[str], folder: Path, seconds: float | None = None, variables: Mapping[str, str] | None = None
) -> tuple[int, list[str]]:
    """The exit code of a tool, and the lines that it has printed.

    It has a process group of its own: where it takes too long or this is interrupted, its forks end too.
    """
    with subprocess.Popen(
        command,
        cwd=folder,
        env=git.environment() | dict(variables or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            printed, _ = process.communicate(timeout=seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, printed.strip().splitlines()
