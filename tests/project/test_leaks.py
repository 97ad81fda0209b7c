"""The search for what tests leave: whose shared memory it finds, and which cluster it asks."""

import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from leaks import _LOOK_SECONDS, nothing_left, ray_actors

from rollout_perf.surroundings import environment
from rollout_perf.transports.ray_cluster import local_cluster

_LEAVE = """
import os, time, uuid
from _multiprocessing import SemLock
name = f"leak-{uuid.uuid4().hex}"
semaphore = SemLock(0, 1, 1, f"/{name}", False)
print(f"sem.{name}", flush=True)
time.sleep(0.6)
os._exit(0)
"""


@pytest.mark.parametrize("whose", ["ours", "a neighbour's"])
def test_shared_memory_that_is_left_is_ours_or_a_neighbours(whose):
    neighbours = dict(os.environ)  # without the mark of the block
    leave = [sys.executable, "-c", _LEAVE]
    check = nothing_left(only=("shared memory",), patience_seconds=0.2)
    check.__enter__()
    if whose == "ours":
        name = subprocess.run(leave, capture_output=True, text=True, check=True).stdout.strip()
    else:
        # The shell ends at once, so that its child is nobody's here.
        begun = subprocess.Popen(["sh", "-c", '"$0" "$@" &', *leave], env=neighbours, stdout=subprocess.PIPE)
        name = begun.communicate()[0].decode().strip()
    try:
        if whose == "ours":
            with pytest.raises(AssertionError, match=name):
                check.__exit__(None, None, None)
        else:
            check.__exit__(None, None, None)
    finally:
        (Path("/dev/shm") / name).unlink()


@pytest.mark.parametrize("whose", ["ours", "a neighbour's"])
def test_a_semaphore_of_ray_that_nobody_has_mapped_is_whose_raylet_made_it(whose):
    """A neighbour's raylet may be killed before anybody looks, and what it made be removed long after."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as earlier:
        earlier.communicate(b"\n")
    check = nothing_left(only=("shared memory",), patience_seconds=0.2)
    check.__enter__()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as raylet:
        made = Path(f"/dev/shm/sem.obj{(raylet if whose == 'ours' else earlier).pid}-1")
        made.touch()
        time.sleep(3 * _LOOK_SECONDS)
        raylet.communicate(b"\n")
    try:
        with pytest.raises(AssertionError, match=made.name) if whose == "ours" else nullcontext():
            check.__exit__(None, None, None)
    finally:
        made.unlink()


@pytest.mark.engine
def test_the_actors_of_a_second_cluster_are_found_by_a_process_that_knows_the_token_of_the_first(
    cluster, folder, monkeypatch
):
    import ray

    from rollout_perf.transports.ray_workers import join_cluster

    assert join_cluster()
    ray.shutdown()
    monkeypatch.delenv("RAY_ADDRESS")
    with local_cluster(folder) as variables, environment(variables):
        assert ray_actors() == []
