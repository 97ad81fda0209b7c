"""gate/alternation.py and its report: order, early stop, budget, what cannot be judged. No process starts."""

import json
import math
import random
import xml.etree.ElementTree as ET
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rollout_bench.errors import UsageError
from rollout_bench.gate import report as gate_report
from rollout_bench.gate.alternation import Question, run_gate
from rollout_bench.schema.metrics import METRICS

FACTS = {
    "base": "a" * 40,
    "head": "b" * 40,
    "machine": "box",
    "measured_at": "2026-11-23T12:00:00+00:00",
    "command": "rollout-perf gate a b",
    "notes": [],
}


def record_of(path, status="measured", reason=None):
    """A record, without metrics."""
    return SimpleNamespace(
        path=path, preset="nano", tensor_parallel_size=1, workload={"name": "fixed", "batch": 8},
        status=status, reason=reason, metrics={}, observed={},
    )  # fmt: skip


class Engines:
    """Replicates of a known time on a clock of their own; each value is noise around the build's speed."""

    def __init__(self, speeds, cv=0.004, start_seconds=10.0, seed=0, drift=0.0):
        self.speeds = speeds  # {(build, path): seconds, or a status with its reason}
        self.cv, self.start_seconds, self.drift = cv, start_seconds, drift
        self.now = 0.0
        self.legs = []
        self._draw = random.Random(seed)

    def clock(self):
        return self.now

    def measure(self, build, paths, seconds_left):
        assert seconds_left > 0
        self.legs.append((build, tuple(paths)))
        records = []
        for path in paths:
            self.now += self.start_seconds
            speed = self.speeds.get((build, path), 1.0)
            record = record_of(path)
            if isinstance(speed, tuple):
                record.status, record.reason = speed
            else:
                value = speed * (1 + self.drift * self.now) * self._draw.gauss(1, self.cv)
                record.metrics = {"step_seconds": [value] * 7, "wire_bytes": [100.0 * speed] * 7}
            records.append(record)
        return records

    def spoilt(self, starts):
        """With the first record of some legs, counted from 1, made into something else."""
        measure = self.measure

        def spoil(build, paths, seconds):
            records = measure(build, paths, seconds)
            starts.get(len(self.legs), lambda record: None)(records[0])
            return records

        self.measure = spoil
        return self

    def gate(self, paths=("zmq",), metrics=("step_seconds",), budget_seconds=3600.0):
        thresholds = {name: 0.015 if name == "step_seconds" else 0.0 for name in metrics}
        exact = frozenset(metrics) - {"step_seconds"}
        question = Question(paths, thresholds, exact, budget_seconds)
        outcome = run_gate(question, self.measure, lambda text: None, self.clock)
        return gate_report.content(outcome, FACTS)


def verdicts(content, metric="step_seconds"):
    return {row["path"]: row["verdict"] for row in content["verdicts"] if row["metric"] == metric}


def test_builds_alternate_so_that_drift_cancels():
    """A machine that gets slower by 1 % with every replicate, and two commits that are equal."""
    engines = Engines({}, cv=0.0005, drift=0.001)
    content = engines.gate()
    builds = [build for build, _paths in engines.legs]
    assert builds[:8] == ["base", "head", "head", "base"] * 2
    assert verdicts(content) == {"zmq": "same"}


def test_it_stops_as_soon_as_every_verdict_is_firm():
    engines = Engines({("head", "zmq"): 1.3})
    content = engines.gate()
    assert verdicts(content) == {"zmq": "worse"}
    assert (content["pairs"], content["stopped"]) == (4, "every verdict is firm")
    assert gate_report.exit_code(content) == 1


def test_a_path_whose_verdict_is_firm_is_not_measured_further():
    engines = Engines({("head", "zmq"): 1.3})
    content = engines.gate(paths=("zmq", "ray"))
    assert verdicts(content) == {"zmq": "worse", "ray": "same"}
    assert engines.legs[0][1] == ("zmq", "ray")
    assert engines.legs[-1][1] == ("ray",)
    assert content["pairs"] > 4


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
    content = engines.gate(budget_seconds=300.0)
    assert engines.now <= 300.0
    assert engines.now > 250.0  # and it uses it
    assert verdicts(content) == {"zmq": "cannot tell"}
    assert content["stopped"] == "the budget is spent"
    assert gate_report.exit_code(content) == 0


def test_a_budget_too_small_for_one_round_says_what_a_round_takes():
    engines = Engines({}, start_seconds=90.0)
    with pytest.raises(UsageError, match=r"--budget is 5 minutes, and one round .* about 6\.0"):
        engines.gate(budget_seconds=300.0)
    assert len(engines.legs) == 2  # reported when it is clear, not when the budget is spent


def test_a_first_round_that_ends_a_little_late_is_judged_and_not_thrown_away():
    engines = Engines({})
    measure = engines.measure

    def slower_at_last(build, paths, seconds_left):
        engines.start_seconds = 12.0 if len(engines.legs) == 3 else 10.0
        return measure(build, paths, seconds_left)

    engines.measure = slower_at_last
    content = engines.gate(budget_seconds=41.0)
    assert (verdicts(content), content["pairs"]) == ({"zmq": "cannot tell"}, 2)
    assert content["stopped"] == "the budget is spent"


def test_a_first_round_whose_last_start_is_cut_off_is_judged_on_the_pair_that_it_has():
    engines = Engines({})

    def cut_off(record):
        engines.now += 2.0
        record.status, record.reason, record.metrics = "failed", "did not end in time", {}

    [row] = engines.spoilt({4: cut_off}).gate(budget_seconds=41.0)["verdicts"]
    assert (row["verdict"], row["pairs"]) == ("cannot tell", 1)
    assert row["reason"].endswith(
        "takes 4 pairs, and there are 1; 1 of 2 pairs left out: base: did not end in time"
    )


