"""transports/worker.py: what a worker leaves on the GPU is fetched before it is encoded, and nobody waits."""

import threading
from types import SimpleNamespace

import pytest

from rollout_perf.transports import wire, worker
from rollout_perf.transports.reply import ERROR, OK, Deferred, answer, fetched
from rollout_perf.transports.worker import STEP, VllmHost


class Later:
    """An output that is still on the GPU."""

    def __init__(self, text):
        self._text = text
        self.ready = threading.Event()

    def get_output(self):
        assert self.ready.wait(5)
        if self._text == "broken":
            raise ValueError(self._text)
        return self._text


def computed(text):
    """An output that is on the GPU, and done."""
    output = Later(text)
    output.ready.set()
    return output


@pytest.fixture
def host(monkeypatch):
    """A host whose worker gives what is scheduled, at once or when sampling."""
    pending: list[str] = []
    outputs: list[Later] = []

    def later(text):
        outputs.append(Later(text))
        return outputs[-1]

    fake = SimpleNamespace(
        execute_model=lambda scheduled: scheduled if scheduled == "at once" else pending.append(scheduled),
        sample_tokens=lambda grammar: (
            later(pending.pop()) if grammar is None else f"{pending.pop()}, {grammar}"
        ),
        rank_of=lambda text: len(text),
        compute=computed,
        worker=SimpleNamespace(device="the second"),
    )
    known = []
    monkeypatch.setattr(worker, "_build_worker", lambda _rank, _setup: (fake, known.append))
    host = VllmHost(0, bytes(wire.encode(None)[0]))
    host.known, host.outputs = known, outputs
    return host


def step(host, scheduled, grammar=None):
    return host.call(wire.encode((STEP, (scheduled, grammar), {})))


def test_a_step_samples_where_there_is_something_to_sample(host):
    for scheduled, grammar, gives in (("at once", None, "at once"), ("a", "b", "a, b")):
        assert wire.decode(step(host, scheduled, grammar)) == gives
    assert wire.decode(host.call(wire.encode(("rank_of", ("four",), {})))) == 4


def test_an_output_of_the_gpu_is_fetched_later_and_one_that_is_there_goes_at_once(host):
    """The next call need not wait for the GPU; one output that fails is an error of its step alone."""
    replies = {text: step(host, text) for text in ("first", "broken", "third")}
    assert all(isinstance(reply, Deferred) for reply in replies.values())
    assert wire.decode(step(host, "at once")) == "at once"
    for output in host.outputs:
        output.ready.set()
    got = {text: fetched(*answer(lambda reply=reply: reply)) for text, reply in replies.items()}
    assert {text: status for text, (status, _message) in got.items()} == {
        "first": OK, "broken": ERROR, "third": OK,
    }  # fmt: skip
    assert wire.decode(got["third"][1]) == "third"
    assert set(host.known) == {"the second"}


@pytest.mark.parametrize("method", ["compute", lambda fake, text: fake.compute(text)], ids=["name", "call"])
def test_what_any_method_leaves_on_the_gpu_is_fetched_before_it_is_encoded(host, method):
    """The blocking executor calls execute_model and sample_tokens by their names."""
    call = wire.encode((method, ("whole",), {}))
    status, message = fetched(*answer(lambda: host.call(call)))
    assert (status, wire.decode(message)) == (OK, "whole")
    assert isinstance(host.call(call), Deferred)  # the next call need not wait for the GPU
    assert host.known == ["the second"]


def test_what_cannot_be_fetched_is_an_error_of_its_call_alone(host):
    for text, expected in (("broken", ERROR), ("whole", OK)):
        reply = answer(lambda text=text: host.call(wire.encode(("compute", (text,), {}))))
        assert fetched(*reply)[0] == expected
