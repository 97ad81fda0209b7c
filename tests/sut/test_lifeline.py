"""lifeline.py: driver and worker each see that the other has gone; a stranger is sent away. tests/hosts cuts
networks."""

import contextlib
import queue
import socket
import subprocess
import sys
import time

import pytest

from rollout_perf import EngineError
from rollout_perf.transports.lifeline import _HELLO, CUT, Held, Lifelines, Line

WORKER = """
import sys, time
from rollout_perf.transports.lifeline import Held, Line
address, port, token, rank = sys.argv[1:]
held = Held(Line(address, int(port), bytes.fromhex(token), int(rank)))
print("up", flush=True)
words = sys.stdin.readline().strip()
if words:
    held.end_with(words)
    time.sleep(60)
"""


@pytest.fixture
def ends():
    return queue.SimpleQueue()


@pytest.fixture
def lifelines(ends):
    made = Lifelines("127.0.0.1")
    made.watch({0: "left", 1: "right"}, lambda *how: ends.put(how))
    yield made
    made.close()


def started(line: Line) -> subprocess.Popen:
    words = [line.address, str(line.port), line.token.hex(), str(line.rank)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    worker = subprocess.Popen([sys.executable, "-c", WORKER, *words], **pipes, text=True)
    assert worker.stdout.readline() == "up\n"
    return worker


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "the connection to worker 1 was cut, on right"),
        ("worker 1 ended by SIGKILL", "worker 1 ended by"),
    ],
)
def test_the_end_of_a_worker_is_told_with_what_it_said_last(lifelines, ends, words, said):
    with started(lifelines.line(1)) as worker:
        worker.stdin.write(f"{words}\n")
        worker.stdin.flush()
        rank, how = ends.get(timeout=10)
        worker.kill()
    assert rank == 1
    assert how.startswith(said)


def test_a_worker_ends_with_its_driver(ends):
    lifelines = Lifelines("127.0.0.1")
    lifelines.watch({0: "left"}, lambda *how: ends.put(how))
    with started(lifelines.line(0)) as worker:
        lifelines.close()
        assert worker.wait(10) == CUT
    assert ends.empty()


def test_a_stranger_is_sent_away_and_the_line_of_a_worker_stays(lifelines, ends):
    line = lifelines.line(0)
    with socket.create_connection((line.address, line.port)) as stranger:
        stranger.sendall(bytes(36))
        assert stranger.recv(1) == b""
    assert ends.empty()


def test_a_driver_that_cannot_be_reached_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(EngineError, match=f"the driver cannot be reached at 127.0.0.1:{port}.*firewall"):
        Held(Line("127.0.0.1", port, bytes(32), 0))


def test_a_beat_is_not_answered_by_another(lifelines):
    """Else two ends would send without pause."""
    line = lifelines.line(0)
    with socket.create_connection((line.address, line.port)) as worker:
        worker.sendall(_HELLO.pack(line.token, line.rank))
        worker.settimeout(0.1)
        beats, end = 0, time.monotonic() + 1.5
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                beats += len(worker.recv(64))
                worker.send(b".")
    assert beats == 1
