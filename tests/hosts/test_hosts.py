"""Workers on two hosts: steps of a real engine, and what the caller sees when a host or the network fails.

Each host is a set of namespaces with a raylet of its own; see `hosts`. It is no real network.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout_perf.transports.base import DEATH_NOTICE_SECONDS

sys.path.insert(0, str(Path(__file__).parent))

from hosts import Host, Network, two_hosts, unavailable

HERE = Path(__file__).parent
CLUSTER = {"RAY_ADDRESS": "10.77.0.1:6379"}
PATHS = ["zmq", "ray", "ray-graph"]
LONG = pytest.mark.endurance
"""Of what takes too long for every change."""

ENGINES = [("zmq",), pytest.param(("vllm-mp", "ray-graph", "ray"), marks=LONG)]
"""The paths of which there is an engine, one after the other; the network of the last one is cut."""
NODES = "left,right,right,left"
"""So the ranks of either stage are on both hosts, and the stages of either rank."""
PYTHONPATH = ":".join([str(HERE.parents[1]), str(HERE.parent / "support")])

WHY_NOT = unavailable()
pytestmark = [pytest.mark.hosts, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]


_TWO_NODES = """
import ray, time
ray.init(configure_logging=False)
while sum(node["Alive"] for node in ray.nodes()) != 2:
    time.sleep(0.2)
