"""history/parts.py: what explains a change of a series, by the control of its sessions; detect shows it."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from rollout_bench.history.detect import find_change_points
from rollout_bench.history.parts import parts_of
from rollout_bench.history.results import Commit, Point, Results
from rollout_bench.measure.pool import pool
from rollout_bench.measure.tracked import fixed
from rollout_bench.report.change_points import change_points_table
from rollout_bench.schema.record import MEASURED, Record

COMMITS = [Commit(f"{number:08x}" + "0" * 32, f"commit {number}", number) for number in range(20)]
CONTROL = {"commit": "c" * 40, "lock": "l"}
GPU, SCHEDULER, STEPS, AT = 0.0080, 0.0004, 200, 12


def step(draw, host, scheduler=0.0, **pipe):
    """Metrics of four rounds: an engine step is the GPU's 8 ms, which no host touches, and 2 ms more."""
    rounds = [host * draw.gauss(1, 0.02) for _ in range(4)]
    idle = [0.0020 * busy + scheduler for busy in rounds]
    return {
        "step_seconds": [STEPS * (GPU + one) for one in idle],
        "engine_step_seconds": [GPU + one for one in idle],
        "gpu_idle_seconds": idle,
        "stage_schedule_seconds": [SCHEDULER * busy + scheduler for busy in rounds],
        "stage_update_seconds": [0.0002 * busy for busy in rounds],
        **{f"wire_{name}_seconds": [one * busy for busy in rounds] for name, one in pipe.items()},
    }


def history(control=CONTROL, change=0.0006, **more):
    """A scheduler that takes longer since commit 12, on a host that is twice as slow now and then."""
    draw = random.Random(0)
    points = []
    for number, commit in enumerate(COMMITS):
        host = draw.choice([1.0, 1.0, 1.5, 2.0])
        pipe = dict.fromkeys(("encode", "send", "receive", "decode"), 0.00005)
        own = step(draw, host, change * (number >= AT), **pipe) | {"wire_bytes": [100.0 + 5 * (number >= AT)]}
        observed, its = {"counted": {"wire_bytes": 1}}, step(draw, host)
        if control is not None:
            ratios = [
                one / other for one, other in zip(own["step_seconds"], its["step_seconds"], strict=True)
            ]
            own["control_ratio"] = ratios
            observed["control"] = control | {"metrics": its} | more
        load = fixed("nano", [8])[0].as_dict()
        record = Record("zmq", "nano", 1, load, MEASURED, None, own, observed)
        points.append(Point("box", "py3.11", commit, record, Path("x.jsonl")))
    return Results(points=points)


def test_the_part_that_changed_is_named_beside_the_change_though_the_host_wandered():
    results = history()
    [found] = find_change_points(results, metrics=["control_ratio"])
    assert found.first == COMMITS[AT]
    parts = {part.name: part for part in found.parts}
    assert {name: part.verdict for name, part in parts.items()} == {
        "GPU": "same", "GPU idle": "worse", "scheduler": "worse", "pipe": "same"
    }  # fmt: skip
    assert parts["scheduler"].change == pytest.approx(0.06, abs=0.01)
    assert parts["scheduler"].interval[0] < parts["scheduler"].change < parts["scheduler"].interval[1]
    assert found.counts == {"wire_bytes": 1.05}
    text = " ".join(change_points_table([found], [], results).split())
    assert (
        " zmq 8 +6.1 %: GPU +0.0, GPU idle +6.4, scheduler +6.0, pipe −0.7; "
        "bytes on the wire in an engine step +5.0 %" in text
    )


@pytest.mark.parametrize(("later", "state"), [(0, "unconfirmed"), (4, "withdrawn")])
def test_one_commit_alone_has_parts_by_the_noise_of_those_before(later, state):
    points = history(change=0.02).points[: AT + 1]
    back = history(change=0.0).points[AT + 1 : AT + 1 + later]
    [found] = find_change_points(Results(points=[*points, *back]), metrics=["control_ratio"])
    assert found.state == state
    assert {part.name: part.verdict for part in found.parts}["scheduler"] == "worse"


@pytest.mark.parametrize("without", [None, 2])
def test_an_engine_start_without_the_control_leaves_the_others_their_parts(without):
    def commit(number):
        starts = []
        for start in range(5):
            one = history().points[number].record
            observed = {} if start == without else one.observed
            metrics = {name: of for name, of in one.metrics.items() if observed or name != "control_ratio"}
            session = {"session": f"{number} {start}"}
            starts.append([replace(one, metrics=metrics, observed=observed, provenance=session)])
        return pool(starts)[0]

    found = parts_of("control_ratio", [commit(0)], [commit(AT)])
    assert [part.name for part in found] == ["GPU", "GPU idle", "scheduler", "pipe"]
    assert [part.name for part in found if part.verdict == "worse"] == ["GPU idle", "scheduler"]


def test_without_a_control_parts_are_absolute_and_with_another_one_there_are_none():
    [found] = find_change_points(history(None, change=0.02), metrics=["step_seconds"])
    parts = {part.name: part.change for part in found.parts}
    assert list(parts) == ["GPU", "GPU idle", "scheduler", "pipe"]
    assert parts["scheduler"] == pytest.approx(found.ratio - 1, rel=0.1)
    results = history()
    for point in results.points[AT:]:
        point.record.observed["control"]["commit"] = "d" * 40
    [found] = find_change_points(results, metrics=["control_ratio"])
    assert found.parts == []
    assert found.counts == {"wire_bytes": 1.05}
