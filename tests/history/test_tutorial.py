"""The history that docs/tutorial.md is told with: what `detect` says of it is what the tutorial says."""

from regression import AT, COMMITS, write_results
from rollout_bench.history.detect import find_change_points
from rollout_bench.history.results import read_results
from simulated import write_repository


def test_the_regression_of_the_tutorial_is_found_with_the_part_that_explains_it(tmp_path):
    commits = write_repository(tmp_path, COMMITS)
    write_results(tmp_path, commits)
    [found] = find_change_points(read_results(tmp_path / "results", commits), metrics=["control_ratio"])
    assert (found.key.path, found.worse) == ("zmq", True)
    assert commits.index(found.last_before) < AT <= commits.index(found.first)
    assert {part.name: part.verdict for part in found.parts} == {"worker": "cannot tell", "pipe": "worse"}
