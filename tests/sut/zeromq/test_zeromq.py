"""The ZeroMQ transport: where it listens, who may connect, and what it makes of what is no message."""

import contextlib
import logging
import os
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
import zmq
from contract import DEADLINE, ask, failures_of
from fake_host import say, send_buffers

from rollout_perf import ConfigurationError, EngineError, Stalled, WorkerDied
from rollout_perf.transports import TRANSPORTS
from rollout_perf.transports.base import DEATH_NOTICE_SECONDS, HostSpec
from rollout_perf.transports.reply import OK
from rollout_perf.transports.zeromq import driver
from rollout_perf.transports.zeromq.driver import ZeroMQ
from rollout_perf.transports.zeromq.endpoint import Endpoint, check_endpoint
from rollout_perf.transports.zeromq.frames import REPLY

REFUSED = "a peer with an unknown key was refused"


@contextlib.contextmanager
def listening(folder: Path, endpoint: str | None = None, workers: int = 1):
    transport = TRANSPORTS["zmq"].make(workers, folder, endpoint)
    transport.start(HostSpec("fake_host:Puppet", b""), DEADLINE)
    try:
        yield transport
    finally:
        transport.close()


def address(transport: ZeroMQ, purpose: str = "replies") -> str:
    return getattr(transport, f"_{purpose}").get_string(zmq.LAST_ENDPOINT)


@contextlib.contextmanager
def peer(transport: ZeroMQ, kind: int = zmq.PUSH, purpose: str = "replies", keys: tuple | None = None):
    """A socket of somebody else, connected."""
    with zmq.Context() as context, context.socket(kind) as stranger:
        stranger.linger = 0
        if keys:
            stranger.curve_serverkey, stranger.curve_publickey, stranger.curve_secretkey = keys
        stranger.connect(address(transport, purpose))
        yield stranger


# --- where it listens -----------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1", "ipc"])
def test_it_listens_where_it_is_asked_to(folder, endpoint):
    with listening(folder, endpoint, 2) as transport:
        assert ask(transport, "echo", "over", ranks=[0, 1]) == ["over"] * 2
        facts = transport.describe()
        assert facts["endpoint_kind"] == endpoint.partition(":")[0]
        assert (facts["security"] == "CURVE") == endpoint.startswith("tcp")
        assert address(transport).startswith(endpoint)


def test_a_rollout_over_tcp_is_opened_by_its_endpoint():
    TRANSPORTS["zmq"].check_endpoint("tcp://127.0.0.1")
    with pytest.raises(ConfigurationError, match="this path takes none"):
        TRANSPORTS["ray"].check_endpoint("tcp://127.0.0.1")


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("tcp://*", "every interface"),
        ("tcp://0.0.0.0:7000", "every interface"),
        ("tcp://[::]", "every interface"),
        ("udp://127.0.0.1", "not taken"),
        ("tcp://127.0.0.1/path", "not taken"),
        ("tcp://127.0.0.1:99999", "Port out of range"),
        ("tcp://127.0.0.1:65535", "the next"),
        ("127.0.0.1:7000", "not taken"),
    ],
)
def test_an_endpoint_that_is_not_one_interface_is_refused_in_a_line(endpoint, why):
    with pytest.raises(ConfigurationError, match=why) as caught:
        check_endpoint(endpoint)
    assert "\n" not in str(caught.value)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_port_that_is_taken_and_a_path_that_is_are_named_and_the_next_start_works(folder):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(EngineError, match=f"cannot listen at tcp://127.0.0.1:{port}: Address"):
            TRANSPORTS["zmq"].make(1, folder, f"tcp://127.0.0.1:{port}").start(
                HostSpec("fake_host:Puppet", b""), DEADLINE
            )
    transport = ZeroMQ(1, folder)
    transport._endpoint = Endpoint("ipc", f"{folder}/gone/x")
    with pytest.raises(EngineError, match="cannot listen at ipc://"):
        transport.start(HostSpec("fake_host:Puppet", b""), DEADLINE)
    with listening(folder) as again:
        assert ask(again, "echo", "works") == ["works"]


@pytest.mark.parametrize(("cores", "spins"), [(2, False), (7, False), (8, True)])
def test_it_spins_where_cores_are_to_spare_and_carries_all_the_same(folder, monkeypatch, cores, spins):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    with listening(folder) as transport:
        assert (transport.describe()["look_seconds"] > 0) == spins
        assert ask(transport, "echo", "first") == ["first"]
        time.sleep(0.05)  # longer than it spins
        assert ask(transport, "echo", "second") == ["second"]
        assert ask(transport, "later", (0.05, "third")) == ["third"]


def test_connections_over_ipc_buffer_more_than_a_unix_socket_does_by_itself(folder):
    left, right = socket.socketpair()
    with left, right:
        usual = left.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    with listening(folder, workers=2) as transport:
        calls = send_buffers(f"{transport._endpoint.address}-calls")  # the shared pair has its own
        replies = ask(transport, "send_buffers", "-replies", ranks=[0, 1])
    assert [len(calls), *map(len, replies)] == [2, 1, 1]
    assert min(calls + replies[0] + replies[1]) > usual


def test_sockets_over_ipc_are_in_the_folder_and_go_with_the_transport(folder):
    with listening(folder):
        assert len(list(folder.iterdir())) == 2
    assert list(folder.iterdir()) == []


# --- who may connect --------------------------------------------------------------------------------


