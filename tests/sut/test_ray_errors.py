"""Ray's exceptions become the package's own in one place, for every transport over Ray."""

import queue
from types import SimpleNamespace

import pytest

pytest.importorskip("ray")

import ray
from ray.exceptions import ActorDiedError, RayChannelError, RayChannelTimeoutError, RaySystemError

from rollout_perf import EngineError, WorkerDied
from rollout_perf.transports.ray_actor import RayActor
from rollout_perf.transports.ray_drained import Drained
from rollout_perf.transports.ray_workers import join_cluster


class Identity:
    """As Ray has it of an actor."""

    def __init__(self, text: str):
        self.hex = lambda: text


@pytest.fixture
def transport(folder):
    """One that was not started, with the handles of two actors."""
    made = RayActor(2, folder)
    made._actors = [SimpleNamespace(_actor_id=Identity(text)) for text in ("aa", "bb")]
    return made


def ended(actor: str) -> ActorDiedError:
    error = ActorDiedError()
    error.actor_id = actor
    return error


@pytest.mark.parametrize(
    ("error", "rank", "kind", "text"),
    [
        (ended("bb"), None, WorkerDied, r"worker 1 \(a Ray actor\) ended: ActorDiedError: "),
        (ended("another actor's"), 1, WorkerDied, r"worker 1 \(a Ray actor\) ended"),
        (
            RaySystemError("no memory\nat all"),
            1,
            EngineError,
            r"worker 1: Ray failed: RaySystemError: .*no m",
        ),
        (RaySystemError("no memory"), None, EngineError, r"Ray failed: RaySystemError: "),
    ],
)
def test_an_error_of_ray_names_the_worker_and_the_cause_in_a_line(transport, error, rank, kind, text):
    translated = transport._translated(error, rank)
    assert type(translated) is kind
    with pytest.raises(kind, match=f"^{text}") as caught:
        raise translated
    assert "\n" not in str(caught.value)


def test_a_cluster_of_another_version_is_named_in_a_line(monkeypatch):
    """Ray raises RuntimeError for that alone, with a table of both versions (Ray 2.60)."""

    def refuse(**_arguments):
        raise RuntimeError(
            "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.12.1\n"
        )

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(EngineError) as refused:
        join_cluster()
    assert str(refused.value).endswith("The cluster was started with: Ray: 2.59.0 Python: 3.12.1")


class Channel:
    """One from another node, as Ray's; None closes it."""

    def __init__(self):
        self.blocks = queue.SimpleQueue()

    def read(self, timeout):
        try:
            block = self.blocks.get(timeout=timeout)
        except queue.Empty:
            raise RayChannelTimeoutError("nothing came") from None
        if block is None:
            raise RayChannelError("closed")
        return block


def test_what_comes_from_another_node_is_taken_before_it_is_asked_for_and_the_end_is_told_to_all():
    """Ray's raylet waits until it is taken, and delivers nothing else."""
    channel = Channel()
    drained = Drained(channel)
    with pytest.raises(RayChannelTimeoutError):
        drained.read(0.01)
    for block in (b"a", b"b", None):
        channel.blocks.put(block)
    drained.wait()
    assert channel.blocks.empty()
    assert [drained.read(0.0), drained.read(0.0)] == [b"a", b"b"]
    for _reader in range(2):
        with pytest.raises(RayChannelError, match="closed"):
            drained.read(0.0)
