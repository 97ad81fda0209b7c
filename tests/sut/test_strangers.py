"""Another user of the host gets nothing of a run: he cannot list, read, write, connect, nor join.

Here with hosts that know no vLLM; test_front.py tries the same on real engines.
"""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import stranger
from contract import ask, started

from rollout_perf import TRANSPORTS, WorkerDied
from rollout_perf.transports.run import Run

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@needs_root
def test_a_stranger_gets_nothing_of_a_transport_with_two_workers(path, folder):
    with started(path, folder, 2) as transport:
        ask(transport, "later", (0.01, "a thread for replies"))
        processes = stranger.tree(os.getpid())
        places = [folder]
        if token := os.environ.get("RAY_AUTH_TOKEN_PATH"):
            places.insert(0, Path(token).parent)
            names = {process.name() for process in processes}
            assert {"gcs_server", "raylet"} <= names
        for place in places:
            assert stranger.gains(place, processes) == stranger.NOTHING


def test_vllm_s_own_path_over_ray_has_the_cluster_that_the_others_have():
    """It needs a GPU; what a stranger gets of its cluster is seen on the others."""
    assert TRANSPORTS["vllm-ray"].surroundings == TRANSPORTS["ray"].surroundings


JOINS = """
import os, sys
import ray
from ray._raylet import GcsClient
from rollout_perf.transports.ray_workers import forget_settings

def run_code():
    forget_settings()
    ray.init(os.environ["RAY_ADDRESS"], log_to_driver=False, configure_logging=False)
    print("as", ray.get(ray.remote(lambda: os.getuid()).remote(), timeout=30), flush=True)
    ray.shutdown()

run_code()  # the owner can; and all is loaded that a stranger may not be able to read
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    run_code()
except Exception as error:
    print("refused with the token:", type(error).__name__, flush=True)
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ.pop("RAY_AUTH_TOKEN_PATH")
forget_settings()
try:
    GcsClient(os.environ["RAY_ADDRESS"])
    print("joined")
except Exception as error:
    print("refused without:", type(error).__name__)
"""


@needs_root
@pytest.mark.parametrize("path", ["ray"], indirect=True)
@pytest.mark.engine
def test_a_stranger_cannot_join_a_cluster(path):
    """Whoever can runs his tasks as the one who started it."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{JOINS}"],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"RAY_NUM_REDIS_GET_RETRIES": "2"},
    )
    lines = done.stdout.splitlines() or [done.stderr[-2000:]]
    assert lines[0] == f"as {os.geteuid()}"
    assert [line.split(":")[0] for line in lines[1:]] == ["refused with the token", "refused without"]


@needs_root
def test_a_stranger_gets_nothing_of_what_a_run_writes_whatever_the_umask():
    before = os.umask(0)
    try:
        run = Run.create("zmq", 1.0, 1.0)
        try:
            run.note_failure(WorkerDied("one"))
            assert {"run.json", "failure.json"} == {path.name for path in run.folder.iterdir()}
            assert {path.stat().st_mode & 0o777 for path in run.folder.iterdir()} == {0o600}
            assert run.folder.stat().st_mode & 0o777 == 0o700
            assert stranger.gains(run.folder, [psutil.Process()]) == stranger.NOTHING
        finally:
            run.end(0.0)
    finally:
        os.umask(before)
    assert not run.folder.exists()
