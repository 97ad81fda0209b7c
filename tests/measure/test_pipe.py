"""The pipe alone: its arithmetic, and a real run that has the shape that asv and the tables read."""

import contextlib
import math
import subprocess
from dataclasses import replace

import psutil
import pytest
from leaks import eventually
from rollout_bench.history import asv_runs as track
from rollout_bench.history.results import Commit, read_results
from rollout_bench.measure import pipe
from rollout_bench.measure.pipe_contenders import Contender
from rollout_bench.measure.process import run_module

from benchmarks.transport_rpc import RoundTrip

SMALL = {64: 20, 1024: 5}


def test_a_value_is_the_median_of_the_blocks():
    blocks = [[3.0, 1.0, 2.0], [30.0, 10.0, 20.0], [6.0, 5.0, 4.0]]
    assert pipe.summarise(blocks) == {
        "p50_seconds": 5.0,
        "p99_seconds": 6.0,
        "samples": {"p50_seconds": [2.0, 20.0, 5.0], "p99_seconds": [3.0, 30.0, 6.0]},
    }


def test_a_tail_is_of_the_nearest_rank():
    [tail] = pipe.summarise([[float(value) for value in range(1, 201)]])["samples"]["p99_seconds"]
    assert tail == 198.0


def test_fewer_blocks_than_asv_can_judge_are_refused():
    with pytest.raises(ValueError, match="at least 7"):
        pipe.run_pipe(["zmq"], blocks=6)


def test_of_a_release_that_could_not_be_installed_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(pipe, "why_not_installed", lambda _prefix: "torch is gone")
    monkeypatch.setattr(pipe, "run_module", lambda *_some: pytest.fail("started"))
    assert pipe.run_pipe(["zmq"])["failed"] == {"zmq": "torch is gone"}


def test_what_is_tracked_has_enough_round_trips():
    assert list(pipe.ROUND_TRIPS) == [64, 1024, 16384, 262144, 1048576]
    assert min(pipe.ROUND_TRIPS.values()) >= 20
    assert pipe.BLOCKS >= pipe.FEWEST_BLOCKS >= 7


def test_a_real_run_has_samples_of_every_path_and_payload():
    said = []
    result = pipe.run_pipe(["zmq", "bare-zmq", "carrier-pigeon"], 7, said.append, SMALL, {"command": "test"})
    assert result["failed"] == {}
    assert list(result["absent"]) == ["carrier-pigeon"]
    assert sorted(result["paths"]) == ["bare-zmq", "zmq"]
    for sizes in result["paths"].values():
        assert list(sizes) == ["64", "1024"]
        for one in sizes.values():
            assert len(one["samples"]["p50_seconds"]) == len(one["samples"]["p99_seconds"]) == 7
            assert 0 < one["p50_seconds"] <= one["p99_seconds"] < 1
    assert result["observed"]["zmq"]["channel"].startswith("zmq")
    assert {"command", "measured_at", "versions", "machine"} <= set(result["provenance"])
    assert "round 7/7 …" in said


def test_a_process_that_dies_fails_every_path_with_its_last_words(monkeypatch):
    monkeypatch.setattr(
        pipe, "run_module", lambda module, *rest: run_module("rollout_bench.no_such_module", *rest)
    )
    result = pipe.run_pipe(["zmq", "bare-zmq"], say=lambda text: None)
    assert sorted(result["failed"]) == ["bare-zmq", "zmq"]
    assert "no_such_module" in result["failed"]["zmq"]


@pytest.fixture
def pipes(tmp_path):
    """Two open paths, "one" and "other", each with a worker that only waits."""
    with contextlib.ExitStack() as stack:
        pipes = pipe.Pipes([(64, 3)], tmp_path, stack)
        for path in ("one", "other"):
            worker = stack.enter_context(subprocess.Popen(["sleep", "60"]))
            stack.callback(worker.kill)
            pipes.add(path, Contender(lambda payload: payload, worker.pid, {}))
        yield pipes
        pipes.wake()


def test_only_the_worker_of_the_path_that_is_timed_runs(pipes):
    """A worker that spins while it waits would take the cores from the path that is timed."""
    seen = []

    def stopped(path):
        return psutil.Process(pipes.opened[path].worker).status() == psutil.STATUS_STOPPED

    def look(path, other):
        def round_trip(payload):
            seen.append((path, stopped(path), eventually(lambda: stopped(other))))  # signals take a moment
            return payload

        return round_trip

    for path, other in (("one", "other"), ("other", "one")):
        pipes.add(path, replace(pipes.open[path], round_trip=look(path, other)))
    for path in pipes.open:
        pipes.stop(path)
    pipes.measure(7)
    assert set(seen) == {("one", False, True), ("other", False, True)}
    pipes.wake()
    assert eventually(lambda: not any(map(stopped, pipes.opened)))


def test_a_path_that_breaks_off_is_failed_and_the_others_go_on(pipes):
    pipes.add("other", replace(pipes.open["other"], round_trip=lambda payload: b"other"))
    pipes.measure(7)
    result = pipes.result()
    assert list(result["paths"]) == ["one"]
    assert "other bytes came back" in result["failed"]["other"]


def test_what_is_saved_is_found_again_and_not_taken_for_results_of_asv(tmp_path, monkeypatch):
    commit = Commit("1234567890abcdef", "a change")
    (tmp_path / "asv.conf.json").write_text('// asv allows comments\n{"results_dir": "kept"}')
    monkeypatch.setenv("ASV_CONF_DIR", str(tmp_path))
    monkeypatch.setenv("ASV_COMMIT", commit.hash)
    monkeypatch.setenv("ASV_ENV_NAME", "virtualenv-py3.11")
    monkeypatch.setattr("rollout_bench.measure.asv_records.machine_name", lambda: "box")
    pipe.save({"paths": {}, "failed": {"zmq": "gone"}})
    results = read_results(track.results_folder(tmp_path), [commit])
    [found] = results.pipes
    assert found.result == {"paths": {}, "failed": {"zmq": "gone"}}
    assert (found.machine, found.commit, found.environment) == ("box", commit, "virtualenv-py3.11")
    assert (results.points, results.damaged) == ([], [])
    assert list(tmp_path.glob("kept/**/*.json")) == []


def test_asv_gets_samples_of_what_was_measured_nothing_of_what_is_absent_and_an_error_of_what_failed():
    one = {"samples": {"p50_seconds": [1.0] * 7, "p99_seconds": [2.0] * 7}}
    cache = {"paths": {"zmq": {"64": one}}, "absent": {"ray": "no ray"}, "failed": {"bare-ray": "gone"}}
    lookup = RoundTrip().track_round_trip_p99_seconds
    assert lookup(cache, "zmq", 64) == {"samples": [2.0] * 7, "number": 1}
    assert math.isnan(lookup(cache, "ray", 64))
    with pytest.raises(RuntimeError, match="gone"):
        lookup(cache, "bare-ray", 64)
