"""A lifeline between two hosts whose network fails, and what a host says of its side of it; without Ray."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout_perf.transports.base import DEATH_NOTICE_SECONDS

sys.path.insert(0, str(Path(__file__).parent))

from hosts import Host, Network, two_hosts, unavailable

ROOT = Path(__file__).parents[2]
WHY_NOT = unavailable()
pytestmark = [pytest.mark.hosts, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]

DRIVER = """
import json, sys, threading
from rollout_perf.transports.lifeline import Lifelines
lines = Lifelines("10.77.0.1")
ended = threading.Event()
lines.watch({1: "right"}, lambda rank, how: (print(how, flush=True), ended.set()))
print(json.dumps([lines.line(1).port, lines.line(1).token.hex()]), flush=True)
ended.wait(60)
"""

WORKER = """
import json, sys, time
from rollout_perf.transports.lifeline import Held, Line
port, token = json.loads(sys.argv[1])
Held(Line("10.77.0.1", port, bytes.fromhex(token), 1))
print("up", flush=True)
time.sleep(60)
"""

SURVEY = """
from rollout_perf.transports.survey import survey
facts = survey("10.77.0.1")
print(facts["address"], facts["interface"], facts["free_port"] > 1023, facts["python"], facts["sut"])
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host, Network]]:
    with two_hosts() as (left, right, network):
        assert network is not None
        yield left, right, network


def _python(host: Host, source: str, *words: str) -> subprocess.Popen:
    environment = host.environment | {"PYTHONPATH": str(ROOT)}
    command = host.command(sys.executable, "-c", source, *words)
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def ends(hosts: tuple[Host, Host, Network]) -> Iterator[tuple[subprocess.Popen, subprocess.Popen]]:
    left, right, network = hosts
    driver = _python(left, DRIVER)
    worker = _python(right, WORKER, driver.stdout.readline())
    assert worker.stdout.readline() == "up\n"
    yield driver, worker
    network.set()
    for process in (driver, worker):
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("lost", [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_each_end_knows_in_time_of_a_network_that_is_cut_in_whatever_direction(hosts, ends, lost):
    driver, worker = ends
    begin = time.monotonic()
    hosts[2].set(lost=lost)
    assert driver.stdout.readline() == "the connection to worker 1 was cut, on right\n"
    assert time.monotonic() - begin < DEATH_NOTICE_SECONDS
    worker.wait(DEATH_NOTICE_SECONDS - (time.monotonic() - begin))


def test_a_network_that_stalls_ends_nothing(hosts, ends):
    """From just before the worker sends a byte, a second after it came up."""
    time.sleep(0.9)
    hosts[2].set(lost=(1.0, 1.0))
    time.sleep(2.0)
    hosts[2].set(delay_seconds=0.05)
    time.sleep(2.0)
    assert [process.poll() for process in ends] == [None, None]


def test_a_network_that_delays_and_loses_packets_ends_nothing(hosts, ends):
    hosts[2].set(delay_seconds=0.05, lost=(0.1, 0.1))
    time.sleep(6)
    assert [process.poll() for process in ends] == [None, None]


def test_a_host_says_by_which_address_it_reaches_the_other(hosts):
    here = hosts[0].run(sys.executable, "-c", SURVEY, PYTHONPATH=str(ROOT)).split()
    there = hosts[1].run(sys.executable, "-c", SURVEY, PYTHONPATH=str(ROOT)).split()
    assert there[:3] == ["10.77.0.2", "eth0", "True"]
    assert here[3:] == there[3:]


def test_a_host_sees_of_tmp_where_modules_are_and_nothing_else(monkeypatch):
    """A checkout in /tmp is on both hosts, as it would be if it were elsewhere."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as seen,
        tempfile.TemporaryDirectory(dir="/tmp") as unseen,
    ):
        (Path(seen) / "below" / "module").mkdir(parents=True)
        monkeypatch.syspath_prepend(f"{seen}/below/module")
        host = Host("left")
        try:
            assert host.run("ls", seen) == "below\n"
            assert Path(unseen).name not in host.run("ls", "/tmp")
        finally:
            host.end()


def test_a_host_that_goes_away_is_noticed_in_time():
    with two_hosts() as (left, right, _network):
        driver = _python(left, DRIVER)
        worker = _python(right, WORKER, driver.stdout.readline())
        assert worker.stdout.readline() == "up\n"
        begin = time.monotonic()
        right.end()
        assert driver.stdout.readline() == "the connection to worker 1 was cut, on right\n"
        assert time.monotonic() - begin < DEATH_NOTICE_SECONDS
        for process in (driver, worker):
            process.kill()
            process.wait()
            process.stdout.close()
