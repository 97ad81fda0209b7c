"""gate/parts.py: what explains a change of the step time, judged with its own noise, and how it is shown."""

import random
import re

import pytest
from fake_sessions import Engines
from rollout_bench.gate import report as gate_report


def with_parts(scheduler=0.0, idle="gpu", steps=100.0):
    """Makes a record whose scheduler takes so many seconds more, and whose host sleeps more or less."""

    def change(record):
        draw = random.Random(repr((record.provenance["side"], record.metrics)))
        computed = [0.0080 * draw.gauss(1, 0.002) for _ in range(7)]
        slept = [0.0020 * draw.gauss(1, 0.6) + scheduler for _ in range(7)]
        engine_step = [one + other for one, other in zip(computed, slept, strict=True)]
        record.metrics = {
            "step_seconds": [one * steps for one in engine_step],
            "engine_step_seconds": engine_step,
            f"{idle}_idle_seconds": slept,
            "stage_schedule_seconds": [0.0004 + scheduler] * 7,
            "stage_update_seconds": [0.0002] * 7,
            "stage_launch_seconds": [0.0010 * draw.gauss(1, 0.002) for _ in range(7)],
            "wire_bytes": [100.0 + (scheduler > 0)],
        } | {f"wire_{name}_seconds": [0.0001] * 7 for name in ("encode", "send", "wait", "receive", "decode")}

    return change


def gate_of_parts(head, idle="gpu", sessions=8):
    spoil = {(number, "base"): with_parts(idle=idle) for number in range(1, sessions + 1)}
    spoil |= {(number, "head"): head for number in range(1, sessions + 1)}
    engines = Engines({}).spoilt(spoil)
    return engines.gate(metrics=("step_seconds", "wire_bytes"), budget_seconds=20.0 * sessions)


def test_a_step_time_that_cannot_be_judged_has_parts_that_can():
    """0.6 ms more of scheduling in an engine step of ten, whose idle time varies by twice as much."""
    content = gate_of_parts(with_parts(scheduler=0.0006))
    row = next(row for row in content["verdicts"] if row["metric"] == "step_seconds")
    assert row["verdict"] == "cannot tell"
    parts = {part["name"]: part for part in row["parts"]}
    assert {name: part["verdict"] for name, part in parts.items()} == {
        "GPU": "same", "GPU idle": "cannot tell", "scheduler": "worse", "launch": "same", "pipe": "same"
    }  # fmt: skip
    assert parts["scheduler"]["change"] == pytest.approx(0.06, rel=0.1)
    low, high = parts["scheduler"]["interval"]
    assert 0.05 < low < parts["scheduler"]["change"] < high < 0.07
    firm = r"\+\d\.\d %: GPU [+−]0\.\d, scheduler \+[56]\.\d, launch .*, pipe \+0\.0"
    explained = firm + r"; not clear: GPU idle [+−]\d+\.\d; bytes .* \+1\.0 %"
    for shown in (gate_report.text(content), gate_report.markdown(content), gate_report.junit(content)):
        assert re.search(explained, shown), shown


def test_parts_of_a_step_with_more_engine_steps_are_those_of_all_of_them():
    """Each takes as long as before, and there are 10 % more of them."""
    [row, _bytes] = gate_of_parts(with_parts(steps=110.0), sessions=4)["verdicts"]
    changes = {part["name"]: part["change"] for part in row["parts"]}
    assert changes["GPU"] == pytest.approx(0.08, abs=0.005)
    assert changes["scheduler"] == pytest.approx(0.006, abs=0.001)


def test_without_a_gpu_it_is_the_worker_that_computes_and_launching_is_that():
    content = gate_of_parts(with_parts(idle="worker"), "worker", sessions=2)
    [row, _bytes] = content["verdicts"]
    assert [part["name"] for part in row["parts"]] == ["worker", "scheduler", "pipe"]
    assert {part["verdict"] for part in row["parts"]} == {"cannot tell"}
    assert [part["interval"] for part in row["parts"]] == [None] * 3
    assert re.search("zmq fixed 8 cannot tell: [+−].* %: not clear: worker", gate_report.text(content))