"""


class Cluster:
    """Two hosts with a raylet each; the driver is on the left one, where the head is."""

    def __init__(self, left: Host, right: Host, network: Network):
        self.left, self.right, self.network = left, right, network
        self._folders = self._run_folders()  # a checkout may be called so
        left.start_ray(cpus=2)
        right.start_ray(left, cpus=2)

    def wait_for_ray(self) -> None:
        """Return when Ray knows which raylets there are: two."""
        self.left.run(sys.executable, "-c", _TWO_NODES, **CLUSTER)

    def ours(self) -> list[str]:
        """Processes of a run that there are, on both."""
        return [
            f"{host.name}: {line}"
            for host in (self.left, self.right)
            for line in host.processes()
            if "rollout_perf" in line or "ray::Worker" in line or "ray::Agent" in line or "VLLM" in line
        ]

    def _run_folders(self) -> str:
        return self.left.run("sh", "-c", "ls -d /tmp/rp-* 2>/dev/null || true")

    def check_nothing_left(self, seconds: float = 15.0) -> None:
        end = time.monotonic() + seconds
        while (left := self.ours()) and time.monotonic() < end:
            time.sleep(0.2)
        assert left == []
        assert self._run_folders() == self._folders
        for host in (self.left, self.right):
            assert "cpushm" not in host.run("ls", "/dev/shm")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with two_hosts() as (left, right, network):
        assert network is not None
        yield Cluster(left, right, network)


@pytest.fixture(scope="module", params=ENGINES, ids="-".join)
def generated(cluster: Cluster, request: pytest.FixtureRequest) -> dict[str, list[Any]]:
    """What `generate` has said of each path, and of its failure when the network was cut, after how long."""
    words = [sys.executable, str(HERE / "generate.py"), ",".join(request.param), NODES]
    # vLLM has torch compile a part of a tensor-parallel model's first step, for 20 s.
    variables = cluster.left.environment | CLUSTER | {"PYTHONPATH": PYTHONPATH, "TORCHDYNAMO_DISABLE": "1"}
    said: dict[str, list[Any]] = {}
    with subprocess.Popen(
        cluster.left.command(*words), env=variables, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith('["'):
                continue  # of vLLM's
            what, *more = json.loads(line)
            said[what] = more
            if what == request.param[-1]:
                cluster.network.set(lost=(0.0, 1.0))
                begin = time.monotonic()
            elif what == "failure":
                more.append(time.monotonic() - begin)
                cluster.network.set()
    assert list(said) == [*request.param, "failure"]
    return said


class Driver:
    """The process that `driver` describes, on the left host."""

    def __init__(self, host: Host, **variables: str):
        self._process = subprocess.Popen(
            host.command(sys.executable, str(HERE / "driver.py")),
            env=host.environment | CLUSTER | {"PYTHONPATH": PYTHONPATH} | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, *words: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()

    def answer(self) -> tuple[float, str, Any]:
        assert self._process.stdout is not None
        seconds, kind, value = json.loads(self._process.stdout.readline())
        return seconds, kind, value

    def do(self, *words: Any) -> Any:
        self.tell(*words)
        _seconds, kind, value = self.answer()
        assert kind == "", value
        return value

    def end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(30)


@pytest.fixture(scope="module")
def driver(cluster: Cluster) -> Iterator[Driver]:
    made = Driver(cluster.left)
    yield made
    made.end()


def test_a_step_of_workers_on_two_hosts_and_the_network_is_cut(cluster, generated):
    kind, text, seconds = generated.pop("failure")
    answers = []
    for path, (tokens, sent, listening, facts) in generated.items():
        names = [name.split()[0] for name in facts["nodes"]["workers"]]
        stages = 2 if path == "zmq" else 1
        assert names == NODES.split(",")[: 2 * stages]
        assert facts["engine"]["pipeline_parallel_size"] == stages
        assert {one["interface"] for one in facts["nodes"]["facts"]} == {"eth0"}
        # The ranks add up their parts over the network after attention and MLP of each of nano's 4 layers,
        # 128 floats a token: were they together in shared memory, only the smaller calls would cross.
        assert sent > 2 * 4 * 4 * 128 * 4 * 15, path
        assert path == "vllm-mp" or listening == ["10.77.0.1"]  # where vLLM listens, it decides
        answers.append(tokens)
    assert all(tokens == answers[0] for tokens in answers)
    assert kind == "WorkerDied", text
    assert "the connection to worker" in text
    assert seconds < DEATH_NOTICE_SECONDS + 1  # of which the front needs a part to ask its engine why
    cluster.check_nothing_left()


@pytest.mark.parametrize("path", ["ray-graph", *(pytest.param(path, marks=LONG) for path in ("zmq", "ray"))])
def test_calls_that_are_under_way_at_once_are_answered_by_either_worker(cluster, driver, path):
    """Over a compiled graph whatever one worker had said, and nobody read, held up all that came after."""
    driver.do("start", path, "spread", 20.0)
    for rank in (0, 1):
        for size in (64, 200_000):
            assert driver.do("exchange", rank, size) == []
    driver.do("close")


@LONG
def test_without_nodes_workers_stay_on_this_host(cluster, driver):
    driver.do("start", "ray", None, 60.0)
    assert set(driver.do("ask", "host")) == {"left"}
    driver.do("close")


def _kill_worker(cluster: Cluster, pid: int) -> None:
    cluster.right.run("kill", "-9", str(pid))


def _kill_raylet(cluster: Cluster, _pid: int) -> None:
    cluster.right.run("pkill", "-9", "-x", "raylet")


def _cut(cluster: Cluster, _pid: int) -> None:
    cluster.network.set(lost=(0.0, 1.0))


FAULTS = {"worker killed": _kill_worker, "raylet killed": _kill_raylet, "cut in one direction": _cut}


@LONG
@pytest.mark.parametrize(
    ("path", "fault"),
    [(path, fault) for path in PATHS for fault in ("worker killed", "cut in one direction")]
    + [("ray", "raylet killed")],
)
def test_a_fault_on_the_other_host_reaches_the_caller_in_time(cluster, driver, path, fault):
    driver.do("start", path, "spread", 60.0)
    rank = driver.do("ask", "host").index("right")
    pid = dict(driver.do("ask", "who"))[rank]
    driver.tell("ask", "sleep", 50.0)
    time.sleep(0.5)
    begin = time.monotonic()
    try:
        FAULTS[fault](cluster, pid)
        _seconds, kind, text = driver.answer()
        waited = time.monotonic() - begin
    finally:
        cluster.network.set()
    if fault == "raylet killed":
        cluster.right.run(sys.executable, "-m", "ray.scripts.scripts", "stop", "--force")
        cluster.right.start_ray(cluster.left)
        cluster.wait_for_ray()
    assert kind == "WorkerDied", text
    assert f"worker {rank}" in text
    assert waited < DEATH_NOTICE_SECONDS
    driver.do("close")
    cluster.check_nothing_left()


@LONG
@pytest.mark.parametrize("path", ["zmq"])
def test_a_worker_that_is_slow_has_stalled_at_the_deadline_and_the_next_session_works(cluster, driver, path):
    driver.do("start", path, "spread", 2.0)
    driver.tell("ask", "sleep", 50.0)
    seconds, kind, text = driver.answer()
    assert kind == "Stalled", text
    assert 2.0 <= seconds < 2.0 + DEATH_NOTICE_SECONDS
    driver.do("close")
    cluster.check_nothing_left()
    driver.do("start", path, ["right", "10.77.0.1"], 60.0)
    assert driver.do("ask", "host") == ["right", "left"]
    driver.do("close")


def test_a_node_that_has_another_build_is_refused_and_both_are_named(cluster, driver):
    mine = "/tmp/another"
    package = HERE.parents[1] / "rollout_perf"
    cluster.right.run("cp", "-r", str(package), mine)
    cluster.right.run("sh", "-c", f"echo '# changed' >> {mine}/errors.py")
    cluster.right.run("mount", "--bind", mine, str(package))
    try:
        driver.tell("start", "zmq", "spread", 60.0)
        _seconds, kind, text = driver.answer()
    finally:
        cluster.right.run("umount", str(package))
    assert kind == "ConfigurationError"
    assert text.startswith("the hash of the package rollout_perf differs: ")
    assert "on left (10.77.0.1) (this host), " in text
    assert "on right (10.77.0.2); the same" in text
    driver.do("close")


def test_an_address_that_takes_connections_and_answers_nothing_is_refused_in_time(cluster):
    silent = "import socket, time; socket.create_server(('10.77.0.2', 7777)); time.sleep(60)"
    with subprocess.Popen(cluster.right.command(sys.executable, "-c", silent)) as listener:
        driver = Driver(cluster.left, RAY_ADDRESS="10.77.0.2:7777")
        driver.tell("start", "zmq", "spread", 60.0)
        seconds, kind, text = driver.answer()
        driver.end()
        listener.kill()
    assert kind == "ConfigurationError"
    assert text.startswith("no Ray cluster answers at RAY_ADDRESS=10.77.0.2:7777")
    assert "\n" not in text
    assert seconds < 25  # of which 10 s to wait, and the rest to load Ray
