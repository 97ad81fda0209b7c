"""history/forks.py: forks read and judge a long history, and find what one process finds."""

import gc
import time
from contextlib import suppress
from multiprocessing import active_children
from operator import neg

import pytest
from rollout_bench.history import detect, lines
from rollout_bench.history.detect import judging
from rollout_bench.history.forks import forks, uncollected
from rollout_bench.history.results import read_results
from simulated import write_records, write_repository


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Forty commits, with a slower path, a damaged line and a metric that only some have."""
    folder = tmp_path_factory.mktemp("long")
    commits = write_repository(folder, 40)
    kept = folder / "results"
    slower = lambda path, batch, number: 1.2 if path == "zmq" and number > 20 else 1.0  # noqa: E731
    write_records(kept, commits, [8, 16], metrics=("step_seconds", "engine_step_seconds"), slower=slower)
    write_records(kept, commits[:5], [8], metrics=("tail_share",), workload="other")
    with next(kept.glob("*/records/*.jsonl")).open("a") as file:
        file.write("{}\n")
    return kept, commits


def test_what_forks_find_is_what_one_process_finds_and_in_its_order(long, monkeypatch):
    folder, commits = long
    alone = read_results(folder, commits)
    monkeypatch.setattr(lines, "MANY_BYTES", 1)
    by_forks = read_results(folder, commits)
    assert by_forks == alone
    assert len(by_forks.damaged) == 1
    with judging(alone) as judged:
        expected = judged()
    assert expected.change_points
    assert expected.short
    monkeypatch.setattr(detect, "MANY_POINTS", 1)
    monkeypatch.setattr(detect, "_AT_ONCE", 1)
    with judging(by_forks) as judged:
        assert judged() == expected


def test_forks_do_not_outlive_the_block_that_is_interrupted():
    """They were left to work on, and publish to wait for them."""
    begin = time.monotonic()
    with suppress(KeyboardInterrupt), forks(time.sleep) as spread:
        spread([60] * 9)
        raise KeyboardInterrupt
    assert not active_children()
    assert time.monotonic() - begin < 10


def test_what_a_fork_raises_comes_to_the_caller_and_results_in_order():
    with forks(neg) as spread:
        assert list(spread(range(9))) == [-number for number in range(9)]
    with pytest.raises(TypeError, match="bad operand"), forks(neg) as spread:
        list(spread(["x"]))


def test_garbage_is_looked_for_again_after_a_history_was_read(long):
    read_results(*long)
    assert gc.isenabled()
    with uncollected(), uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
