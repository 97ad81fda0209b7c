"""studies/planted.py: the changes that it plants are still where they are put."""

import ast

import pytest

from studies.planted import PLANTS, plant


@pytest.mark.parametrize("what", PLANTS)
def test_a_change_is_planted_once_and_the_file_is_python(what, tmp_path):
    name, _old, _new = PLANTS[what]
    before = (plant(tmp_path / "none", "none", 7) / "rollout_perf" / name).read_text()
    after = (plant(tmp_path / what, what, 7) / "rollout_perf" / name).read_text()
    ast.parse(after)
    assert len(after.splitlines()) in (len(before.splitlines()) + 2, len(before.splitlines()) + 3)
