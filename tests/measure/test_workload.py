"""workload.py: the same work for the same workload, on every machine and at every commit."""

import json
from dataclasses import asdict, fields, replace

import pytest
from rollout_bench.measure.workload import Workload

LOAD = Workload(prompts=2, samples=3, prompt_tokens=5, output_tokens=7, seed=1)


def test_sizes_are_products_of_the_parts():
    assert (LOAD.batch, LOAD.tokens, LOAD.length) == (6, 42, 12)


def test_prompts_have_the_asked_shape_and_fit_every_vocabulary():
    prompts = LOAD.token_ids()
    assert [len(prompt) for prompt in prompts] == [5, 5]
    assert all(100 <= token < 2000 for prompt in prompts for token in prompt)


@pytest.mark.parametrize(("vocabulary", "least"), [(2000, 100), (458, 100), (33, 16), (1, 0)])
def test_a_small_vocabulary_is_drawn_from_as_a_whole(vocabulary, least):
    load = replace(LOAD, vocabulary=vocabulary, prompt_tokens=20 * vocabulary)
    drawn = {token for prompt in load.token_ids() for token in prompt}
    assert (load.first_id, min(drawn), max(drawn)) == (least, least, vocabulary - 1)


def test_the_same_seed_draws_the_same_prompts_and_another_one_others():
    assert LOAD.token_ids() == LOAD.token_ids()
    assert LOAD.token_ids() != replace(LOAD, seed=2).token_ids()


def test_prompts_do_not_begin_alike():
    """A common prefix would be served from vLLM's prefix cache."""
    assert len({tuple(prompt[:4]) for prompt in replace(LOAD, prompts=64).token_ids()}) == 64


def test_the_fingerprint_of_one_workload_is_pinned():
    """It is in asv's version of a benchmark: changed by accident, a history would end."""
    assert Workload(prompts=8, prompt_tokens=16, output_tokens=32).fingerprint() == "965b9db97627"


CHANGED = {
    "prompts": 3,
    "samples": 4,
    "prompt_tokens": 6,
    "output_tokens": 8,
    "seed": 2,
    "name": "other",
    "vocabulary": 458,
    "ids": ((1, 2, 3, 4, 5), (1, 2, 3, 4, 6)),
    "blocks": ((1,), (3,)),
    "block_tokens": 4,
    "arrival_seconds": (0.0,) * 6,
    "session": ("a", "b", "c", "d", "e", "f"),
    "turn": (1,) * 6,
    "delay_seconds": (0.0,) * 6,
    "logprobs": 0,
    "prompt_logprobs": 0,
    "request": "group",
    "output_kind": "stream",
    "arrival": "window:2",
    "interrupt": "pause:keep",
}


@pytest.mark.parametrize("field", [field.name for field in fields(Workload) if field.name != "source"])
def test_the_fingerprint_changes_with_every_field(field):
    load = replace(LOAD, blocks=((1,), (2,))) if field == "block_tokens" else LOAD
    assert replace(load, **{field: CHANGED[field]}).fingerprint() != load.fingerprint()


def test_blocks_of_one_name_have_the_same_tokens_in_one_rollout_and_others_in_the_next():
    load = Workload(prompts=3, prompt_tokens=(5, 6, 3), blocks=((7, 8), (7, 9, 8), ()), block_tokens=2)
    first, second, third = load.token_ids()
    assert [len(one) for one in (first, second, third)] == [5, 6, 3]
    assert first[:2] == second[:2]
    assert first[2:4] == second[4:6] != second[2:4]  # where they stand does not matter
    assert third != first[:3]
    assert load.token_ids(1)[0][:2] != first[:2]
    assert load.shares_prefixes


def test_of_a_later_turn_the_blocks_follow_the_answer_of_the_turn_before():
    """The ids in the answer's place are drawn; a driver puts the real ones there."""
    load = Workload(
        prompts=3, prompt_tokens=(4, 3, 9), output_tokens=(2, 1, 1), session=("a", "b", "a"), turn=(1, 1, 2),
        blocks=((), (), (5,)), block_tokens=3,
    )  # fmt: skip
    first, _other, second = load.token_ids()
    assert second[:4] == first
    assert len(second) == 9
    assert (
        second[6:] == replace(load, prompt_tokens=(4, 3, 10)).token_ids()[2][6:9]
    )  # the block, after the answer
    assert load.shares_prefixes
    assert Workload(**json.loads(json.dumps(asdict(load)))) == load


