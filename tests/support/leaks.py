"""The search for what a block leaves: processes, threads, descriptors, files, shared memory, Ray actors."""

import contextlib
import multiprocessing.resource_tracker
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

MARK = "ROLLOUT_PERF_TEST"
_PATIENCE_SECONDS = 10.0
_LOOK_SECONDS = 0.2
_OF_A_RAYLET = re.compile(r"sem\.(?:obj|hdr)(\d+)-\d+")
_SHARED = re.compile(r" (\d+) +/dev/shm/")  # a line of maps: its inode


def lives(process: psutil.Process | int) -> bool:
    """Whether it still runs: one that has ended and waits to be asked for its status does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(process) if isinstance(process, int) else process
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def marked(name: str, value: str) -> set[psutil.Process]:
    """Living processes, other than this one, that were started with NAME=VALUE in their environment."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(name) == value and lives(process):
                found.add(process)
    return found


def descriptors() -> dict[str, str]:
    """This process's open file descriptors, and what each is."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


class SharedMemory:
    """What a block leaves under /dev/shm: a name that no living process has mapped.

    A file there does not say who made it. So a thread looks, whenever one appears, who has it mapped:
    what only processes that are not ours have is a neighbour's, and stays one when they have ended.
    """

    def __init__(self, ours: Callable[[], set[int]]):
        self._ours = ours
        self._others = set(os.listdir("/dev/shm"))  # of before, or a neighbour's
        self._known: set[str] = set()  # ours
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="shared-memory-watch", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        if new := set(os.listdir("/dev/shm")) - self._others - self._known:
            mapped = _mapped(new)
            for name, pid in _raylets(
                new
            ).items():  # a neighbour's may have ended since, and it removes them later
                mapped.setdefault(name, set()).add(pid)
            ours = self._ours() if mapped else set()
            for name, pids in mapped.items():
                (self._known if pids & ours else self._others).add(name)

    def end(self) -> None:
        """Stop looking; what appears from now on is taken for ours."""
        self._ended.set()
        self._thread.join()

    def left(self) -> set[str]:
        """Names that are ours, or nobody's, and that no living process has mapped."""
        young = set(os.listdir("/dev/shm")) - self._others
        return young - _mapped(young).keys()


def _raylets(names: set[str]) -> dict[str, int]:
    """Those that are semaphores of Ray's channels, and the process of the raylet that has made each."""
    return {name: int(found[1]) for name in names if (found := _OF_A_RAYLET.match(name))}


def _mapped(names: set[str]) -> dict[str, set[int]]:
    """Which of these names under /dev/shm are mapped, and by which processes.

    They are known by their inodes: whoever creates a semaphore has it mapped by a name that it had before.
    """
    inodes = {}
    for name in names:
        with contextlib.suppress(OSError):
            inodes[str(os.stat(f"/dev/shm/{name}").st_ino)] = name
    found: dict[str, set[int]] = {}
    for maps in Path("/proc").glob("[0-9]*/maps") if inodes else ():
        with contextlib.suppress(OSError):
            for inode in _SHARED.findall(maps.read_text(errors="replace")):
                if inode in inodes:
                    found.setdefault(inodes[inode], set()).add(int(maps.parent.name))
    return found


def ray_actors() -> list[str]:
    """The actors that live in the cluster that RAY_ADDRESS names, asked without joining it."""
    if not os.environ.get("RAY_ADDRESS"):
        return []
    from ray._private.state import GlobalState  # the public way needs Ray's dashboard
    from ray._raylet import GcsClientOptions

    from rollout_perf.transports.ray_workers import forget_settings

    forget_settings()  # this process may hold the token of a cluster that has ended
    state = GlobalState()
    state._initialize_global_state(
        GcsClientOptions.create(
            os.environ["RAY_ADDRESS"], None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False
        )
    )
    try:
        actors = state.actor_table(None).values()
        return [f"{one['ActorClassName']} {one['Pid']}" for one in actors if one["State"] != "DEAD"]
    finally:
        state.disconnect()


def eventually(happens: Callable[[], object], seconds: float = _PATIENCE_SECONDS) -> bool:
    """Whether it happens within some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happens():
            return True
        time.sleep(0.05)
    return bool(happens())


@contextlib.contextmanager
def nothing_left(
    files_of: Path | None = None, only: tuple[str, ...] = (), patience_seconds: float = _PATIENCE_SECONDS
) -> Iterator[None]:
    """Fail if the block leaves a process, a thread, an open descriptor, a new file in `files_of`, shared
    memory, or, where RAY_ADDRESS names a cluster, an actor.

    `only` names the kinds that count, where not all do.

    Processes are known by a mark in their environment, so that orphans are found, and neighbours
    on the same machine are not taken for ours.
    """
    mark = uuid.uuid4().hex
    multiprocessing.resource_tracker.ensure_running()  # Python's own, one for the life of this process
    threads, opened = set(threading.enumerate()), descriptors()
    files = set(files_of.iterdir()) if files_of else set()
    children = set(psutil.Process().children(recursive=True))
    actors = set(ray_actors())  # of tests that share a cluster with this one
    before = os.environ.get(MARK)
    os.environ[MARK] = mark

    def ours() -> set[psutil.Process]:
        # A fork shows the environment that this process began with, but is its child.
        forked = set(psutil.Process().children(recursive=True)) - children
        return marked(MARK, mark) | {process for process in forked if lives(process)}

    memory = SharedMemory(lambda: {os.getpid(), *(process.pid for process in ours())})

    def leaks() -> list[str]:
        new = [f"process {process}" for process in ours()]
        new += [f"thread {thread.name}" for thread in set(threading.enumerate()) - threads]
        now = descriptors()
        surplus = [f"descriptor {number} {now[number]}" for number in now.keys() - opened.keys()]
        new += surplus[: max(0, len(now) - len(opened))]
        new += [f"file {path}" for path in (set(files_of.iterdir()) if files_of else set()) - files]
        new += [f"shared memory {name}" for name in memory.left()]
        new += [f"actor {actor}" for actor in ray_actors() if actor not in actors]
        return [leak for leak in new if not only or leak.startswith(only)]

    try:
        yield
    finally:
        os.environ.pop(MARK) if before is None else os.environ.update({MARK: before})
        memory.end()
    assert eventually(lambda: not leaks(), patience_seconds), leaks()
