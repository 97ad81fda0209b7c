"""report/reading.py and `rollout-perf demo`: what a newcomer is told about a table of ratios."""

import pytest
from rollout_bench.cli import demo
from rollout_bench.cli import main as cli
from rollout_bench.measure.tracked import fixed
from rollout_bench.report.ratios import ratios
from rollout_bench.report.reading import reading
from rollout_bench.schema.record import FAILED, MEASURED, Record

ROUNDS = (0.99, 1.0, 1.0, 1.01)


def session(**paths):
    """Records of one engine start a path, whose rollouts take so long; of None one that failed."""
    load = fixed("nano", [8])[0].as_dict()
    return [
        Record(
            path.replace("_", "-"),
            "nano",
            1,
            load,
            *(
                (MEASURED, None, {"step_seconds": [step * one for one in ROUNDS]})
                if step
                else (FAILED, "it broke")
            ),
        )
        for path, step in paths.items()
    ]


@pytest.mark.parametrize(
    ("zmq", "on_cpu", "starts", "says", "silent"),
    [
        (
            1.3,
            True,
            1,
            [
                "zmq: 1.30 times the step time of vllm-mp in these rollouts.",
                "No GPU",
                "Too few engine starts",
            ],
            [],
        ),
        (0.8, False, 4, ["zmq: faster than vllm-mp in these rollouts: 0.8"], ["No GPU", "Too few"]),
        (1.0, False, 4, ["zmq: no difference from vllm-mp was found: 1.0"], ["No GPU", "Too few"]),
    ],
)
def test_a_reader_is_told_what_differs_and_what_limits_it(zmq, on_cpu, starts, says, silent):
    rows = ratios(
        [session(vllm_mp=1.0, zmq=zmq * (1 + (-1) ** one / 1e3)) for one in range(starts)],
        "vllm-mp",
        "step_seconds",
    )
    text = " ".join(reading(rows, "vllm-mp", on_cpu).split())
    assert [one for one in says if one not in text] == []
    assert [one for one in silent if one in text] == []


@pytest.mark.parametrize(("ray", "code"), [(1.2, 0), (None, 1)])
def test_the_demo_shows_ratios_and_what_they_mean(ray, code, monkeypatch, capsys):
    monkeypatch.setattr(demo, "check_engine_paths", lambda paths, gpus: None)
    monkeypatch.setattr(demo, "run_session", lambda *_, **__: session(vllm_mp=1.0, zmq=1.0, ray=ray))
    assert cli.main(["demo"]) == code
    out, err = capsys.readouterr()
    assert "zmq: 1.00 times the step time of vllm-mp" in out
    assert ("ray: 1.20 times the step time" in out) is (code == 0)
    assert ("ray: failed: it broke" in err) is (code == 1)
