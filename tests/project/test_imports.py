"""What a process loads: import-linter states who may import whom (pyproject.toml); this is what runs.

asv imports benchmarks/, and with it the harness, in processes that have the standard library alone.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"vllm", "torch", "ray", "zmq"}
HARNESS = [
    ".".join(file.relative_to(ROOT / "bench").with_suffix("").parts)
    for package in ("measure", "schema")
    for file in (ROOT / "bench" / "rollout_bench" / package).rglob("[a-z]*.py")
]
PURE = [
    "rollout_perf",
    "rollout_perf.errors",
    "rollout_perf.models",
    "rollout_perf.transports",
    "rollout_perf.transports.base",
    "rollout_perf.transports.blocks",
    "rollout_perf.transports.in_process",
    "rollout_perf.transports.reply",
    "rollout_perf.transports.run",
    "rollout_perf.transports.watcher",
    "rollout_perf.transports.wire",
]


def loaded_by(*modules: str) -> set[str]:
    """Top-level packages that are there after importing modules in a fresh process."""
    code = f"import sys, {', '.join(modules)}; print(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_of_the_system_under_test_imports_nothing_heavy(module):
    """`import rollout_perf` happens in every measured process, and arithmetic needs no engine."""
    assert loaded_by(module) & {*HEAVY, "rollout_bench"} == set()


def test_the_harness_imports_the_standard_library_alone():
    """asv's process has no other; and a commit that lacks a name of ours is a value which is absent."""
    assert len(HARNESS) > 15
    assert loaded_by(*HARNESS) & {*HEAVY, "psutil", "numpy", "scipy", "rollout_perf"} == set()


def test_asv_can_discover_the_benchmarks_without_the_system_under_test():
    """asv imports them at every commit, at one without an API too."""
    modules = ["benchmarks.rollout", "benchmarks.transport_rpc"]
    assert loaded_by(*modules) & {*HEAVY, "psutil", "numpy", "scipy", "rollout_perf"} == set()
