"""lanes.py: cores and GPUs of sessions that are up at once, and the end of all where one breaks."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from rollout_bench.measure import lanes, machine, pinning, session
from rollout_bench.measure.lanes import Lane, in_each, most, shares_of_cores, split
from rollout_bench.measure.marked import marked
from rollout_bench.measure.process import Interpreter, Outcome, run_module
from rollout_bench.measure.session import Contestant, attempt
from rollout_bench.measure.tracked import fixed
from rollout_bench.schema.variables import ALONE


@pytest.fixture
def topology(tmp_path, monkeypatch):
    """Have so many sockets, cores in each and threads of a core, numbered thread by thread, then socket by
    socket in turn, as kernels do; some of the CPUs may be left out."""

    def there(sockets: int, cores: int, threads: int, without: set[int] = frozenset(), known: bool = True):
        total = sockets * cores
        for cpu in range(total * threads):
            folder = tmp_path / f"cpu{cpu}" / "topology"
            if known:
                folder.mkdir(parents=True)
                siblings = ",".join(str(cpu % total + total * one) for one in range(threads))
                (folder / "thread_siblings_list").write_text(f"{siblings}\n")
                (folder / "physical_package_id").write_text(f"{cpu % total % sockets}\n")
        monkeypatch.setattr(pinning, "_CPUS", tmp_path)
        monkeypatch.setattr(lanes, "_CPUS", tmp_path)
        allowed = set(range(total * threads)) - without
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: allowed)

    return there


@pytest.mark.parametrize(
    ("host", "count", "shares"),
    [
        ((2, 4, 1), 2, [[0, 2, 4, 6], [1, 3, 5, 7]]),  # a socket each
        ((2, 2, 2), 2, [[0, 4, 2, 6], [1, 5, 3, 7]]),
        ((1, 6, 2), 4, [[0, 6], [1, 7], [2, 8], [3, 9]]),  # of 12 threads 3 each would split cores
        ((2, 4, 2), 1, [[0, 8, 2, 10, 4, 12, 6, 14, 1, 9, 3, 11, 5, 13, 7, 15]]),
        ((1, 4, 2, {0, 1, 5}), 2, [[2, 6], [3, 7]]),  # 4, of which the other thread is not ours, is left over
        ((1, 2, 2), 4, [[0], [2], [1], [3]]),  # fewer cores than shares
        ((1, 4, 1, frozenset(), False), 2, [[0, 1], [2, 3]]),  # a sandbox says nothing
    ],
)
def test_shares_of_cores_are_of_a_socket_and_have_both_threads_of_a_core(host, count, shares, topology):
    topology(*host)
    found = shares_of_cores(count)
    assert [sorted(one) for one in found] == [sorted(one) for one in shares]


@pytest.mark.parametrize(
    ("gpus", "each", "cores", "room"),
    [(0, 1, 2, 2), (4, 1, 64, 4), (4, 2, 64, 2), (4, 3, 64, 1), (4, 8, 64, 1), (8, 1, 6, 6)],
)
def test_there_is_room_for_as_many_lanes_as_have_gpus_and_a_core(gpus, each, cores, room, monkeypatch):
    monkeypatch.setattr(machine, "gpus", lambda: [{}] * gpus)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    assert most(each) == room


@pytest.mark.parametrize(
    ("listed", "count", "each", "expected"),
    [
        (None, 2, 2, ["0,1", "2,3"]),
        (None, 3, 1, ["0", "1", "2"]),
        ("3,1, 2,0", 2, 2, ["3,1", "2,0"]),
        ("GPU-aa,GPU-bb,GPU-cc,GPU-dd", 2, 1, ["GPU-aa", "GPU-cc"]),
        (None, 1, 1, [None]),  # the whole host, which sees what it saw
        ("2,1", 1, 1, [None]),
    ],
)
def test_lanes_have_gpus_in_the_order_and_by_the_names_that_the_user_has_set(
    listed, count, each, expected, topology, monkeypatch
):
    topology(1, 4, 1)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if listed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    monkeypatch.setattr(machine, "gpus", lambda: [{}] * 4)
    found = split(count, each)
    assert [lane.variables.get("CUDA_VISIBLE_DEVICES") for lane in found] == expected
    assert len(frozenset().union(*(lane.cores for lane in found))) == len(found) * len(found[0].cores)
    assert [lane.provenance.get("lane", {}).get("number") for lane in found] == (
        [1, 2, 3][:count] if count > 1 else [None]
    )


def of(count):
    return [Lane(number + 1, count, frozenset({0}), ()) for number in range(count)]


def test_lanes_work_at_once_and_a_single_one_in_the_thread_of_who_calls():
    meet = threading.Barrier(3, timeout=10)
    assert in_each(of(3), lambda lane: (meet.wait(), lane.number)[1]) == [1, 2, 3]
    assert in_each(of(1), lambda _lane: threading.current_thread()) == [threading.current_thread()]


def test_where_one_breaks_the_others_are_ended_and_its_error_is_raised():
    """Whichever it is: it must not wait for those before it."""
    done = []

    def work(lane):
        if lane.number == 2:
            raise ValueError("the disk is full")
        done.append(lane.ended.wait(10))
        raise RuntimeError("ended")

    with pytest.raises(ValueError, match="the disk is full"):
        in_each(of(3), work)
    assert done == [True, True]


SLEEPS = """
import os, pathlib, subprocess, sys
code = "import os, time; print(sorted(os.sched_getaffinity(0)), flush=True); time.sleep(60)"
subprocess.run([sys.executable, "-c", code], stdout=open(os.environ["SAID"], "a"))
"""


@pytest.fixture
def sleeps(tmp_path, monkeypatch):
    """A module that has a child say which CPUs it may use, and sleep; the file in which it says so."""
    (tmp_path / "sleeps.py").write_text(SLEEPS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    monkeypatch.setenv(ALONE, "a test")
    return tmp_path / "said"


def wait_for(file, lines):
    end = time.monotonic() + 40
    while time.monotonic() < end:
        if file.exists() and len(file.read_text().splitlines()) >= lines:
            return
        time.sleep(0.02)
    raise AssertionError(f"{file} has no {lines} lines")


@pytest.mark.timeout(120)
def test_the_end_of_a_lane_ends_what_runs_in_it_and_children_are_on_its_cores(sleeps, monkeypatch):
    monkeypatch.setattr("rollout_bench.measure.process._GRACE_SECONDS", 1.0)
    lane = Lane(1, 2, frozenset({min(os.sched_getaffinity(0))}), ())
    own = os.sched_getaffinity(0)
    ender = threading.Thread(target=lambda: (wait_for(sleeps, 1), lane.ended.set()))
    ender.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_module("sleeps", {}, print, 60.0, lane=lane)
    ender.join()
    assert time.monotonic() - begin < 20
    assert sleeps.read_text() == f"{sorted(lane.cores)}\n"
    assert os.sched_getaffinity(0) == own
    assert marked("SAID", str(sleeps)) == []


IN_TWO_LANES = """
import os, signal
from rollout_bench.measure.lanes import Lane, in_each
from rollout_bench.measure.process import run_module
for number in (signal.SIGINT, signal.SIGTERM):  # whatever these tests are started by has the first ignored
    signal.signal(number, signal.default_int_handler)
