"""Ray's exceptions become the package's own in one place, for every transport over Ray."""

from types import SimpleNamespace

import pytest

pytest.importorskip("ray")

from ray.exceptions import ActorDiedError, RaySystemError

from rollout_perf import EngineError, WorkerDied
from rollout_perf.transports.ray_actor import RayActor


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
