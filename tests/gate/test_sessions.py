"""gate/: sessions, early stop, budget, what cannot be judged, and the report of it. No process starts."""

import json
import math
import random
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from fake_sessions import Engines, record_of
from rollout_bench.errors import UsageError
from rollout_bench.gate import report as gate_report
from rollout_bench.schema.metrics import METRICS
from rollout_bench.stats.together import Spread


def verdicts(content, metric="step_seconds"):
    return {row["path"]: row["verdict"] for row in content["verdicts"] if row["metric"] == metric}


def test_what_the_host_does_meanwhile_falls_out_of_the_ratio():
    """It gets twice as slow within a session, and the medians of two engine starts would not show it."""
    engines = Engines({("head", "zmq"): 1.03}, cv=0.0005, drift=0.05)
    content = engines.gate()
    [row] = content["verdicts"]
    assert (row["verdict"], row["ratio"]) == ("worse", pytest.approx(1.03, rel=0.002))
    assert row["logs"] == pytest.approx([math.log(1.03)] * 4, abs=0.003)
    assert json.loads(json.dumps(row["logs"])) == row["logs"]


def test_a_replicate_is_the_median_over_rounds_of_neighbours():
    """A burst of the host in one of them is of no consequence; what is no number takes its round out."""

    def burst(record):
        record.metrics["step_seconds"] = [1.0, 50.0, 2.0, float("nan"), 4.0, 4.0, 8.0]

    engines = Engines({("head", "zmq"): 1.1}, cv=0.0).spoilt({(1, "base"): burst})
    [row] = engines.gate(budget_seconds=20.0)["verdicts"]
    assert row["logs"] == [pytest.approx(math.log(1.1 / 4))]


def test_it_stops_as_soon_as_every_verdict_is_firm():
    engines = Engines({("head", "zmq"): 1.3})
    content = engines.gate()
    assert verdicts(content) == {"zmq": "worse"}
    assert (content["sessions"], content["stopped"]) == (4, "every verdict is firm")
    assert "\n4 sessions in 1.3 minutes; every verdict is firm" in gate_report.text(content)
    assert f"worse: {'a' * 8}..{'b' * 8} on box" in gate_report.text(content)
    names = {"base": "0.31.0", "head": "b" * 8}  # of a ledger, say
    assert f"worse: 0.31.0..{'b' * 8} on box" in gate_report.text(content | {"names": names})
    assert gate_report.exit_code(content) == 1


def test_a_case_whose_history_is_noisy_is_not_called_worse_by_a_few_quiet_sessions():
    """The same four sessions: without that history they are firm."""
    case = ("zmq", "nano", 1, "fixed", 8, "step_seconds")
    noise = {case: [Spread(0.1**2, 11, f"gates/{number}.json") for number in range(5)]}
    found = {
        name: Engines({("head", "zmq"): 1.05}, cv=0.002, seed=3).gate(budget_seconds=80.0, noise=history)
        for name, history in (("none", None), ("noisy", noise))
    }
    assert {name: verdicts(one)["zmq"] for name, one in found.items()} == {
        "none": "worse",
        "noisy": "cannot tell",
    }


def test_a_path_whose_verdict_is_firm_is_not_measured_further():
    engines = Engines({("head", "zmq"): 1.3}, cv=0.02, seed=1)
    content = engines.gate(paths=("zmq", "ray"))
    assert verdicts(content) == {"zmq": "worse", "ray": "same"}
    assert engines.sessions[0] == ("zmq", "ray")
    assert engines.sessions[-1] == ("ray",)
    assert content["sessions"] > 4


