"""studies/planted.py and planted_history.py: changes are where they are put, and undone where they say so."""

import ast

import pytest
from rollout_bench import git

from studies.planted import PLANTS, plant
from studies.planted_history import write_commits


@pytest.mark.parametrize("what", PLANTS)
def test_a_change_is_planted_once_and_the_file_is_python(what, tmp_path):
    name, _old, _new = PLANTS[what]
    before = (plant(tmp_path / "none", "none", 7) / "rollout_perf" / name).read_text()
    after = (plant(tmp_path / what, what, 7) / "rollout_perf" / name).read_text()
    ast.parse(after)
    more = {"driver": 2, "worker": 5, "kernel": 3}[what]
    assert len(after.splitlines()) == len(before.splitlines()) + more


def test_a_history_has_five_commits_of_one_code_and_the_same_hashes_each_time(tmp_path):
    plants = [("worker", 7), ("driver", 9)]
    once, again = (write_commits(tmp_path / name, plants) for name in ("once", "again"))
    assert once == again

    trees = [git.answer(tmp_path / "once", "rev-parse", f"{one}:rollout_perf") for one in once]
    assert [tree == trees[0] for tree in trees] == [True, True, True, False, True, False, True]
    assert len(set(trees)) == 3
    assert list(once.values())[3:] == ["Slower: worker 7", "As before", "Slower: driver 9", "As before"]


def test_a_history_of_one_change_ends_with_one_that_changes_nothing(tmp_path):
    subjects = write_commits(tmp_path / "made", [("kernel", 7)]).values()
    assert list(subjects) == ["Note 1", "Note 2", "Note 3", "Slower: kernel 7", "As before", "Note 6"]
