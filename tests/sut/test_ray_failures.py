"""What can fail with Ray alone: its raylet, and what a worker puts on one of Ray's channels."""

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from contract import DEADLINE, ask, failures_of, started
from fake_host import say
from leaks import eventually, lives, marked, nothing_left

from rollout_perf import EngineError, WorkerDied
from rollout_perf.transports import TRANSPORTS
from rollout_perf.transports.base import CLOSE_SECONDS, DEATH_NOTICE_SECONDS

pytestmark = pytest.mark.engine


def over_ray(baseline: bool) -> list[str]:
    """The paths whose transport is ours and that need Ray."""
    rows = TRANSPORTS.items()
    return [
        name for name, row in rows if row.transport and "ray" in row.requires and row.baseline == baseline
    ]


@pytest.mark.parametrize(
    "names", [over_ray(baseline=False), pytest.param(over_ray(baseline=True), marks=pytest.mark.baseline)]
)
def test_a_raylet_that_is_killed_is_noticed_and_the_next_cluster_and_start_work(names, folder, no_cluster):
    """Ray reports it 14 s later, since some heartbeats must be missed, and lets a busy worker go on.

    In a process of its own: this one may have joined the cluster that other tests share.
    """
    paths = [str(Path(__file__).parent), *sys.path]
    script = f"import sys; sys.path[:0] = {paths!r}; import test_ray_failures as t; t.kill_raylets({names!r})"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"RPT_CLUSTER": str(folder)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.stdout.splitlines()[-1:] == ["seen"], done.stderr[-3000:]


def kill_raylets(names: list[str]) -> None:
    """What the test above sees, or an AssertionError; the cluster after a path's is that of the next one.

    That a process joins one cluster after another is no matter of course: Ray keeps what it found first.
    """
    import ray  # noqa: F401 - before there is a cluster, and so with tokens off

    folder = Path(os.environ["RPT_CLUSTER"])
    with nothing_left(only=("process", "shared memory")):
        for before, name in pairwise([None, *names, None]):
            with TRANSPORTS[name or before].surround(folder):
                if before:
                    with started(before, folder) as again:
                        assert ask(again, "echo", "works") == ["works"]
                if name:
                    kill_the_raylet(name, folder)
    print("seen")


def kill_the_raylet(name: str, folder: Path) -> None:
    with started(name, folder, 2) as transport:
        noted = failures_of(transport)
        pids = [pid for _rank, pid in ask(transport, "who", ranks=[0, 1])]
        waiting = transport.send(say("sleep", 30), [0, 1], DEADLINE)
        [raylet] = [one for one in marked("RPT_CLUSTER", str(folder)) if one.name() == "raylet"]
        raylet.kill()
        begin = time.monotonic()
        with pytest.raises(WorkerDied, match=rf"the raylet \(process {raylet.pid}\) ended"):
            waiting.result()
        assert time.monotonic() - begin < DEATH_NOTICE_SECONDS
        assert [type(error) for error in noted.errors] == [WorkerDied]
        begin = time.monotonic()
    assert time.monotonic() - begin < CLOSE_SECONDS + 3.0
    assert eventually(lambda: not any(map(lives, pids)))


@pytest.mark.parametrize(
    ("path", "module", "name", "value"),
    [("ray", "ray_actor", "join", len), ("ray-graph", "blocks", "_LONE", b"?")],
    indirect=["path"],
)
def test_garbage_on_a_channel_fails_the_transport_with_the_cause(path, module, name, value, folder):
    with started(path, folder) as transport:
        noted = failures_of(transport)

        def get_garbage() -> None:
            ask(transport, "replace", (f"rollout_perf.transports.{module}", name, value))
            ask(transport, "array", 10)

        begin = time.monotonic()
        with pytest.raises(EngineError, match="worker 0 sent what is no reply"):
            get_garbage()
        assert time.monotonic() - begin < DEATH_NOTICE_SECONDS
        assert len(noted.errors) == 1


@pytest.mark.parametrize("path", ["ray-graph"], indirect=True)
def test_an_answer_that_comes_twice_beside_a_graph_is_not_taken_for_the_next(path, folder):
    """An actor call returns once, and an execution too; only answers that come later could."""
    with started(path, folder) as transport:
        assert ask(transport, "later", (0.01, "first")) == ["first"]
        ask(transport, "answer_again", 1)
        with pytest.raises(EngineError, match=r"worker 0 .* answer 1 instead of 2: twice, late or unasked"):
            ask(transport, "later", (0.01, "second"))


@pytest.mark.parametrize("path", ["ray"], indirect=True)
def test_no_worker_is_started_that_no_path_can_take(path, folder):
    """Ray starts one for each core when a driver joins, without the environment that an actor of ours has."""
    with started(path, folder) as transport:
        assert ask(transport, "echo", "up") == ["up"]
        below = [one for one in psutil.Process().children(recursive=True) if one.name() != "raylet"]
        titles = [" ".join(one.cmdline()) for one in below]
    assert [title for title in titles if "ray::IDLE" in title or "default_worker.py" in title] == []