def test_a_variant_is_the_same_work_with_more_asked_and_prompts_of_its_own():
    """In one engine, whose prefix cache would have the prompts of the other."""
    variant = LOAD.asking(logprobs=0, prompt_logprobs=None)
    assert (variant.name, variant.kind, variant.asked) == ("fixed-logprobs-0", "fixed", {"logprobs": 0})
    assert variant.output_lengths() == LOAD.output_lengths()
    for rollout in (0, 1):
        assert variant.token_ids(rollout)[0][0] != LOAD.token_ids(rollout)[0][0]
    assert LOAD.asking(logprobs=None) == LOAD
    assert "logprobs" not in LOAD.as_dict()


def test_what_streams_is_a_variant_and_is_not_interrupted():
    load = LOAD.asking(output_kind="stream", arrival="window:2")
    assert (load.name, load.asked) == ("fixed-stream-window-2", {"stream": True})
    with pytest.raises(ValueError, match="of which nothing else is asked"):
        LOAD.asking(output_kind="stream", interrupt="pause:keep")


def test_a_group_may_come_of_one_request_where_its_answers_are_of_one_length():
    load = replace(UNEQUAL, output_tokens=(10, 20, 20)).asking(request="group")
    assert [(tokens, samples) for _ids, tokens, samples in load.requests()] == [(10, 1), (20, 2)]
    assert load.asked == {"one_request": True}
    with pytest.raises(ValueError, match="one length for all its samples, and those of fixed-request-group"):
        UNEQUAL.asking(request="group")
    with pytest.raises(ValueError, match="takes more than one sample for a prompt"):
        Workload(prompts=2).asking(request="group")


TURNS = Workload(
    prompts=3, prompt_tokens=(4, 3, 9), output_tokens=(2, 1, 1), session=("a", "b", "a"), turn=(1, 1, 2),
    delay_seconds=(7.0, 7.0, 0.5), arrival_seconds=(1.0, 2.0, None),
)  # fmt: skip


def test_a_later_turn_begins_with_the_turn_before_and_leaves_room_for_its_answer():
    """The ids in the answer's place are drawn; the driver puts the real ones there."""
    first, _other, second = TURNS.token_ids()
    assert second[:4] == first
    assert [len(one) for one in TURNS.token_ids()] == [4, 3, 9]
    assert TURNS.chains() == [[(0, 7.0), (2, 0.5)], [(1, 7.0)]]
    assert (TURNS.at_once, TURNS.is_batch, TURNS.shares_prefixes) == (2, False, True)
    assert TURNS.asking(arrival="trace").due_seconds() == [1.0, 2.0]
    assert TURNS.asking(arrival="window:1").at_once == 1
    assert Workload(**json.loads(json.dumps(vars(TURNS)))) == TURNS
    assert TURNS.as_dict()["session"] == {"different": 2}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"turn": (1, 1, 3)}, "turn 3 of session 'a' comes before its turn 2"),
        ({"turn": (2, 1, 1)}, "turn 2 of session 'a' comes before its turn 1"),
        ({"prompt_tokens": (4, 3, 6)}, "prompt 3 is the turn after prompt 1: it has more tokens than the 6"),
        ({"delay_seconds": (1.0,)}, "delay_seconds has 1 numbers; there must be 3"),
    ],
)
def test_turns_that_cannot_be_are_refused_in_a_line(changed, says):
    with pytest.raises(ValueError, match=says):
        replace(TURNS, **changed)


def test_the_fingerprint_covers_the_token_ids(monkeypatch):
    """A change in how prompts are drawn is a change of the work, even if no field shows it."""
    before = LOAD.fingerprint()
    monkeypatch.setattr(Workload, "token_ids", lambda self: [[1]])
    assert LOAD.fingerprint() != before


