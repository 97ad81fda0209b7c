"""new_weights.py: every weight is replaced, and a copy that did not come is seen."""

import os
import threading
from types import SimpleNamespace

import torch
from rollout_bench.measure import new_weights, trainer


def test_every_weight_is_replaced_in_place_and_counted():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1, bias=False)).to(torch.bfloat16)
    before = [one.detach().clone() for one in model.parameters()]
    places = [one.data_ptr() for one in model.parameters()]
    new = new_weights.from_host(model)
    assert not new.are_there()
    assert new.copy() == 2 * (6 + 2 + 2)
    assert new.are_there()
    assert all(torch.equal(one, -old) for one, old in zip(model.parameters(), before, strict=True))
    assert [one.data_ptr() for one in model.parameters()] == places


def test_weights_of_a_trainer_are_asked_for_once_and_opened_for_each_copy(monkeypatch):
    """Without a GPU a handle is the weight itself, and the trainer a thread; tests/gpu has the real one."""
    opened, ends = [], []

    def start(*_command, **_pipes):
        (asking, asks), (answers, answering) = os.pipe(), os.pipe()
        pipes = os.fdopen(asking, "rb"), os.fdopen(answering, "wb")
        ends.append(threading.Thread(target=trainer.hold, args=pipes, daemon=True))
        ends[0].start()
        return SimpleNamespace(stdin=os.fdopen(asks, "wb"), stdout=os.fdopen(answers, "rb"))

    def rebuild(weight):
        opened.append(weight.shape)
        return weight

    monkeypatch.setattr(new_weights.subprocess, "Popen", start)
    monkeypatch.setattr(torch.multiprocessing.reductions, "reduce_tensor", lambda one: (None, (one,)))
    monkeypatch.setattr(torch.multiprocessing.reductions, "rebuild_cuda_tensor", rebuild)
    model = torch.nn.Linear(3, 2).to(torch.bfloat16)
    new = new_weights.from_trainer(model)
    assert opened == []
    assert [new.copy(), new.copy()] == [16, 16]
    assert new.are_there()
    assert opened == [(2, 3), (2,)] * 3
    assert ends[0].is_alive()
    del new
    ends[0].join(10)
    assert not ends[0].is_alive()
