"""transports/worker.py: outputs are encoded in the order of their steps, whoever fetches them."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from types import SimpleNamespace

import pytest

from rollout_perf.transports import wire, worker
from rollout_perf.transports.delta import DeltaDecoder, DeltaEncoder
from rollout_perf.transports.reply import ERROR, OK, Deferred, answer, fetched
from rollout_perf.transports.worker import STEP, Turns, VllmHost


def test_turns_are_taken_in_order():
    turns, taken = Turns(), []
    numbers = [turns.next() for _ in range(20)]

    def take(number):
        with turns.take(number):
            taken.append(number)

    with ThreadPoolExecutor(20) as threads:
        done = [threads.submit(take, number) for number in reversed(numbers)]
        assert not wait(done, timeout=5).not_done
    assert taken == numbers


def test_a_turn_that_fails_is_taken_all_the_same():
    turns = Turns()
    first, second = turns.next(), turns.next()
    gone_on = threading.Event()

    def follow():
        with turns.take(second):
            gone_on.set()

    threading.Thread(target=follow, daemon=True).start()
    assert not gone_on.wait(0.1)
    with pytest.raises(ValueError, match="broken"), turns.take(first):
        raise ValueError("broken")
    assert gone_on.wait(5)


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
    pending = []
    fake = SimpleNamespace(
        execute_model=lambda scheduled: scheduled if scheduled == "at once" else pending.append(scheduled),
        sample_tokens=lambda grammar: (
            Later(pending.pop()) if grammar is None else f"{pending.pop()}, {grammar}"
        ),
        rank_of=lambda text: len(text),
        compute=computed,
        worker=SimpleNamespace(device="the second"),
    )
    known = []
    monkeypatch.setattr(worker, "_build_worker", lambda _rank, _setup: (fake, known.append))
    host = VllmHost(0, bytes(wire.encode(None)[0]))
    host.known = known
    return host


def step(host, schedules, scheduled, grammar=None):
    return host.call(wire.encode((STEP, (schedules.encode(scheduled), grammar), {})))


def test_a_step_samples_where_there_is_something_to_sample(host):
    schedules, outputs = DeltaEncoder(), DeltaDecoder()
    for scheduled, grammar, gives in (("at once", None, "at once"), ("a", "b", "a, b")):
        assert outputs.decode(wire.decode(step(host, schedules, scheduled, grammar))) == gives
    assert wire.decode(host.call(wire.encode(("rank_of", ("four",), {})))) == 4


def test_outputs_of_the_gpu_are_encoded_in_order_whoever_has_them_first(host):
    """One that fails keeps nobody waiting, and one that is there at once does not overtake."""
    schedules, outputs = DeltaEncoder(), DeltaDecoder()
    asked = ["first", "broken", "third", "at once", "fifth"]
    replies = [step(host, schedules, one) for one in asked]
    assert all(isinstance(reply, Deferred) for reply in replies)
    got = {}
    threads = [
        threading.Thread(
            target=lambda n=n: got.update({n: fetched(*answer(lambda: replies[n]))}), daemon=True
        )
        for n in range(len(replies))
    ]
    for thread, reply in reversed(list(zip(threads, replies, strict=True))):
        thread.start()
        output = reply.fetch.args[0]
        if isinstance(output, Later):
            output.ready.set()
    for thread in threads:
        thread.join(5)
    assert len(got) == len(replies)
    decoded = [
        outputs.decode(wire.decode(message)) for _, (status, message) in sorted(got.items()) if status == OK
    ]
    assert decoded == ["first", "third", "at once", "fifth"]
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
