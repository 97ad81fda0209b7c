"""agents.py: a prompt grows by the answer and what the tool adds, and a seed gives the same sessions."""

import pytest
from rollout_bench.measure.agents import turns


def test_a_later_prompt_is_the_one_before_with_its_answer_and_what_the_tool_adds():
    load = turns(sessions=2, turns=3, prompt_tokens=10, added_tokens=4, output_cap=60, seed=1)
    prompts, answers = load.prompt_lengths(), load.output_lengths()
    for first in (0, 3):
        assert prompts[first] == 10
        assert prompts[first + 1] == 10 + answers[first] + 4
        assert prompts[first + 2] == prompts[first + 1] + answers[first + 1] + 4
    assert (load.session, load.turn) == (("0", "0", "0", "1", "1", "1"), (1, 2, 3) * 2)
    assert load.at_once == 2
    assert all(delay > 0 for delay in load.delay_seconds)
    assert load == turns(sessions=2, turns=3, prompt_tokens=10, added_tokens=4, output_cap=60, seed=1)


def test_delays_are_around_what_is_asked_for():
    delays = turns(sessions=500, delay_seconds=2.0).delay_seconds
    assert sum(delays) / len(delays) == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("name", ["sessions", "turns", "added_tokens", "prompt_tokens"])
def test_a_number_below_1_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 0; it must be at least 1"):
        turns(**{name: 0})
