"""A front that is killed takes everything along: processes, folder, sockets, shared memory, semaphores.

It can end nothing itself, and whoever lives on would hold the GPU. A watcher does, on every path.
"""

import getpass
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import stranger
from leaks import eventually, lives, marked, nothing_left

from rollout_perf.transports.base import python_path

END_SECONDS = 15.0
"""After a front's death everything of it has gone within this time."""

COMPILED = {"TORCHINDUCTOR_CACHE_DIR": f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}"}
"""Where torch keeps what it has compiled, by default in TMPDIR; compiling anew takes seconds."""

ENGINE = """
import asyncio
from rollout_perf import open_rollout

async def stay():
    async with open_rollout("nano", {path!r}, enforce_eager=True, kv_cache_memory_bytes=256 << 20) as rollout:
        print("open:", rollout._engine._run.folder, flush=True)
        await asyncio.sleep(300)

asyncio.run(stay())
"""

NO_ENGINE = """
import multiprocessing, os, subprocess, sys, time
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
import setproctitle
from rollout_perf.surroundings import environment
from rollout_perf.transports.run import Run
from rollout_perf.transports.watcher import note_shared_memory

def titled(ready):
    setproctitle.setproctitle("VLLM::EngineCore")
    here = SharedMemory(create=True, size=1 << 20)  # which its tracker knows, and it has mapped
    ready.set()
    time.sleep(300)

run = Run.create("zmq", 1.0, 1.0)
context = multiprocessing.get_context("fork")
ready = context.Event()
with environment(run.variables()):
    context.Process(target=titled, args=[ready]).start()
    code = "import setproctitle as s, time; s.setproctitle('ray::' + 'x' * 4000); print(); time.sleep(300)"
    subprocess.Popen([sys.executable, "-uc", code], stdout=subprocess.PIPE).stdout.readline()
ready.wait()
Path("/dev/shm/{name}-orphan").touch()
note_shared_memory(run.folder, "{name}-*")
print("open:", run.folder, flush=True)
sys.stdin.readline()
{then}
"""


@contextmanager
def front(script: str, temporary: Path) -> Iterator[tuple[subprocess.Popen, Path, list[psutil.Process]]]:
    """A process that runs the script, the folder of the run that it has open, and all that it has started."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | COMPILED | {"PYTHONPATH": python_path(), "TMPDIR": str(temporary)},
    )
    try:
        folder = Path(next(line.split()[1] for line in process.stdout if line.startswith("open: ")))
        yield process, folder, psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.communicate()


def nothing_remains(folder: Path, started: list[psutil.Process]) -> bool:
    return not (folder.exists() or any(map(lives, started)) or marked("ROLLOUT_PERF_RUN", str(folder)))


@pytest.mark.parametrize(
    ("path", "number"),
    [
        pytest.param("sync", signal.SIGTERM, marks=pytest.mark.endurance),
        ("vllm-mp", signal.SIGKILL),
        pytest.param("zmq", signal.SIGKILL, marks=pytest.mark.endurance),
        pytest.param("ray", signal.SIGKILL, marks=pytest.mark.endurance),
        pytest.param("ray-graph", signal.SIGTERM, marks=pytest.mark.endurance),
    ],
)
@pytest.mark.engine
@pytest.mark.timeout(200)
def test_an_engine_s_front_that_is_killed_leaves_nothing(path, number, folder):
    with (
        nothing_left(only=("process", "shared memory")),
        front(ENGINE.format(path=path), folder) as (process, run, started),
    ):
        if os.geteuid() == 0:
            assert stranger.gains(run, stranger.tree(process.pid)) == stranger.NOTHING
        process.send_signal(number)
        process.wait()
        assert eventually(lambda: nothing_remains(run, started), END_SECONDS), started
        assert [file for file in folder.iterdir() if file.is_socket()] == []


ENDS = {
    "SIGKILL": "os.kill(os.getpid(), 9)",
    "SIGTERM": "os.kill(os.getpid(), 15)",
    "SIGSEGV": "os.kill(os.getpid(), 11)",
    "at once": "os._exit(0)",
    "clean": "run.end(0.0); os._exit(0)",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_run_ends_with_its_front_however_that_ends(end, folder):
    """Its processes are known by their environment or, where vLLM has forked them, by a pipe and a title."""
    pytest.importorskip("setproctitle")
    script = NO_ENGINE.format(name=folder.name, then=ENDS[end])
    with (
        nothing_left(folder, only=("process", "file", "shared memory")),
        front(script, folder) as (process, run, started),
    ):
        assert len(started) >= 4  # watcher, tracker, a fork and one that has given itself a title
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait()
        assert eventually(lambda: nothing_remains(run, started), END_SECONDS), started
        assert list(Path("/dev/shm").glob(f"{folder.name}-*")) == []
