"""pinning.py: an engine's processes on cores of their own, the fastest, where there are enough."""

import os
import subprocess
import sys

import pytest
from rollout_bench.measure import pinning
from rollout_bench.measure.pinning import by_speed, cores_for, pin


@pytest.mark.parametrize(
    ("threads", "cores", "first", "processes", "expected"),
    [
        (1, 16, [], 3, [{1}, {2}, {3}]),
        (1, 16, [9, 0, 5], 3, [{9}, {5}, {1}]),
        (2, 16, [], 3, [{1, 17}, {2, 18}, {3, 19}]),
        (2, 16, [20, 2], 3, [{4, 20}, {2, 18}, {1, 17}]),
        (1, 12, [], 3, [{1}, {2}, {3}]),
        (1, 11, [], 3, []),
        (2, 8, [], 3, []),  # 16 threads, and 8 cores
        (1, 2, [], 1, []),
    ],
)
def test_each_process_has_a_core_of_the_fastest_and_the_first_is_left_to_others(
    threads, cores, first, processes, expected, monkeypatch, tmp_path
):
    for number in range(cores * threads):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        siblings = ",".join(str(number % cores + cores * one) for one in range(threads))
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    monkeypatch.setattr(pinning, "_CPUS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores * threads)))
    order = [*first, *(one for one in range(cores * threads) if one not in first)]
    assert cores_for(processes, order) == expected


def test_the_fastest_cpu_comes_first_and_the_affinity_is_as_before(monkeypatch):
    allowed = os.sched_getaffinity(0)
    seconds = {one: -one for one in allowed}
    monkeypatch.setattr(pinning, "_spin_seconds", lambda cpu: os.sched_setaffinity(0, {cpu}) or seconds[cpu])
    assert by_speed() == sorted(allowed, reverse=True)
    assert os.sched_getaffinity(0) == allowed


def test_all_threads_of_a_process_are_kept_there():
    code = "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); print()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        core = {max(os.sched_getaffinity(0))}
        pin([process.pid], [core])
        threads = os.listdir(f"/proc/{process.pid}/task")
        assert len(threads) == 2
        assert all(os.sched_getaffinity(int(thread)) == core for thread in threads)
        process.kill()
