"""The contract of transports, its bad side: errors, deaths, stalls, and the end. See transports/base.py.

Every transport holds it; test_transports.py is the other side. All tests of
a path run in one process and one cluster: each start is one after the failure before.
"""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from contract import (
    DEADLINE,
    NEEDS_NO_CLUSTER,
    ask,
    failures_of,
    leave_out_what_threads_cannot,
    make,
    most_descriptors_left,
    started,
)
from fake_host import say
from leaks import descriptors, eventually, lives, nothing_left

from rollout_perf import EngineError, Stalled, WorkerDied, WorkerError
from rollout_perf.transports import wire
from rollout_perf.transports.base import CLOSE_SECONDS, DEATH_NOTICE_SECONDS, HostSpec, python_path


@pytest.fixture(autouse=True)
def nothing_is_left(request, path, folder):
    """After every one of these failures; over Ray but for what lives as long as the cluster."""
    leave_out_what_threads_cannot(request, path)
    own = ("process", "thread", "descriptor", "file")
    kinds = own if path in NEEDS_NO_CLUSTER else ("file", "actor")
    with nothing_left(folder, only=kinds):
        yield


def test_an_error_of_a_worker_that_was_not_asked_fails_the_transport(path, folder):
    """Tensor-parallel ranks work together: one that fails in silence makes the others hang, or worse."""
    with started(path, folder, 2) as transport:
        noted = failures_of(transport)

        def work_on() -> None:
            ask(transport, "fail_on", 1, ranks=[0])
            for step in range(20):
                assert ask(transport, "echo", step) == [step]
                time.sleep(0.1)

        with pytest.raises(WorkerError, match="only worker 1"):
            work_on()
        assert len(noted.errors) == 1
        with pytest.raises(WorkerError, match="only worker 1"):
            transport.check()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_host_that_cannot_be_built_is_a_worker_error_and_nothing_is_left(path, folder, workers):
    transport = make(path, folder, workers)
    with pytest.raises(WorkerError, match="RuntimeError: no such device") as caught:
        transport.start(HostSpec("fake_host:FailsAtStart", b""), DEADLINE)
    assert "fake_host.py" in str(caught.value)
    transport.close()


def test_a_worker_that_dies_while_it_starts_is_worker_died(path, folder):
    transport = make(path, folder)
    with pytest.raises(WorkerDied):
        transport.start(HostSpec("fake_host:DiesAtStart", b""), DEADLINE)


def test_a_worker_that_does_not_start_in_time_has_stalled(path, folder):
    transport = make(path, folder)
    begin = time.monotonic()
    with pytest.raises(Stalled, match="within 4 s"):
        transport.start(HostSpec("fake_host:SleepsAtStart", b""), 4.0)
    assert time.monotonic() - begin < 4.0 + CLOSE_SECONDS + 3.0


def test_a_worker_killed_while_a_call_waits_is_noticed(path, folder):
    with started(path, folder, 2) as transport:
        noted = failures_of(transport)
        [(_rank, pid)] = ask(transport, "who", ranks=[1])
        waiting = transport.send(say("sleep", 30), [0, 1], DEADLINE)
        threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
        begin = time.monotonic()
        with pytest.raises(WorkerDied, match="worker 1"):
            waiting.result()
        assert time.monotonic() - begin < 0.5 + DEATH_NOTICE_SECONDS
        assert [type(error) for error in noted.errors] == [WorkerDied]
        with pytest.raises(WorkerDied):
            transport.send(say("echo"), [0], DEADLINE)


def test_a_worker_that_kills_itself_in_a_call_is_noticed(path, folder):
    with started(path, folder) as transport:
        begin = time.monotonic()
        with pytest.raises(WorkerDied):
            ask(transport, "die")
        assert time.monotonic() - begin < DEATH_NOTICE_SECONDS


def test_a_worker_killed_while_idle_is_noticed(path, folder):
    with started(path, folder, 2) as transport:
        [(_rank, pid)] = ask(transport, "who", ranks=[1])
        noted = failures_of(transport)
        os.kill(pid, signal.SIGKILL)
        assert noted.event.wait(DEATH_NOTICE_SECONDS)
        with pytest.raises(WorkerDied):
            transport.check()
        with pytest.raises(WorkerDied):
            transport.send(say("echo"), [0], DEADLINE)
        late = failures_of(transport)
        assert [type(error) for error in late.errors] == [WorkerDied]  # called although it was set afterwards


def test_a_worker_that_answers_with_what_is_no_message_fails_the_transport(path, folder):
    with started(path, folder) as transport:
        ask(transport, "no_message")
        begin = time.monotonic()
        with pytest.raises(EngineError, match=r"TypeError: |exit code 1"):
            ask(transport, "echo", "?")
        assert time.monotonic() - begin < DEATH_NOTICE_SECONDS


