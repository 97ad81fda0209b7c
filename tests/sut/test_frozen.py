"""engine/frozen.py: what Python has frozen is one for a process, and the caller has his own."""

import gc

import pytest

from rollout_perf.engine.frozen import freeze, thaw


@pytest.fixture(autouse=True)
def nothing_frozen():
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_the_end_of_an_engine_takes_nothing_from_another_that_is_open():
    freeze()
    freeze()
    thaw()
    assert gc.get_freeze_count()
    thaw()
    assert not gc.get_freeze_count()


def test_what_the_caller_had_frozen_is_so_after_the_last_engine():
    gc.freeze()
    before = gc.get_freeze_count()
    freeze()
    thaw()
    assert gc.get_freeze_count() > 0.9 * before
