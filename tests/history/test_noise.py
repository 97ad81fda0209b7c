"""history/noise.py: what gates and sessions before have shown of a machine's noise."""

import json
import math
from pathlib import Path

import pytest
from rollout_bench.history.noise import LAST, read_noise
from rollout_bench.schema.record import MEASURED, Record

ROW = {"path": "zmq", "preset": "nano", "tensor_parallel_size": 1, "workload": "fixed", "batch": 8}
ZMQ = tuple(ROW.values())


def gate(logs, day=1, metric="step_seconds", **changed):
    row = {**ROW, "metric": metric, "verdict": "worse", "ratio": 1.1, "logs": logs, **changed}
    found = {"base": "a" * 40, "head": "b" * 40, "measured_at": f"2026-11-{day:02}T00:00:00+00:00"}
    return json.dumps({**found, "verdicts": [row]})


def written(folder: Path, files):
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_gates_show_the_noise_of_each_timing_around_their_own_change_newest_first(tmp_path):
    files = {
        "gates/a-b-1.json": gate([0.5, 0.52, 0.54]),
        "gates/a-b-2.json": gate([0.01, -0.01], day=2),
        "gates/a-c-3.json": gate([0.01, 0.02], metric="gpu_idle_seconds"),
        "gates/few.json": gate([0.5], day=3),
        "gates/counts.json": gate([], metric="wire_bytes"),
        "gates/old.json": gate(None),
        "gates/cut-off.json": gate([1, 2])[:-9],
        "gates/no-numbers.json": gate(["1", "2"]),
        "gates/not-finite.json": gate([math.nan, math.inf]),
    }
    noise = read_noise(written(tmp_path, files))
    assert noise.keys() == {(*ZMQ, "step_seconds"), (*ZMQ, "gpu_idle_seconds")}
    newest, oldest = noise[*ZMQ, "step_seconds"]
    assert (newest.freedom, newest.variance, newest.source) == (1, pytest.approx(2e-4), "gates/a-b-2.json")
    assert (oldest.freedom, oldest.variance) == (2, pytest.approx(4e-4))


def test_kept_sessions_show_it_by_their_ratios_to_the_reference(tmp_path):
    load = {"name": "fixed", "fingerprint": "f", "batch": 8}

    def session(factor):
        reference = [1.0, 2.0, 4.0]  # what drifts is in both
        times = {"vllm-mp": reference, "zmq": [factor * one for one in reference]}
        return [
            Record(path, "nano", 1, load, MEASURED, metrics={"step_seconds": samples, "wire_bytes": samples})
            for path, samples in times.items()
        ]

    lines = [record.to_json() for factor in (1.0, 1.1, 1.21) for record in session(factor)]
    noise = read_noise(written(tmp_path, {"turns/day.jsonl": "\n".join([*lines, lines[-1][:40]])}))
    ((timed, [spread]),) = noise.items()
    assert (timed.path, timed.metric) == ("zmq", "step_seconds")
    assert (spread.freedom, spread.variance) == (2, pytest.approx(math.log(1.1) ** 2))


def test_what_is_long_ago_counts_no_more(tmp_path):
    files = {f"gates/{day}.json": gate([0.0, day / 100], day) for day in range(1, LAST + 4)}
    spreads = read_noise(written(tmp_path, files))[*ZMQ, "step_seconds"]
    assert [one.source for one in spreads] == [f"gates/{day}.json" for day in range(LAST + 3, 3, -1)]


def test_a_machine_without_results_has_shown_nothing(tmp_path):
    assert read_noise(tmp_path / "nowhere") == {}