cpus = sorted(os.sched_getaffinity(0))
two = [Lane(1, 2, frozenset(cpus[:1]), ()), Lane(2, 2, frozenset(cpus[-1:]), ())]
try:
    in_each(two, lambda lane: run_module("sleeps", {}, print, 60.0, lane=lane))
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_all_lanes_and_nothing_is_left(number, sleeps):
    process = subprocess.Popen(
        [sys.executable, "-c", IN_TWO_LANES],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(sleeps, 2)
        process.send_signal(number)
        out, _err = process.communicate(timeout=45)
    finally:
        process.kill()
    assert (out, process.returncode) == ("interrupted\n", 0)
    assert marked("SAID", str(sleeps)) == []
    cpus = sorted(os.sched_getaffinity(0))
    assert sorted(sleeps.read_text().splitlines()) == sorted([f"{cpus[:1]}", f"{cpus[-1:]}"])


def test_a_sessions_processes_see_the_gpus_of_its_lane_alone(monkeypatch):
    """Those of each build, and those which order the rounds and look at the host."""
    asked = []

    def run(_module, request, _say, _deadline, interpreter, lane):
        asked.append((request["interpreters"], interpreter, lane))
        return Outcome("")

    monkeypatch.setattr(session, "run_module", run)
    monkeypatch.setattr(machine, "gpus", list)
    lane = Lane(2, 2, frozenset({0}), ("2", "3"))
    other = Contestant("zmq", "head", Interpreter("python", {"A": "1", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}))
    attempt("nano", [Contestant("zmq", "base"), other], fixed("nano", [8]), 1, 0, print, lane=lane)
    [(interpreters, orders, in_lane)] = asked
    assert in_lane is lane
    assert interpreters["head"]["variables"] == {"A": "1", "CUDA_VISIBLE_DEVICES": "2,3"}
    assert interpreters["base"]["variables"] == {**os.environ, "CUDA_VISIBLE_DEVICES": "2,3"}
    assert orders.variables == {**os.environ, "CUDA_VISIBLE_DEVICES": "2,3"}