@pytest.mark.parametrize(
    ("engines", "first"), [(8, ("a", "b", "c", "d")), (7, ("a", "b")), (4, ("a", "b")), (1, ("a",))]
)
def test_paths_that_do_not_fit_together_are_split_over_sessions_and_both_builds_of_each_are_in_one(
    engines, first
):
    measured = Engines({}, cv=0.0005)
    content = measured.gate(paths=("a", "b", "c", "d"), engines=engines)
    assert measured.sessions[0] == first
    whole = -(-4 // len(first))
    assert sum(measured.sessions[:whole], ()) == ("a", "b", "c", "d")
    assert verdicts(content) == dict.fromkeys("abcd", "same")
    assert content["sessions"] == len(measured.sessions) == 4 * whole


def test_what_is_faster_is_better_and_no_failure():
    content = Engines({("head", "zmq"): 0.8}).gate()
    assert verdicts(content) == {"zmq": "better"}
    assert gate_report.exit_code(content) == 0


def test_where_higher_is_better_a_rise_is_better(monkeypatch):
    steps = METRICS["step_seconds"]
    monkeypatch.setitem(METRICS, "step_seconds", replace(steps, better="higher"))
    assert verdicts(Engines({("head", "zmq"): 1.3}).gate()) == {"zmq": "better"}
    assert verdicts(Engines({("head", "zmq"): 0.8}).gate()) == {"zmq": "worse"}
    assert verdicts(Engines({}).gate()) == {"zmq": "same"}


def test_it_keeps_its_budget_and_cannot_tell_what_it_had_no_time_for():
    engines = Engines({("head", "zmq"): 1.03}, cv=0.05)
    content = engines.gate(budget_seconds=305.0)
    assert 280.0 < engines.now <= 305.0  # and it uses it
    assert verdicts(content) == {"zmq": "cannot tell"}
    assert content["stopped"] == "the budget is spent"
    assert gate_report.exit_code(content) == 0


def cut_off(engines):
    """Sessions that do not end before the time that they are given."""

    def measure(paths, seconds):
        engines.sessions.append(tuple(paths))
        engines.now += seconds + 1.0
        why = f"did not end within {seconds:g} s"
        return [record_of(path, build, "failed", why) for path in paths for build in ("base", "head")]

    return measure


@pytest.mark.parametrize(
    ("engines", "reported", "sessions"),
    [(6, r"--budget is 2 minutes, and one session of a, b, c takes more than 2\.0", 1),
     (2, r"--budget is 2 minutes, and sessions of a, b, c take about 4\.5", 1)],
)  # fmt: skip
def test_a_budget_too_small_for_a_session_of_each_path_says_what_they_take(engines, reported, sessions):
    measured = Engines({}, session_seconds=90.0)
    if engines == 6:
        measured.measure = cut_off(measured)
    with pytest.raises(UsageError, match=reported):
        measured.gate(("a", "b", "c"), budget_seconds=120.0, engines=engines)
    assert len(measured.sessions) == sessions  # where it is clear before the budget is spent, then


def test_a_first_session_that_is_cut_off_is_judged_on_what_it_has():
    """The budget ends between its workloads."""
    engines = Engines({})
    measure = engines.measure

    def cut(paths, seconds):
        small, large = measure(paths, seconds), measure(paths, seconds)
        for record in large:
            record.workload = {"name": "fixed", "batch": 64}
            record.status, record.reason, record.metrics = "failed", "did not end", {}
        return small + large

    engines.measure = cut
    content = engines.gate(budget_seconds=30.0)
    small, large = content["verdicts"]
    assert (small["verdict"], small["replicates"], large["verdict"]) == ("cannot tell", 1, "failed")
    assert content["stopped"] == "the budget is spent"


def _lacks(record):
    del record.metrics["step_seconds"]


def _nan(record):
    record.metrics["step_seconds"] = [float("nan")] * 7


def _fails(record):
    record.status, record.reason, record.metrics = "failed", "EngineError: once", {}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ({(1, "head"): _lacks}, "1 of 4 sessions left out: head: it gave no step_seconds"),
        ({(2, "head"): _nan}, "1 of 4 sessions left out: head: it gave no step_seconds"),
        ({(1, "base"): _lacks, (2, "head"): _nan}, "2 of 4 sessions left out: base: it gave no step_seconds"),
        ({(1, "base"): _fails, (1, "head"): _lacks}, "1 of 4 sessions left out: base: EngineError: once"),
        ({(4, "head"): _fails}, "1 of 4 sessions left out: head: EngineError: once"),
    ],
)  # fmt: skip
def test_a_start_that_fails_or_lacks_a_metric_takes_out_its_session_and_no_other(spoil, reason):
    """With a host that gets slower by 80 % a session, a start beside a wrong partner would show."""
    engines = Engines({("head", "zmq"): 1.2}, cv=0.0, drift=0.04).spoilt(spoil)
    content = engines.gate(budget_seconds=80.0)
    [row] = content["verdicts"]
    assert row["replicates"] == 4 - int(reason[0])
    assert row["reason"].endswith(f"; {reason}")
    assert row["logs"] == pytest.approx([math.log(1.2)] * row["replicates"])
    assert f"zmq fixed 8 cannot tell: {row['reason']}" in gate_report.text(content)


