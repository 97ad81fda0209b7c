"""A process that has imported Ray can join one cluster after another: Ray keeps what it found first."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.engine

JOINS_TWO = """
import pathlib, sys, tempfile
import ray  # before there is a cluster, and so with tokens off
from rollout_perf.transports import TRANSPORTS
from rollout_perf.transports.base import HostSpec
from rollout_perf.transports.ray_actor import RayActor

for _ in range(2):
    with tempfile.TemporaryDirectory(prefix="rp-", dir="/tmp") as name:
        folder = pathlib.Path(name)
        with TRANSPORTS["ray"].surround(folder):
            transport = RayActor(1, folder)
            transport.start(HostSpec("fake_host:Echo", b""), 60.0)
            print(bytes(transport.send([b"here"], [0], 30.0).result()[0][0]).decode())
            transport.close()
"""


def test_a_process_joins_one_cluster_after_another():
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{JOINS_TWO}"],
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.stdout.split() == ["here", "here"], done.stderr[-2000:]