def _lacks(record):
    del record.metrics["step_seconds"]


def _nan(record):
    record.metrics["step_seconds"] = [float("nan")] * 7


def _fails(record):
    record.status, record.reason, record.metrics = "failed", "EngineError: once", {}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ({2: _lacks}, "1 of 4 pairs left out: head: it gave no step_seconds"),
        ({2: _nan}, "1 of 4 pairs left out: head: it gave no step_seconds"),
        ({1: _lacks, 3: _lacks}, "2 of 4 pairs left out: base: it gave no step_seconds"),
        ({1: _fails, 2: _lacks}, "1 of 4 pairs left out: head: it gave no step_seconds"),
        ({7: _fails}, "1 of 4 pairs left out: head: EngineError: once"),
    ],
)
def test_a_start_that_fails_or_lacks_a_metric_takes_out_its_pair_and_no_other(spoil, reason):
    """With a host that gets slower by 40 % a start, a start beside a wrong partner shows."""
    engines = Engines({}, cv=0.0, drift=0.04).spoilt(spoil)
    content = engines.gate(budget_seconds=80.0)
    [row] = content["verdicts"]
    assert row["pairs"] == 4 - int(reason[0])
    assert row["reason"].endswith(f"; {reason}")
    starts = [1 + 0.04 * 10 * number for number in range(1, 9)]
    pairs = [(starts[i], starts[j]) for i, j in ((0, 1), (3, 2), (4, 5), (7, 6))]
    spoilt = {(leg - 1) // 2 for leg in spoil}
    logs = [math.log(head / base) for place, (base, head) in enumerate(pairs) if place not in spoilt]
    assert math.log(row["ratio"]) == pytest.approx(sum(logs) / len(logs))
    assert f"zmq fixed 8 cannot tell: {row['reason']}" in gate_report.text(content)


def test_a_path_that_hangs_takes_its_share_of_the_budget_and_the_others_are_judged():
    engines = Engines({("head", "zmq"): 1.3})
    measure = engines.measure

    def hanging(build, paths, seconds):
        records = measure(build, [path for path in paths if path != "ray"], seconds)
        if "ray" in paths:
            engines.now += seconds
            records.append(record_of("ray", "failed", f"did not end within {seconds:g} s"))
        return records

    engines.measure = hanging
    content = engines.gate(paths=("ray", "zmq"), budget_seconds=600.0)
    assert engines.now <= 600.0
    assert verdicts(content) == {"ray": "failed", "zmq": "worse"}


def test_what_the_end_of_the_budget_cuts_off_is_no_failure():
    """A start that hangs after a round is ended with the budget; the pairs before it count."""
    engines = Engines({}, cv=0.05)
    measure = engines.measure

    def hanging(build, paths, seconds_left):
        if len(engines.legs) < 5:
            return measure(build, paths, seconds_left)
        engines.now += seconds_left
        return [record_of("zmq", "failed", "did not end in time")]

    engines.measure = hanging
    content = engines.gate(budget_seconds=600.0)
    assert engines.now <= 600.0
    assert (verdicts(content), content["pairs"]) == ({"zmq": "cannot tell"}, 2)


def test_counts_alone_need_one_start_a_build():
    engines = Engines({("head", "zmq"): 1.01})
    content = engines.gate(metrics=("wire_bytes",))
    assert [build for build, _paths in engines.legs] == ["base", "head"]
    assert verdicts(content, "wire_bytes") == {"zmq": "worse"}
    assert content["stopped"] == "every verdict is firm"


@pytest.mark.parametrize(
    ("observed", "reason"),
    [
        ({}, "head: this commit does not give it"),
        ({"absent": {"wire": "3 of 8 requests were there"}}, "head: 3 of 8 requests were there"),
    ],
)
def test_a_build_without_counts_says_why(observed, reason):
    engines = Engines({})
    measure = engines.measure

    def uncounted(build, paths, seconds_left):
        records = measure(build, paths, seconds_left)
        for record in records if build == "head" else ():
            del record.metrics["wire_bytes"]
            record.observed = observed
        return records

    engines.measure = uncounted
    [row] = engines.gate(metrics=("wire_bytes",))["verdicts"]
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


def test_something_worse_outweighs_what_failed():
    speeds = {("head", "ray"): ("failed", "no"), ("head", "zmq"): 1.3}
    assert gate_report.exit_code(Engines(speeds).gate(("ray", "zmq"))) == 1


@pytest.mark.parametrize("minutes", [1.5, 3.0])
def test_starts_in_two_modes_are_no_verdict(minutes):
    """A commit against itself, starts 30 % apart: of two pairs 14 % of gates were firm."""
    wrong = 0
    for seed in range(300):
        draw = random.Random(seed)
        engines = Engines({}, start_seconds=20.0, seed=seed)
        measure = engines.measure

        def in_modes(build, paths, seconds, draw=draw, engines=engines, measure=measure):
            engines.speeds = {(build, path): draw.choice([1.0, 1.3]) for path in paths}
            return measure(build, paths, seconds)

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
    content = Engines(speeds).gate(("zmq", "ray", "sync"), metrics=("step_seconds", "wire_bytes"))
    assert json.loads(json.dumps(content)) == content
    markdown = gate_report.markdown(content)
    assert markdown.startswith("### worse: aaaaaaaa..bbbbbbbb on box")
    [row] = [line for line in markdown.splitlines() if "zmq" in line and "step_seconds" in line]
    assert "worse" in row
    assert "+30.2 %" in row
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