@pytest.mark.parametrize("field", ["prompts", "samples", "prompt_tokens", "output_tokens"])
def test_nothing_to_do_is_refused(field):
    with pytest.raises(ValueError, match=f"{field} is 0; it must be at least 1"):
        replace(LOAD, **{field: 0})


def test_a_workload_survives_the_json_in_which_a_process_gets_it():
    for load in (LOAD, UNEQUAL, replace(UNEQUAL, ids=((1,), (2, 3)))):
        assert Workload(**json.loads(json.dumps(vars(load)))) == load


UNEQUAL = Workload(prompts=2, samples=(1, 2), prompt_tokens=(3, 4), output_tokens=(10, 20, 30))
"""One answer to a prompt of 3 tokens, two to one of 4."""


def test_unequal_sequences_by_hand():
    assert (UNEQUAL.batch, UNEQUAL.tokens, UNEQUAL.length) == (3, 60, 34)
    assert UNEQUAL.prompt_lengths() == [3, 4, 4]
    first, second = UNEQUAL.token_ids()
    assert (len(first), len(second)) == (3, 4)
    assert UNEQUAL.requests() == [(first, 10, 1), (second, 20, 1), (second, 30, 1)]


def test_what_is_one_number_for_all_is_the_same_written_out():
    """The same sequences in the same order; only the fingerprint, of what was asked for, differs."""
    written_out = replace(LOAD, samples=(3, 3), prompt_tokens=(5, 5), output_tokens=(7,) * 6)
    assert written_out.requests() == LOAD.requests()


def test_every_rollout_has_prompts_of_its_own():
    """Else all but the first would be served from the prefix cache."""
    assert LOAD.token_ids(0) == LOAD.token_ids()
    drawn = [str(LOAD.token_ids(number)) for number in (-2, -1, 0, 1)]
    assert len(set(drawn)) == 4
    assert LOAD.token_ids(1) == LOAD.token_ids(1)


def test_real_prompts_are_the_same_in_every_rollout():
    real = replace(UNEQUAL, ids=((1, 2, 3), (4, 5, 6, 7)))
    assert real.token_ids() == real.token_ids(5) == [[1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("samples", (1,), "samples has 1 numbers; there must be 2"),
        ("prompt_tokens", (1, 2, 3), "prompt_tokens has 3 numbers; there must be 2"),
        ("output_tokens", (1, 2), "output_tokens has 2 numbers; there must be 3"),
        ("output_tokens", (1, 0, 1), "output_tokens is 0; it must be at least 1"),
        ("samples", (), "samples is 0"),
    ],
)
def test_numbers_that_do_not_fit_each_other_are_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(UNEQUAL, **{field: value})


def test_the_record_of_a_workload_has_its_size_and_of_many_lengths_the_range():
    assert LOAD.as_dict() == {
        "prompts": 2,
        "samples": 3,
        "prompt_tokens": 5,
        "output_tokens": 7,
        "seed": 1,
        "name": "fixed",
        "batch": 6,
        "tokens": 42,
        "fingerprint": LOAD.fingerprint(),
    }
    assert UNEQUAL.as_dict()["output_tokens"] == {"min": 10, "median": 20, "max": 30, "sum": 60}
    assert replace(LOAD, source="somewhere").as_dict()["source"] == "somewhere"


@pytest.mark.parametrize(
    ("block_tokens", "computed"),
    [
        (None, 2 * 9 + 3 * 4),
        (
            4,
            (9 + 1) + (4 + 4 + 4),
        ),  # a sample of 9 finds two blocks, one of 4 has its last token in the first
        (3, (9 + 3) + (4 + 1 + 1)),
        (128, 2 * 9 + 3 * 4),  # as on the CPU, where no prompt of a small workload fills a block
    ],
)
def test_samples_of_a_prompt_compute_what_the_prefix_cache_has_no_whole_block_of(block_tokens, computed):
    load = Workload(prompts=2, samples=(2, 3), prompt_tokens=(9, 4))
    assert load.computed_prompt_tokens(block_tokens) == computed