def test_strangers_on_the_port_are_refused_logged_once_and_the_rollout_goes_on(folder, caplog):
    """Without keys, with wrong ones, with bytes that are no ZeroMQ, with a frame of 4 GiB announced."""
    with (
        caplog.at_level(logging.DEBUG),
        listening(folder, f"tcp://127.0.0.1:{free_port()}") as transport,
    ):
        wrong = (transport._authenticator.keys.driver_public, *zmq.curve_keypair())
        forged = REPLY.pack(1, 0, OK, 0)
        strangers = [{}, {"keys": wrong}, {"kind": zmq.DEALER, "purpose": "calls", "keys": wrong}]
        port = int(address(transport).rpartition(":")[2])
        with contextlib.ExitStack() as stack:
            for stranger in strangers:  # at once: one that is refused already has nowhere to send to
                stack.enter_context(peer(transport, **stranger)).send(forged, zmq.NOBLOCK)
            raw, large = (
                stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(2)
            )
            raw.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"\xff" * 200)
            greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
            large.sendall(greeting + b"\x06" + struct.pack(">Q", 1 << 32))
            end = time.monotonic() + 5.0
            while REFUSED not in caplog.text and time.monotonic() < end:
                assert ask(transport, "echo", "meanwhile") == ["meanwhile"]
            time.sleep(0.5)  # they try again and again
            assert transport.counters.replies == transport.counters.calls
            assert ask(transport, "echo", "goes on") == ["goes on"]
        assert caplog.text.count(REFUSED) == 1
        secret = transport._authenticator.keys.secret.decode()
    assert secret not in caplog.text


def test_keys_stand_neither_on_a_command_line_nor_in_an_environment(folder):
    with listening(folder, "tcp://127.0.0.1") as transport:
        [(_rank, pid)] = ask(transport, "who")
        for name in ("cmdline", "environ"):
            text = Path(f"/proc/{pid}/{name}").read_bytes()
            assert transport._authenticator.keys.secret not in text
            assert transport._authenticator.keys.public not in text


# --- what is no message, and what is cut ----------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([b"short"], "what is no reply: 5 bytes where a header has 15"),
        ([REPLY.pack(1, 0, OK, 3), b"one"], "3 frames were announced, 1 came"),
        ([REPLY.pack(99, 0, OK, 0)], "answered call 99 twice, late or unasked"),
        ([REPLY.pack(1, 7, OK, 0)], "worker 7 answered call 1 twice, late or unasked"),
    ],
)
def test_garbage_and_answers_that_nobody_asked_for_fail_the_transport_with_the_cause(folder, frames, why):
    """A worker that answers so is broken: its next answer could be taken for another call's."""
    with listening(folder) as transport, peer(transport) as worker:
        noted = failures_of(transport)
        worker.send_multipart(frames)
        with pytest.raises(EngineError, match=why):
            ask(transport, "sleep", 5)
        assert len(noted.errors) == 1


def test_a_second_answer_to_a_call_fails_the_transport(folder):
    with listening(folder) as transport, peer(transport) as worker:
        assert ask(transport, "echo", 1) == [1]
        worker.send(REPLY.pack(1, 0, OK, 0))
        with pytest.raises(EngineError, match="worker 0 answered call 1 twice"):
            ask(transport, "sleep", 5)


def test_a_frame_beyond_the_bound_is_refused(folder, monkeypatch):
    monkeypatch.setattr(driver, "LARGEST_FRAME_BYTES", 1000)
    with listening(folder) as transport:
        assert ask(transport, "echo", "small") == ["small"]
        begin = time.monotonic()
        with pytest.raises(EngineError, match=r"the connection to worker 0 \(process \d+\) was cut"):
            ask(transport, "array", 10_000)
        assert time.monotonic() - begin < DEATH_NOTICE_SECONDS


@pytest.mark.parametrize("endpoint", [None, "tcp://127.0.0.1"])
def test_a_connection_that_is_cut_is_noticed_and_the_next_start_works(folder, endpoint):
    with listening(folder, endpoint) as transport:
        begin = time.monotonic()
        waiting = transport.send(say("cut"), [0], DEADLINE)
        with pytest.raises(WorkerDied, match=r"the connection to worker 0 \(process \d+\) was cut"):
            waiting.result()
        assert time.monotonic() - begin < DEATH_NOTICE_SECONDS
    with listening(folder, endpoint) as again:
        assert ask(again, "echo", "works") == ["works"]


def test_a_worker_that_is_stopped_has_stalled_and_is_ended_all_the_same(folder):
    with listening(folder) as transport:
        [(_rank, pid)] = ask(transport, "who")
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(Stalled, match="within 1 s"):
            ask(transport, "echo", "?", deadline=1.0)
    assert not Path(f"/proc/{pid}").exists()


def test_fifty_starts_and_stops_leave_nothing(folder):
    def not_launched(*_rest) -> None:
        raise WorkerDied("not started")

    with listening(folder):
        pass
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for number in range(50):
        transport = ZeroMQ(1, folder)
        if number % 10:  # most without an interpreter to start: what is the driver's is what could leak
            transport._processes.launch = not_launched
            with pytest.raises(WorkerDied):
                transport.start(HostSpec("fake_host:Echo", b""), DEADLINE)
        else:
            transport.start(HostSpec("fake_host:Echo", b""), DEADLINE)
            transport.send([b"x"], [0], DEADLINE).result()
            transport.close()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
    assert list(folder.iterdir()) == []