def test_an_answer_that_cannot_be_decoded_is_an_error_of_that_call_alone(path, folder):
    with started(path, folder, host="Echo") as transport:
        with pytest.raises(EngineError, match="a reply cannot be read: UnpicklingError"):
            transport.send([b"no pickle"], [0], DEADLINE, lambda messages: wire.decode(messages[0])).result()
        assert [bytes(frame) for frame in transport.send([b"on"], [0], DEADLINE).result()[0]] == [b"on"]


def test_a_worker_that_does_not_answer_in_time_has_stalled(path, folder):
    with started(path, folder) as transport:
        noted = failures_of(transport)
        begin = time.monotonic()
        with pytest.raises(Stalled, match=r"worker 0 within 1\.5 s"):
            ask(transport, "sleep", 30, deadline=1.5)
        assert 1.4 < time.monotonic() - begin < 2.5
        assert len(noted.errors) == 1
        begin = time.monotonic()
    assert time.monotonic() - begin < CLOSE_SECONDS + 3.0


def test_a_worker_that_is_stopped_has_stalled_is_ended_all_the_same_and_the_next_start_works(path, folder):
    """It can neither answer nor end by itself, nor take a signal but SIGKILL."""
    with started(path, folder, 2) as transport:
        [(_rank, pid)] = ask(transport, "who", ranks=[1])
        os.kill(pid, signal.SIGSTOP)
        begin = time.monotonic()
        with pytest.raises(Stalled, match="worker 1 within 1 s"):
            ask(transport, "echo", "?", ranks=[1], deadline=1.0)
        assert time.monotonic() - begin < 2.0
        begin = time.monotonic()
    assert time.monotonic() - begin < CLOSE_SECONDS + 3.0
    assert eventually(lambda: not lives(pid), 20.0)  # Ray takes 5 s until it ends one by force
    with started(path, folder) as again:
        assert ask(again, "echo", "works") == ["works"]


# --- the end ----------------------------------------------------------------------------------------


def test_close_lets_the_hosts_close_and_leaves_nothing(path, folder, tmp_path):
    """Processes by a mark that orphans keep; files, threads and descriptors of this process too."""
    pids = []
    with started(path, folder, 2, str(tmp_path).encode()) as transport:
        pids += [pid for _rank, pid in ask(transport, "who", ranks=[0, 1]) if pid != os.getpid()]
        ask(transport, "later", (0.01, "a thread for replies"))
    assert {file.name for file in tmp_path.iterdir()} == {"closed-0", "closed-1"}
    assert eventually(lambda: not any(map(lives, pids)))


def test_starting_again_and_again_piles_up_neither_threads_nor_descriptors(path, folder):
    starts = 3
    with started(path, folder) as transport:  # a library keeps some of its first start
        assert ask(transport, "echo", "once") == ["once"]
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(starts):
        with started(path, folder) as transport:
            assert ask(transport, "echo", "again") == ["again"]
    allowed = before[0] + most_descriptors_left(path, starts)
    assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= allowed), descriptors()
    assert eventually(lambda: threading.active_count() <= before[1]), threading.enumerate()


def test_closing_twice_is_closing_once_and_a_closed_transport_refuses_calls(path, folder):
    with started(path, folder) as transport:
        transport.close()
        begin = time.monotonic()
        transport.close()
        assert time.monotonic() - begin < 0.5
        with pytest.raises(EngineError, match="closed"):
            transport.send(say("echo"), [0], DEADLINE)


def test_closing_before_starting_is_no_error(path, folder):
    make(path, folder).close()


def test_a_caller_that_waits_gets_an_error_when_the_transport_is_closed(path, folder):
    caught: list[BaseException] = []

    def wait(reply) -> None:
        try:
            reply.result()
        except BaseException as error:
            caught.append(error)

    with started(path, folder) as transport:
        waiter = threading.Thread(target=wait, args=[transport.send(say("sleep", 1.5), [0], DEADLINE)])
        waiter.start()
        time.sleep(0.3)
        begin = time.monotonic()
        transport.close()
        waiter.join(CLOSE_SECONDS)
        assert time.monotonic() - begin < CLOSE_SECONDS + 3.0
    assert [type(error) for error in caught] == [EngineError]


def test_workers_end_when_the_driver_is_killed(path, folder):
    """A driver that is killed cannot close; its workers hold the GPU's memory until they end."""
    script = (
        "import sys, time; from contract import ask, started\n"
        f"with started({path!r}, {str(folder)!r}) as transport:\n"
        "    print(ask(transport, 'who')[0][1], flush=True); time.sleep(60)"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": python_path()},
    )
    pid = int(driver.stdout.readline())
    driver.kill()
    driver.communicate()
    assert eventually(lambda: not lives(pid), 20.0)
