"""What differs between releases of vLLM: the table, held against the vLLM that is installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from rollout_perf import versions
from rollout_perf.transports import TRANSPORTS

VLLM = Path(find_spec("vllm").origin).parent

SEEN = {
    versions.RAY_PLACES: ("envs.py", '"VLLM_USE_RAY_V2_EXECUTOR_BACKEND", "1"'),
    versions.CPU_UNBOUND: ("utils/ompmultiprocessing.py", "in enumerate(self.cpu_lists)"),
    versions.CPU_IN_PROCESS: ("platforms/cpu.py", '"VLLM_ENABLE_V1_MULTIPROCESSING"'),
    versions.CONFIG_COUNTS_STEPS: ("config/vllm.py", "def max_concurrent_batches("),
    versions.NO_EAGER_STAGES: (
        "v1/worker/cpu_model_runner.py",
        "compilation_config.mode == CompilationMode.NONE",
    ),
    versions.SERVER_IN_LAUNCHERS: ("entrypoints/launchers/api_server/entry.py", "def build_and_serve("),
}
"""The file, and what stands there, where a release has the change."""


def test_the_table_is_in_order_and_says_of_the_installed_vllm_what_it_has():
    releases = [[*map(int, change.since.split("."))] for change in versions.CHANGES]
    assert releases == sorted(releases)
    assert [*SEEN] == [*versions.CHANGES]
    for change, (name, text) in SEEN.items():
        file = VLLM / name
        assert change.there == (file.exists() and text in file.read_text()), change.now


@pytest.mark.parametrize(
    ("installed", "sync", "there"),
    [
        ("0.19.1", "vLLM 0.19.1 is older than 0.20, the oldest supported", [False] * 6),
        ("0.20.2+cpu", "vLLM before 0.23 has no engine in the caller's process on the CPU", [False] * 6),
        ("0.23.0", None, [True, True, True, True, False, False]),
        ("0.29.0rc1", None, [True] * 6),
        ("1.0", None, [True] * 6),
        (None, None, [True] * 6),
    ],
)
def test_a_release_has_what_came_before_it_and_a_path_that_it_lacks_is_absent(
    monkeypatch, installed, sync, there
):
    monkeypatch.setattr(versions, "installed", lambda: installed)
    assert [change.there for change in versions.CHANGES] == there
    assert TRANSPORTS["sync"].absent(has_gpu=False) == sync
    assert TRANSPORTS["sync"].absent(has_gpu=True) == (sync if installed == "0.19.1" else None)
    own = None if there[1] else versions.unsupported() or versions.CPU_UNBOUND.before
    assert TRANSPORTS["vllm-mp"].absent(has_gpu=False) == own
    assert TRANSPORTS["vllm-ray"].absent(has_gpu=False) == (
        versions.unsupported() or "vLLM's CPU platform refuses its Ray executor"
    )
