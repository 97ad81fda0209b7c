"""harness/workload.py: the same work for the same workload, on every machine and at every commit."""

from dataclasses import fields, replace

import pytest

from benchmarks.harness.workload import Workload

LOAD = Workload(prompts=2, samples=3, prompt_tokens=5, output_tokens=7, seed=1)


def test_sizes_are_products_of_the_parts():
    assert (LOAD.batch, LOAD.tokens, LOAD.length) == (6, 42, 12)


def test_prompts_have_the_asked_shape_and_fit_every_vocabulary():
    prompts = LOAD.token_ids()
    assert [len(prompt) for prompt in prompts] == [5, 5]
    assert all(100 <= token < 2000 for prompt in prompts for token in prompt)


def test_the_same_seed_draws_the_same_prompts_and_another_one_others():
    assert LOAD.token_ids() == LOAD.token_ids()
    assert LOAD.token_ids() != replace(LOAD, seed=2).token_ids()


def test_prompts_do_not_begin_alike():
    """A common prefix would be served from vLLM's prefix cache."""
    assert len({tuple(prompt[:4]) for prompt in replace(LOAD, prompts=64).token_ids()}) == 64


def test_the_fingerprint_of_one_workload_is_pinned():
    """It is in asv's version of a benchmark: changed by accident, a history would end."""
    assert Workload(prompts=8, prompt_tokens=16, output_tokens=32).fingerprint() == "965b9db97627"


CHANGED = {"prompts": 3, "samples": 4, "prompt_tokens": 6, "output_tokens": 8, "seed": 2, "name": "other"}


@pytest.mark.parametrize("field", [field.name for field in fields(Workload)])
def test_the_fingerprint_changes_with_every_field(field):
    assert replace(LOAD, **{field: CHANGED[field]}).fingerprint() != LOAD.fingerprint()


def test_the_fingerprint_covers_the_token_ids(monkeypatch):
    """A change in how prompts are drawn is a change of the work, even if no field tells of it."""
    before = LOAD.fingerprint()
    monkeypatch.setattr(Workload, "token_ids", lambda self: [[1]])
    assert LOAD.fingerprint() != before


@pytest.mark.parametrize("field", ["prompts", "samples", "prompt_tokens", "output_tokens"])
def test_nothing_to_do_is_refused(field):
    with pytest.raises(ValueError, match=f"{field} is 0; it must be at least 1"):
        replace(LOAD, **{field: 0})


def test_the_record_of_a_workload_can_be_made_into_it_again():
    content = LOAD.as_dict()
    assert content["batch"] == 6
    assert content["fingerprint"] == LOAD.fingerprint()
    assert Workload(**{field.name: content[field.name] for field in fields(Workload)}) == LOAD