def test_a_failure_after_a_firm_verdict_does_not_erase_it():
    """Of two cases of a path one is firm, and while the other is measured further it fails."""
    engines = Engines({})
    measure = engines.measure

    def two_cases(paths, seconds):
        records = []
        for batch, speed in ((8, 1.3), (64, 1.0 + 0.3 * (len(engines.sessions) % 2))):
            engines.speeds = {("head", "zmq"): speed}
            for record in measure(paths, seconds):
                record.workload = {"name": "fixed", "batch": batch}
                if batch == 8 and len(engines.sessions) > 8:
                    _fails(record)
                records.append(record)
        return records

    engines.measure = two_cases
    small, large = engines.gate(budget_seconds=1000.0)["verdicts"]
    assert (small["verdict"], small["reason"]) == ("worse", None)
    assert large["verdict"] != "worse"
    assert len(engines.sessions) > 12


@pytest.mark.parametrize("zero", ["both", "base"])
def test_zero_has_no_ratio_unless_both_are(zero):
    def idle(record):
        record.metrics["step_seconds"] = [0.0] * 7

    spoil = {
        (number, build): idle for number in range(9) for build in ("base", "head")[: 1 + (zero == "both")]
    }
    [row] = Engines({}, cv=0.0).spoilt(spoil).gate(budget_seconds=160.0)["verdicts"]
    same = ("same", 1.0, [0.0] * 4, None)
    none = ("cannot tell", None, [], "a value of 0 has no ratio")
    found = (row["verdict"], row["ratio"], row["logs"], row["reason"])
    assert found == (same if zero == "both" else none)


def test_a_path_that_hangs_takes_its_share_of_the_sessions_and_the_others_are_judged():
    engines = Engines({("head", "zmq"): 1.3})
    measure = engines.measure

    def hanging(paths, seconds):
        records = measure([path for path in paths if path != "ray"], seconds)
        if "ray" in paths:
            engines.now += seconds / 3
            records += [record_of("ray", build, "failed", "did not start") for build in ("base", "head")]
        return records

    engines.measure = hanging
    content = engines.gate(paths=("ray", "zmq"), budget_seconds=600.0)
    assert engines.now <= 600.0
    assert verdicts(content) == {"ray": "failed", "zmq": "worse"}
    assert content["sessions"] == 4


def test_what_the_end_of_the_budget_cuts_off_is_no_failure():
    """A session that hangs is ended with the budget; those before it count."""
    engines = Engines({}, cv=0.05)
    measure, hanging = engines.measure, cut_off(engines)
    engines.measure = lambda paths, seconds: (measure if len(engines.sessions) < 5 else hanging)(
        paths, seconds
    )
    content = engines.gate(budget_seconds=600.0)
    [row] = content["verdicts"]
    assert (row["verdict"], row["replicates"], content["sessions"]) == ("cannot tell", 5, 6)


def test_counts_alone_need_one_session():
    engines = Engines({("head", "zmq"): 1.01})
    content = engines.gate(metrics=("wire_bytes",))
    assert engines.sessions == [("zmq",)]
    assert verdicts(content, "wire_bytes") == {"zmq": "worse"}
    assert content["stopped"] == "every verdict is firm"


@pytest.mark.parametrize(
    ("failing", "metrics", "sessions", "stopped"),
    [
        (range(2, 9), None, 3, "what failed twice in a row was given up"),
        ([1], ("wire_bytes",), 1, "another session would tell no more"),
    ],
)
def test_the_last_line_says_why_what_is_not_firm_was_not_measured_on(failing, metrics, sessions, stopped):
    def broken(record):
        record.status, record.reason, record.metrics = "failed", "it broke", {}

    engines = Engines({}).spoilt({(number, "head"): broken for number in failing})
    content = engines.gate(**({"metrics": metrics} if metrics else {}))
    assert (content["sessions"], content["stopped"]) == (sessions, stopped)
    assert {row["verdict"] for row in content["verdicts"]} <= {"cannot tell", "failed"}


