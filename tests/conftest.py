"""What the tests share: the mark of GPU tests, and the fixtures of the contract of transports."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import zmq

# Worker processes get this process's path, and find `fake_host` there.
sys.path.insert(0, str(Path(__file__).parent / "support"))

from contract import CARRIERS, PATHS, started
from rollout_bench.measure import machine
from rollout_bench.schema import variables

from rollout_perf.surroundings import environment
from rollout_perf.transports.base import Transport
from rollout_perf.transports.ray_cluster import local_cluster

# Tests run beside each other, and none waits for another's lock.
os.environ[variables.ALONE] = "the tests"
# Tables are as wide as they may be, and not as the terminal that xdist was started in.
os.environ["COLUMNS"] = "200"


LONGEST = [
    "test_browser.py",
    "test_publish.py",
    "test_hostile_names.py",
    "test_rollout.py",
    "test_asv.py",
    "test_transport_failures.py",
    "test_gate_exam.py",
    "test_wheels.py",
    "test_entries.py",
    "test_session.py",
    "test_exam.py",
    "test_case.py",
    "test_change_points.py",
    "test_probe_engine.py",
    "test_ray_failures.py",
    "test_front.py",
    "test_door.py",
    "test_transports.py",
    "test_zeromq.py",
    "test_sequence.py",
    "test_track.py",
    "test_upgrade.py",
    "test_newest.py",
    "test_gated.py",
    "test_planted.py",
]
"""Files that take longest, with engines and without: one that came last would have one core idle. A worker is
given the next file when two tests are left to it, however long they take. `make check` leaves them out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    for item in items:
        if item.path.name in places:
            item.add_marker("slow")
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    try:
        reason = None if not on_gpu or machine.gpus() else "no NVIDIA GPU can be used"
    except machine.GpusUnknown as error:
        reason = str(error)
    for item in on_gpu if reason else ():
        item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: a unix socket's may have 107 bytes, and pytest's own are long."""
    with tempfile.TemporaryDirectory(prefix="rpt-", dir="/tmp") as made:
        yield Path(made)


@pytest.fixture
def sockets() -> Iterator[tuple[zmq.Socket, zmq.Socket]]:
    """Two sockets that are connected to each other."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://pair")
        other.connect("inproc://pair")
        yield one, other


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Mapping[str, str]]:
    """The variables of a Ray cluster for all files of this process that can share one: it takes seconds to
    start."""
    folder = tempfile.mkdtemp(prefix="rpt-", dir="/tmp")
    try:
        with local_cluster(Path(folder)) as joined:
            yield joined
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(shared_cluster) -> Iterator[None]:
    """That cluster is the one to join until the file ends."""
    with environment(shared_cluster):
        yield


@pytest.fixture
def no_cluster(monkeypatch) -> None:
    """No variable is left of `cluster`, which others in the file have: for tests that start their own."""
    admission = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")
    loopback = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "VLLM_HOST_IP")
    for name in (*admission, *loopback):
        monkeypatch.delenv(name, raising=False)
    if "ray" in sys.modules:
        from rollout_perf.transports.ray_workers import forget_settings

        forget_settings()


@pytest.fixture(scope="module", autouse=True)
def leaves_ray() -> Iterator[None]:
    """A file of tests has left every Ray cluster, and names none: chance says which file comes next."""
    before = os.environ.get("RAY_ADDRESS")
    yield
    ray = sys.modules.get("ray")
    assert ray is None or not ray.is_initialized(), "this process is still in a Ray cluster"
    assert os.environ.get("RAY_ADDRESS") == before


@pytest.fixture(scope="module", params=PATHS)
def path(request) -> str:
    """The name of a path that can be taken here; the cluster is there, where it needs one."""
    row = CARRIERS[request.param]
    if reason := row.absent(has_gpu=True):
        pytest.skip(reason)
    if row.surroundings:
        request.getfixturevalue("cluster")
    # What a library sets up once in a process is no leak of ours.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, started(request.param, folder):
        pass
    return request.param


@pytest.fixture(scope="module")
def pairs(path) -> Iterator[list]:
    """What `pair` has open."""
    opened: list = []
    yield opened
    for stack, _transport in opened:
        stack.close()


@pytest.fixture
def pair(path, pairs) -> Transport:
    """A transport with two workers, started once for all tests of a file that leave it healthy.

    It ends with the file: over Ray, this process has joined the cluster until then.
    """
    if pairs and pairs[0][1]._failure is not None:  # one test's failure must not be the next one's
        pairs.pop()[0].close()
    if not pairs:
        stack = contextlib.ExitStack()
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rpt-", dir="/tmp"))
        pairs.append((stack, stack.enter_context(started(path, folder, 2))))
    return pairs[0][1]
