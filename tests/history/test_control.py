"""history/control.py: ratios stay one series when the control is renewed, and detection reads them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from rollout_bench.history.control import UNLINKED, chained, link_error
from rollout_bench.history.detect import find_change_points, judging
from rollout_bench.history.results import Commit, Point, Results, read_results
from rollout_bench.measure.pool import replicates_of
from rollout_bench.measure.tracked import fixed
from rollout_bench.report.estimate import estimate_of
from rollout_bench.schema.record import MEASURED, Record, read_records
from rollout_bench.stats.rounds import hodges_lehmann

ROOT = Path(__file__).resolve().parents[2]
A, B, C = ({"commit": name * 40, "lock": name} for name in "abc")
LOAD = fixed("nano", [8])[0].as_dict()


def short_of(results):
    with judging(results) as judged:
        return judged().short


def record(ratio, control, link=None, old=None, path="zmq", sessions=None, **metrics):
    rounds = {"rounds": sessions} if sessions else {}
    observed = {"control": control | ({"link": old | {"ratio": link} | rounds} if old else {})}
    return Record(
        path,
        "nano",
        1,
        LOAD,
        MEASURED,
        metrics={"control_ratio": [ratio] * 3, **metrics},
        observed=observed,
    )


def ratios(records):
    return [one.metrics.get("control_ratio", [None])[0] for one in chained([("case", r) for r in records])]


@pytest.mark.parametrize(
    ("records", "become"),
    [
        ([record(1.0, A), record(1.1, A)], [1.0, 1.1]),
        # B takes half of A's time, and C twice B's
        ([record(1.0, A), record(2.0, B, [0.5, 0.4, 0.625], A), record(2.2, B)], [2.0, 2.0, 2.2]),
        (
            [record(1.0, A), record(2.0, B, [0.5], A), record(1.0, C, [2.0], B, path="ray"), record(1.1, C)],
            [1.0, 1.0, 1.0, 1.1],
        ),
        ([record(1.0, A), record(2.0, B, [0.5], A), record(1.0, A)], [1.0, 1.0, 1.0]),  # and back again
        # three sessions of a commit, of 0.5, 0.8 and 0.625
        (
            [record(1.0, A), record(2.0, B, [0.5, 0.4, 1.6, 0.625], A, sessions=[1, 2, 1])],
            [0.25 ** (-1 / 3), 2.0],
        ),
        ([record(1.0, A), record(2.0, B)], [None, 2.0]),
        ([record(1.0, A), record(2.0, B, [0.0], A)], [None, 2.0]),
    ],
)
def test_a_renewed_control_leaves_one_series(records, become):
    assert ratios(records) == [None if one is None else pytest.approx(one) for one in become]


def test_a_ratio_that_no_link_reaches_is_absent_with_a_reason_and_cases_have_links_of_their_own():
    old, new = record(1.0, A, step_seconds=[3.0]), record(2.0, B, [0.5], A)
    [kept, _new] = chained([("one batch", old), ("another", new)])
    assert kept.metrics == {"step_seconds": [3.0], "control_ratio": [1.0] * 3}  # the newest of its case
    [kept, _new] = chained([("case", old), ("case", record(2.0, B))])
    assert kept.metrics == {"step_seconds": [3.0]}
    assert kept.observed["absent"] == {"control_ratio": UNLINKED}


def linked(ratios, **more):
    """A record before the renewal, as it is read behind one that links."""
    one, _new = chained([("case", record(1.0, A, **more)), ("case", record(2.0, B, ratios, A))])
    return one


def test_the_error_of_a_link_is_that_of_its_rounds_and_of_sessions_where_there_are_several():
    """By hand: of logs -0.1, 0 and 0.1 the deviation is 0.1; their middle's error is 1.0233 of a mean's."""
    rounds = [math.exp(-0.1), 1.0, math.exp(0.1)]
    assert link_error(linked(rounds)) == pytest.approx(1.02333 * 0.1 / 3**0.5, rel=1e-4)
    assert link_error(record(1.0, A)) == link_error(linked([1.0])) == 0.0
    sessions = [
        record(2.0, B, [math.exp(one)] * 3, A, path=path) for one in (-0.1, 0.1) for path in ("zmq", "ray")
    ]
    one, *_new = chained([("case", each) for each in (record(1.0, A), *sessions)])
    assert link_error(one) == pytest.approx(0.1)  # two sessions, whatever paths they had
    assert one.metrics["control_ratio"][0] == pytest.approx(1.0)


def test_an_interval_holds_the_error_of_its_link():
    rounds = [math.exp(-0.1), 1.0, math.exp(0.1)]
    found = estimate_of(linked(rounds, control_ratio=[1.0] * 7), "control_ratio")
    assert found.high == pytest.approx(math.exp(2.576 * 1.0233 * 0.1 / 3**0.5), rel=0.01)
    assert found.low == pytest.approx(1 / found.high, rel=0.01)


@pytest.mark.parametrize(("spread", "changes"), [(0.001, 1), (0.1, 0)])
def test_what_a_link_may_have_made_of_the_levels_is_no_change(spread, changes):
    """The levels at a renewal differ by 5 %: by as much may a link be wrong whose rounds vary by 10 %."""
    made = points([1.0] * 20, [1.0] * 10 + [1.05] * 10)
    link = {"ratio": [math.exp(-spread), 1.0, math.exp(spread)], "commit": A["commit"], "lock": A["lock"]}
    for one in made[10:]:
        one.record.observed["control"] = B
    made[10].record.observed["control"] = B | {"link": link}
    records = chained([("case", one.record) for one in made])
    results = Results(points=[replace(one, record=record) for one, record in zip(made, records, strict=True)])
    assert len(find_change_points(results, metrics=["control_ratio"])) == changes


def test_results_are_read_with_the_chain(tmp_path):
    folder = tmp_path / "box" / "records"
    folder.mkdir(parents=True)
    for number, one in enumerate([record(1.0, A), record(2.0, B, [0.5], A)]):
        line = replace(one, provenance={"commit": f"{number}" * 40}).to_json()
        (folder / f"{str(number) * 8}-py3.11-nano.jsonl").write_text(line)
    commits = [Commit("0" * 40), Commit("1" * 40)]
    read = read_results(tmp_path, commits).points
    assert [one.samples("control_ratio")[0] for one in read] == [2.0, 2.0]


def points(times, ratios):
    """A commit each: step times as they came out alone, and ratios; some commits have only the former."""
    return [
        Point(
            "box",
            "py3.11",
            Commit(f"{number:08x}" + "0" * 32, "", number),
            Record(
                "zmq",
                "nano",
                1,
                LOAD,
                MEASURED,
                metrics={"step_seconds": [time] * 3, "wire_bytes": [4096.0]}
                | ({} if ratio is None else {"control_ratio": [ratio] * 3}),
                observed={"control": A},
            ),
            Path("x"),
        )
        for number, (time, ratio) in enumerate(zip(times, ratios, strict=True))
    ]


def test_timings_that_have_a_ratio_are_judged_by_it_alone():
    """A host that became slower slows the control as well; a slower path does not."""
    host = Results(points=points([1.0] * 10 + [1.4] * 10, [1.1] * 20))
    assert find_change_points(host) == []
    path = Results(points=points([1.0] * 20, [1.1] * 10 + [1.2] * 10))
    [found] = find_change_points(path, ROOT)
    assert (found.metric, found.first.hash[:8]) == ("control_ratio", "0000000a")
    assert "--metrics step_seconds" in found.confirm  # a gate has no control
    alone = Results(points=points([1.0] * 10 + [1.4] * 10, [None] * 20))
    assert [one.metric for one in find_change_points(alone)] == ["step_seconds"]
    few = Results(points=points([1.0] * 9, [None] * 5 + [1.1] * 4))
    assert [(one.metric, one.points) for one in short_of(few)] == [("control_ratio", 4)]


def test_a_renewed_control_is_named_where_a_level_changes():
    made = points([1.0] * 20, [1.1] * 10 + [1.2] * 10)
    for one in made[10:]:
        one.record.observed["control"] = B
    [found] = find_change_points(Results(points=made))
    assert found.environment == {"control": ("aaaaaaaa", "bbbbbbbb")}


def test_what_is_committed_has_the_ratios_that_its_rounds_come_to():
    """Where the estimate of a session's rounds changes, so must what was kept: a series has one."""
    found = 0
    for file in sorted((ROOT / "results").glob("*/records/*.jsonl")):
        for record in read_records(file.read_text()):
            for start in replicates_of(record):
                if not (stored := start.metrics.get("control_ratio")):
                    continue
                assert start.comparable("step_seconds") == start.metrics["step_seconds"]
                steps = start.metrics["step_seconds"], start.observed["control"]["metrics"]["step_seconds"]
                logs = [math.log(mine / its) for mine, its in zip(*steps, strict=True)]
                assert stored == [pytest.approx(math.exp(hodges_lehmann(logs)))], file
                found += 1
    assert found >= 39
