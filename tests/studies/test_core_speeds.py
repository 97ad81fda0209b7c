"""studies/core_speeds.py: how long a core keeps a speed."""

import numpy as np
import pytest

from studies.core_speeds import autocorrelation, main


def test_a_speed_that_lasts_says_what_comes_next_and_one_that_alternates_the_opposite():
    lasting = np.repeat([0.5, 1.0] * 5, 100)
    assert autocorrelation(lasting, 1) > 0.95
    assert autocorrelation(lasting, 100) == pytest.approx(-0.9)
    assert autocorrelation(np.ones(9), 1) == 0.0


def test_the_table_has_a_line_for_each_core(capsys):
    main(["--cores", "1", "--seconds", "0.05"])
    said, head, *lines = capsys.readouterr().out.splitlines()
    assert said.startswith("a loop of 40,000 turns on 1 of ")
    assert head.split()[:2] == ["cpu", "loops"]
    assert len(lines) >= 1