@pytest.mark.parametrize(
    ("observed", "reason"),
    [
        ({}, "head: this commit does not give it"),
        ({"absent": {"wire": "3 of 8 requests were there"}}, "head: 3 of 8 requests were there"),
    ],
)
def test_a_build_without_counts_says_why(observed, reason):
    def uncounted(record):
        del record.metrics["wire_bytes"]
        record.observed = observed

    [row] = Engines({}).spoilt({(1, "head"): uncounted}).gate(metrics=("wire_bytes",))["verdicts"]
    assert (row["verdict"], row["reason"]) == ("absent", reason)


def test_what_neither_commit_has_is_absent_and_stops_nothing():
    gone = ("absent", "no GPU here")
    content = Engines({("base", "vllm-ray"): gone, ("head", "vllm-ray"): gone}).gate(("vllm-ray", "zmq"))
    assert verdicts(content) == {"vllm-ray": "absent", "zmq": "same"}
    assert gate_report.exit_code(content) == 0
    assert "vllm-ray fixed 8 absent: base: no GPU here" in gate_report.text(content)


def test_a_path_that_fails_could_not_be_measured_and_the_others_are():
    content = Engines({("head", "ray"): ("failed", "WorkerDied: out of memory\nmore")}).gate(("ray", "zmq"))
    assert verdicts(content) == {"ray": "failed", "zmq": "same"}
    assert gate_report.exit_code(content) == 2
    assert "ray fixed 8 failed: head: WorkerDied: out of memory\n" in gate_report.text(content)


def test_nothing_measured_is_no_success():
    content = Engines({("base", "zmq"): ("absent", "this commit has no API")}).gate()
    assert gate_report.exit_code(content) == 2


def test_sessions_at_once_are_replicates_each_and_take_the_time_of_one():
    one, four = (Engines({("head", "zmq"): 1.3}, seed=2) for _ in range(2))
    alone, content = one.gate(), four.gate(at_once=4)
    assert [found["verdicts"][0]["verdict"] for found in (alone, content)] == ["worse", "worse"]
    assert (content["sessions"], content["at_once"], content["seconds"]) == (4, 4, alone["seconds"] / 4)
    assert content["verdicts"][0]["replicates"] == 4
    assert content["verdicts"][0]["logs"] == pytest.approx([math.log(1.3)] * 4, abs=0.02)
    assert four.said[0] == "sessions 1 to 4: zmq; 60.0 minutes left"
    assert "\n4 sessions, 4 at once, in 0.3 minutes; every" in gate_report.text(content)


@pytest.mark.parametrize(
    ("at_once", "looks"),
    [(1, [4, 8, 15]), (3, [6, 12, 24, 45]), (8, [8, 16, 32, 64, 120])],
)
def test_it_looks_when_as_many_replicates_are_there_and_uses_the_budget(at_once, looks):
    """Fifteen times what is up at once fits; each look has its share of the error."""
    engines = Engines({("head", "zmq"): 1.015}, cv=0.02)
    content = engines.gate(budget_seconds=305.0, at_once=at_once)
    said = [line for line in engines.said if line.startswith("after")]
    assert said == [f"after {look} sessions of each path:" for look in looks]
    assert content["sessions"] == 15 * at_once
    assert verdicts(content) == {"zmq": "cannot tell"}
    assert engines.now == 300.0


def test_paths_that_do_not_fit_together_are_in_turn_in_every_lane():
    engines = Engines({}, cv=0.0005)
    content = engines.gate(paths=("a", "b", "c"), engines=4, at_once=2)
    assert engines.sessions[:4] == [("a",), ("a",), ("b", "c"), ("b", "c")]
    assert verdicts(content) == dict.fromkeys("abc", "same")
    assert {row["replicates"] for row in content["verdicts"]} == {4}
    assert content["sessions"] == len(engines.sessions) == 8


def in_lanes(engines, at_once, broken):
    """Have sessions fail, by their numbers from 1: `broken` says which."""
    spoil = {(number, "head"): _fails for number in range(1, 200) if broken(number)}
    return engines.spoilt(spoil).gate(budget_seconds=200.0, at_once=at_once)


def test_a_lane_that_always_fails_takes_out_its_replicates_and_no_other():
    """Two lanes of four break, which is twice in a row; the others give four replicates in two turns."""
    content = in_lanes(Engines({("head", "zmq"): 1.3}), 4, lambda number: number % 4 in (0, 3))
    [row] = content["verdicts"]
    assert (row["verdict"], row["replicates"], content["sessions"]) == ("worse", 4, 8)
    assert row["reason"] == "4 of 8 sessions left out: head: EngineError: once"


