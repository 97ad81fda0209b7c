"""recorder.py: what a loop asks becomes a file that replays with its lengths, groups, turns and times."""

import json
from contextlib import suppress

from rollout_bench.measure.formats import FORMATS
from rollout_bench.measure.recorder import Recorder, Sample, write
from rollout_bench.measure.replay import read_replay

SYSTEM = list(range(500, 532))
"""Two blocks."""


def replayed(path):
    return read_replay(path, FORMATS["lengths"], None, 1 << 40, lambda *_: [])


def test_a_loop_is_recorded_as_it_went(tmp_path):
    clock = iter([10.0, 10.5, 11.0, 12.0, 13.5, 14.0, 20.0])
    path = tmp_path / "run.jsonl"
    with Recorder(path, lambda: next(clock)) as recorder:
        first = recorder.begin([*SYSTEM, 1], group="q", session="a")
        second = recorder.begin([*SYSTEM, 1], group="q", session="b")
        second.end(7)  # 11.0
        first.end(3)  # 12.0
        turn = recorder.begin([*SYSTEM, 1, 90, 91, 92, 5, 5], session="a")  # 13.5, of which 3 are its answer
        lost = recorder.begin([9])
        turn.end(2)
    assert lost.output_length == 0
    load = replayed(path)
    assert (load.samples, load.prompt_tokens, load.output_tokens) == ((2, 1), (33, 38), (3, 7, 2))
    assert (load.session, load.turn) == (("1", "2", "1"), (1, 1, 2))
    assert load.arrival_seconds == (0, 0.5, None)
    assert load.delay_seconds == (0, 0, 1.5)


def test_prompts_that_begin_alike_do_so_again_and_no_token_is_written(tmp_path):
    path = tmp_path / "run.jsonl"
    prompts = [[*SYSTEM, 1, 2], [*SYSTEM, 3], [7, *SYSTEM], 34]
    assert write(path, [Sample(prompt, None, output_length=1) for prompt in prompts]) == 4
    first, second, third, fourth = replayed(path).token_ids()
    assert first[:32] == second[:32]
    assert first[32] != second[32]
    assert third[:16] != first[:16]
    assert fourth[:16] not in (first[:16], third[:16])
    assert not {"500", "531"} & set(path.read_text().replace(",", " ").split())


def test_a_turn_that_forgot_what_was_before_begins_a_session_of_its_own(tmp_path):
    """As where an agent's history is cut, or its thoughts are left out."""
    path = tmp_path / "run.jsonl"
    turns = [
        ([1, 2, 3], 4),
        ([1, 2, 3, 4, 5, 6, 7, 8], 2),
        ([1, 2, 3, 4, 8], 1),
        ([6, 6, 6, 6, 6, 6, 6], 1),
        (9, 1),
        (10, 1),
    ]
    given = [Sample(prompt, 1.0 * place, None, "s", length) for place, (prompt, length) in enumerate(turns)]
    write(path, reversed(given))
    load = replayed(path)
    assert load.session == ("1", "1", "2", "3", "3", "4")
    assert load.turn == (1, 2, 1, 1, 2, 1)
    assert load.arrival_seconds == (0, None, 2, 3, None, 5)


def test_samples_of_a_group_with_other_prompts_are_other_groups(tmp_path):
    path = tmp_path / "run.jsonl"
    write(path, [Sample(prompt, None, "g", None, 1) for prompt in ([1, 2], [1, 3], [1, 2], 2)])
    assert replayed(path).samples == (2, 1, 1)


def test_what_ended_is_written_where_the_loop_fails(tmp_path):
    path = tmp_path / "run.jsonl"
    with suppress(ZeroDivisionError), Recorder(path) as recorder:
        recorder.begin(5).end(2)
        raise ZeroDivisionError
    [line] = path.read_text().splitlines()
    assert json.loads(line) == {"prompt_length": 5, "output_length": 2, "group": 0, "arrival_seconds": 0.0}
