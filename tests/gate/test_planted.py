"""studies/planted.py and planted_history.py: changes are where they are put, and undone where they say so."""

import ast

import pytest
from rollout_bench import git

from studies.planted import PLANTS, plant
from studies.planted_history import SUBJECTS, write_commits


@pytest.mark.parametrize("what", PLANTS)
def test_a_change_is_planted_once_and_the_file_is_python(what, tmp_path):
    name, _old, _new = PLANTS[what]
    before = (plant(tmp_path / "none", "none", 7) / "rollout_perf" / name).read_text()
    after = (plant(tmp_path / what, what, 7) / "rollout_perf" / name).read_text()
    ast.parse(after)
    assert len(after.splitlines()) in (len(before.splitlines()) + 2, len(before.splitlines()) + 3)


def test_a_history_has_one_other_system_under_test_and_the_same_hashes_each_time(tmp_path):
    once, again = (write_commits(tmp_path / name, "kernel", 7) for name in ("once", "again"))
    assert once == again

    trees = {
        subject: git.answer(tmp_path / "once", "rev-parse", f"{one}:rollout_perf")
        for subject, one in zip(SUBJECTS, once, strict=True)
    }
    assert len(set(trees.values())) == 2
    assert [subject for subject, one in trees.items() if one != trees["Note 1"]] == ["Slower"]
