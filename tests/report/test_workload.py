"""What `rollout-perf workload` says, counted by hand: what is in flight, what a cache finds and holds."""

import pytest
from rollout_bench.measure.workload import Workload
from rollout_bench.report.workload import facts, lines, picture

GROUPS = Workload(prompts=2, samples=(3, 1), prompt_tokens=(10, 40), output_tokens=(5, 6, 7, 8))
BLOCKS = Workload(
    prompts=4, prompt_tokens=9, output_tokens=1, block_tokens=4,
    blocks=((1, 2, 3), (1, 2, 4), (2, 2, 3), (3, 1, 2)),
)  # fmt: skip
TURNS = Workload(
    prompts=4,
    prompt_tokens=(30, 30, 20, 50),
    output_tokens=(10, 10, 5, 10),
    session=("a", None, "b", "a"),
    turn=(1, 1, 1, 2),
    delay_seconds=(0.0, 0.0, 0.0, 2.0),
    arrival_seconds=(0.0, 0.5, 3.5, None),
)


@pytest.mark.parametrize(
    ("load", "shared"),
    [
        (GROUPS, 2 * 10),
        (BLOCKS, 2 * 4),  # the others begin otherwise: what follows is not where it was
        (TURNS, 30 + 10),  # its first turn, prompt and answer
    ],
)
def test_shared_is_what_an_earlier_prompt_or_turn_begins_with(load, shared):
    assert facts(load)["shared_prompt_tokens"] == shared


@pytest.mark.parametrize(
    ("load", "rate", "most"),
    [
        (GROUPS, None, 4),
        (TURNS, None, 3),  # a session has one turn at once
        (TURNS, 10.0, 2),  # 0 .. 1, 0.5 .. 1.5, 3.5 .. 4; its second turn 3 .. 4
        (TURNS, 1.0, 3),
    ],
)
def test_in_flight_is_what_overlaps(load, rate, most):
    assert facts(load, None, rate)["in_flight"]["most"] == most


def test_the_kv_cache_holds_the_longest_that_are_in_flight_and_of_a_session_its_last_turn():
    assert facts(TURNS, 2.5)["kv_cache"] == {"sequences": 3, "tokens": 60 + 40 + 25, "bytes": 313}
    assert facts(TURNS, None, 10.0)["kv_cache"] == {"sequences": 2, "tokens": 60 + 40, "bytes": None}


def test_the_text_says_groups_turns_times_and_sizes():
    text = "\n".join(lines(TURNS, facts(TURNS, 1024.0, 10.0), "nano"))
    for said in (
        "samples        4 of 4 prompts",
        "sessions       2, of 1 to 2 turns; 2.00 s between two, at most 2.00 s",
        "arrival        over 3.50 s, 0.57 a second",
        "in flight      2 at most: as they arrive, at 10.0 tokens/s each",
        "prompt tokens  130, 30.8 % of them in an earlier prefix",
        "KV cache       100 tokens for 2 samples at once, prefixes not shared, 100 KiB in each work",
        "tokens of a prompt: 20 to 50, p50 30, p90 50, p99 50, mean 32.5",
    ):
        assert said in text
    assert "groups" not in text
    assert "groups         1, the largest of 3 samples" in "\n".join(lines(GROUPS, facts(GROUPS), None))


def test_a_picture_has_a_bar_for_every_value():
    rows = list(picture("tokens", [1, 1, 2, 3, 40]))[1:]
    assert [row.split()[-1] for row in rows] == ["2", "2", "0", "0", "0", "1"]
    assert [row.count("█") for row in rows] == [40, 40, 0, 0, 0, 20]
    assert [row.split()[0] for row in picture("tokens", [7, 7, 9])][1:] == ["7", "8", "9"]
