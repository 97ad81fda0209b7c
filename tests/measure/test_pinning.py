"""pinning.py: an engine's processes on cores of their own, the fastest, where there are enough."""

import os
import subprocess
import sys

import pytest
from rollout_bench.measure import pinning
from rollout_bench.measure.pinning import Speed, by_speed, cores_for, pin


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
    asked = []
    assert cores_for(processes, lambda count: asked.append(count) or order) == expected
    assert asked == [processes] * bool(expected)  # which takes 2 ms a core


@pytest.mark.parametrize(("processes", "asked"), [(3, 13), (20, 64)])
def test_the_fastest_cpu_comes_first_and_the_affinity_is_as_before(processes, asked, monkeypatch):
    affinity, spun = [set(range(64))], []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: affinity[-1])
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, cpus: affinity.append(cpus))
    monkeypatch.setattr(
        pinning, "_spin_seconds", lambda cpu: affinity.append({cpu}) or spun.append(cpu) or -cpu
    )
    found = by_speed(processes)
    assert len(spun) == asked
    assert found[:asked] == sorted(spun, reverse=True)
    assert sorted(found) == list(range(64))
    assert affinity[-1] == set(range(64))


def test_how_slow_cores_are_is_told_beside_the_fastest_that_was_seen(monkeypatch):
    """The first spin on a core fills its caches and does not count."""
    allowed = os.sched_getaffinity(0)
    monkeypatch.setattr(Speed, "fastest", float("inf"))
    seconds = iter([9.0, 2.0, 9.0, 1.0, 9.0, 4.0, 9.0, 2.0])
    monkeypatch.setattr(pinning, "_cpu_seconds", lambda _turns: next(seconds))
    one = Speed([{min(allowed)}, {max(allowed)}])
    assert one.slowness() is None
    one.sample()
    assert one.slowness() == 1.5
    assert os.sched_getaffinity(0) == allowed
    later = Speed([{min(allowed)}, {max(allowed)}])
    later.sample()
    assert later.slowness() == 3.0


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
