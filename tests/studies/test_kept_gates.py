"""Gates drawn from sessions kept on four GPUs: as rarely wrong, and as able, as docs/methodology.md says."""

import pytest
from rollout_bench.stats.paired import ERROR

from studies.kept_gates import ASKED, BUDGETS, HISTORY, LONGER, row, units_of

ABLE = [asked for asked in ASKED if asked[2] == 20 or asked[0].startswith("7B")]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked[0])
@pytest.mark.parametrize("past", [0, 5])
def test_the_same_code_is_hardly_ever_called_worse_or_better(asked, past):
    """In 5 % of gates at most; 1000 gates may show 2 % more."""
    _name, files, rounds, slower, sessions = asked
    shares = row(units_of(files, rounds), past, 1000, slower, sessions)
    assert max(shares[: len(BUDGETS)]) <= ERROR + 0.02


@pytest.mark.parametrize("asked", ABLE, ids=lambda asked: asked[0])
def test_nine_gates_in_ten_find_what_they_are_to_find(asked):
    _name, files, rounds, slower, sessions = asked
    assert row(units_of(files, rounds), 0, 1000, slower, sessions)[-1] >= 0.9


@pytest.mark.parametrize(
    ("files", "rounds", "number", "noise"),
    [
        (HISTORY, 10, 40, [3.7, 4.0, 5.4]),
        (HISTORY, 20, 40, [2.7, 2.3, 3.7]),
        (LONGER, 10, 24, [2.9, 4.1, 2.8]),
        (LONGER, 20, 24, [1.7, 2.4, 1.8]),
    ],
)
def test_with_more_rounds_sessions_differ_by_less(files, rounds, number, noise):
    units = units_of(files, rounds)
    assert len(units) == number
    assert 100 * units.std(axis=0) == pytest.approx(noise, abs=0.06)
