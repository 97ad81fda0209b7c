"""new_weights.py: every weight is replaced, and a copy that did not come is seen."""

import torch
from rollout_bench.measure.new_weights import NewWeights


def test_every_weight_is_replaced_in_place_and_counted():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1, bias=False)).to(torch.bfloat16)
    before = [one.detach().clone() for one in model.parameters()]
    places = [one.data_ptr() for one in model.parameters()]
    new = NewWeights(model)
    assert not new.are_there()
    assert new.copy() == 2 * (6 + 2 + 2)
    assert new.are_there()
    assert all(torch.equal(one, -old) for one, old in zip(model.parameters(), before, strict=True))
    assert [one.data_ptr() for one in model.parameters()] == places