@pytest.mark.parametrize(("at_once", "sessions"), [(1, 2), (2, 2), (4, 4)])
def test_what_fails_in_every_lane_is_given_up(at_once, sessions):
    content = in_lanes(Engines({}), at_once, lambda _number: True)
    assert verdicts(content) == {"zmq": "failed"}
    assert content["sessions"] == sessions


def test_a_budget_is_too_small_where_time_cuts_off_every_lane():
    """Where one gives something, that is judged."""
    for lanes_that_hang, says in ((2, "more than"), (1, None)):
        engines = Engines({})
        measure, hanging = engines.measure, cut_off(engines)
        engines.measure = lambda paths, seconds, some=(measure, hanging), hang=lanes_that_hang, its=engines: (
            some[len(its.sessions) % 2 < hang](paths, seconds)
        )
        if says:
            with pytest.raises(UsageError, match=says):
                engines.gate(budget_seconds=30.0, at_once=2)
        else:
            [row] = engines.gate(budget_seconds=30.0, at_once=2)["verdicts"]
            assert (row["verdict"], row["replicates"]) == ("cannot tell", 1)


def test_something_worse_outweighs_what_failed():
    speeds = {("head", "ray"): ("failed", "no"), ("head", "zmq"): 1.3}
    assert gate_report.exit_code(Engines(speeds).gate(("ray", "zmq"))) == 1


@pytest.mark.parametrize("minutes", [1.5, 3.0])
def test_starts_in_two_modes_are_no_verdict(minutes):
    """A commit against itself, starts 30 % apart: of two pairs 14 % of gates were firm."""
    wrong = 0
    for seed in range(300):
        draw = random.Random(seed)
        engines = Engines({}, session_seconds=40.0, seed=seed)
        measure = engines.measure

        def in_modes(paths, seconds, draw=draw, engines=engines, measure=measure):
            engines.speeds = {(build, "zmq"): draw.choice([1.0, 1.3]) for build in ("base", "head")}
            return measure(paths, seconds)

        engines.measure = in_modes
        wrong += verdicts(engines.gate(budget_seconds=60 * minutes))["zmq"] in ("worse", "better")
    assert wrong <= (0 if minutes < 2.5 else 9)


def test_twenty_gates_of_a_commit_against_itself():
    """On a machine whose replicates differ by 5 %, far more than the threshold."""
    calls = [
        verdicts(Engines({}, cv=0.05, seed=seed).gate(("sync", "zmq", "ray"), budget_seconds=1800.0))
        for seed in range(20)
    ]
    assert sum("worse" in call.values() for call in calls) <= 1


def test_the_report_says_the_same_in_each_form():
    speeds = {("head", "zmq"): 1.3, ("head", "ray"): ("failed", "no <such> worker"), ("head", "sync"): 1.0}
    content = Engines(speeds, cv=0.0).gate(("zmq", "ray", "sync"), metrics=("step_seconds", "wire_bytes"))
    assert json.loads(json.dumps(content)) == content
    markdown = gate_report.markdown(content)
    assert markdown.startswith("### worse: aaaaaaaa..bbbbbbbb on box")
    [row] = [line for line in markdown.splitlines() if "zmq" in line and "step_seconds" in line]
    assert "worse" in row
    assert "+30.0 %" in row
    suite = ET.fromstring(gate_report.junit(content))
    cases = {(case.get("classname"), case.get("name")): [kid.tag for kid in case] for case in suite}
    assert cases["zmq.nano.batch-8", "step_seconds"] == ["failure"]
    assert cases["zmq.nano.batch-8", "wire_bytes"] == ["failure"]
    assert cases["ray.nano.batch-8", "step_seconds"] == ["error"]
    assert cases["sync.nano.batch-8", "step_seconds"] == []
    assert (suite.get("failures"), suite.get("errors"), suite.get("tests")) == ("2", "1", "5")


def test_what_a_worker_wrote_in_colours_is_still_xml():
    """An engine's last words may hold what no XML can."""
    content = Engines({("head", "zmq"): ("failed", "\x1b[31mWorkerDied\x1b[0m: \x00 out of memory")}).gate()
    [case] = ET.fromstring(gate_report.junit(content))
    assert "WorkerDied" in case[0].get("message")
