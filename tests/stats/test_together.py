"""stats/together.py, stats/shrinkage.py: what other cases and history add, and how often a gate is wrong."""

import math
from dataclasses import replace

import numpy as np
import pytest
from rollout_bench.stats.paired import BETTER, CANNOT_TELL, ERROR, SAME, WORSE
from rollout_bench.stats.shrinkage import Variances, shrunken
from rollout_bench.stats.together import Spread, Timing, judge_together

from studies.gate_errors import Noise, by_replicates

QUIET = (0.001, -0.001, 0.0, 0.0)


def timing(effect, scale=1.0, starts="zmq", **given):
    return Timing([math.log1p(effect) + scale * one for one in QUIET], starts, "step_seconds", **given)


def width(finding):
    return math.log(finding.interval[1] / finding.interval[0])


@pytest.mark.parametrize(
    ("effect", "threshold", "verdict"),
    [
        (0.1, 0.015, WORSE),
        (-0.1, 0.015, BETTER),
        (0.0, 0.015, SAME),
        (0.0145, 0.015, CANNOT_TELL),
        (0.05, 0.1, SAME),
    ],
)
def test_a_verdict_is_read_off_the_interval(effect, threshold, verdict):
    (one,) = judge_together([timing(effect, threshold=threshold)], ERROR)
    assert one.verdict == verdict
    assert one.interval[0] < one.ratio < one.interval[1]
    assert one.ratio == pytest.approx(1 + effect)


def test_few_replicates_decide_nothing_whatever_history_says_and_harm_no_other_case():
    history = [Spread(1e-6, 3, f"gate {number}") for number in range(20)]
    whole = timing(0.1, history=history)
    cases = [
        whole,
        replace(whole, logs=whole.logs[:3]),
        replace(whole, logs=[]),
        replace(whole, logs=[math.inf] * 4),
    ]
    found = judge_together(cases, ERROR)
    assert [one.verdict for one in found] == [WORSE, CANNOT_TELL, CANNOT_TELL, CANNOT_TELL]
    assert [one.interval is None for one in found] == [False, True, True, True]
    assert [one.ratio for one in found[1:]] == [pytest.approx(1.1, rel=0.01), None, None]
    assert [one.pairs for one in found] == [4, 3, 0, 4]
    assert judge_together([], ERROR) == []


def test_paths_say_how_many_replicates_a_verdict_takes_and_their_batches_do_not():
    """What draws a mode is an engine start, of which a path has one for all batches."""
    for paths, verdict in ((6, WORSE), (7, CANNOT_TELL)):
        gate = [timing(0.1, starts=str(path)) for path in range(paths) for _batch in range(3)]
        assert {one.verdict for one in judge_together(gate, ERROR)} == {verdict}


def test_noise_is_told_from_other_starts_and_history_and_not_from_batches_of_the_same_starts():
    alone = width(judge_together([timing(0)], ERROR)[0])
    batches = width(judge_together([timing(0)] * 3, 3 * ERROR)[0])
    assert batches == pytest.approx(alone)
    louder = judge_together([timing(0), timing(0, scale=1.5)], 2 * ERROR)
    assert width(louder[1]) / width(louder[0]) == pytest.approx(1.5)
    others = width(judge_together([timing(0, starts=path) for path in "abc"], 3 * ERROR)[0])
    past = [Spread(float(np.var(QUIET, ddof=1)), 3, name) for name in "abc"]
    history = width(judge_together([timing(0, history=past)], ERROR)[0])
    assert max(history, others) < 0.9 * alone
    metrics = [replace(timing(0, starts=path), metric=path) for path in "abc"]
    assert width(judge_together(metrics, 3 * ERROR)[0]) == pytest.approx(alone)


def test_no_variance_is_below_what_the_history_of_the_case_shows():
    past = [Spread(variance, 3, str(variance)) for variance in (1e-4, 3e-4)]
    found = judge_together([timing(0, history=past), timing(0, starts="other")], ERROR)
    assert width(found[0]) > 2 * 1.96 * math.sqrt(2e-4 / 4)
    assert width(found[1]) < width(found[0])


def test_one_wild_day_in_history_does_not_blind_the_gates_after_it():
    past = [Spread(1e-6, 3, str(number)) for number in range(9)]
    wild = [*past, Spread(1e-2, 3, "wild")]
    quiet, found = (width(judge_together([timing(0, history=one)], ERROR)[0]) for one in (past, wild))
    assert quiet < found < 3 * quiet


def test_the_distribution_that_variances_come_from_is_found():
    """Smyth's estimate: variances around 4 with 6 degrees of freedom, of which each shows 3 of its own."""
    draw = np.random.default_rng(0)
    true = 6 * 4 / draw.chisquare(6, size=(50, 400))
    values = true * draw.chisquare(3, size=true.shape) / 3
    own = Variances(values, np.full(400, 3.0), np.arange(400))
    variance, freedom = shrunken(
        own, Variances(np.zeros((50, 0)), np.zeros(0), np.zeros(0, int)), np.zeros(0, int)
    )
    assert np.median(freedom) == pytest.approx(3 + 6, abs=1.5)
    prior = (variance * freedom[..., :1] - 3 * values) / (freedom[..., :1] - 3)
    assert np.median(prior) == pytest.approx(4, rel=0.1)


# --- how often it is wrong: studies/gate_errors.py has all of it ------------------------------------------


@pytest.mark.parametrize(
    ("noise", "paths", "past"),
    [
        (Noise("starts in two modes", 0.003, 0.004, modes=True), 5, 0),
        (Noise("starts in two modes", 0.01, 0.15, modes=True), 1, 0),
        (Noise("today has twice the noise of history", 0.04, before=0.5), 5, 10),
        (Noise("today has five times the noise of history", 0.04, before=0.2), 1, 5),
    ],
    ids=lambda given: getattr(given, "name", given),
)
def test_the_same_code_is_hardly_ever_called_worse_or_better(noise, paths, past):
    """In 5 % of gates at most, with any number of replicates; 400 gates may show 2 % more."""
    assert max(by_replicates(noise, paths, past, gates=400)) <= ERROR + 0.02
