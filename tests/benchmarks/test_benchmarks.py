"""benchmarks/rollout.py: what asv gets of records, and what belongs to which class."""

import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from asv_runner.benchmarks._base import get_setup_cache_key
from asv_runner.discovery import get_benchmark_from_name
from rollout_bench.measure import asv_cases, shared
from rollout_bench.schema.record import ABSENT, FAILED, MEASURED, Record, read_records

from benchmarks import rollout

ROOT = Path(__file__).resolve().parents[2]


def record(path, name, batch, step_seconds, status=MEASURED, reason=None):
    metrics = {
        "step_seconds": [step_seconds, step_seconds * 2, step_seconds],
        "latency_p99_seconds": [step_seconds] * 3,
        "tail_share": [0.25],
    }
    workload = {"name": name, "batch": batch, "tokens": batch * 10}
    return Record(path, "nano", 1, workload, status, reason, metrics if status == MEASURED else {})


CACHE = {
    "zmq": [
        record("zmq", "grpo", 32, 5.0),
        record("zmq", "fixed", 8, 1.0),
        record("zmq", "fixed", 16, 1.0),
        record("zmq", "fixed", 32, 1.99),  # 0.5 % more tokens a second than at 16
        record("zmq", "fixed", 64, 0, ABSENT, "not tried: throughput grew by 0.5%"),
    ],
    "ray": [record("ray", name, 32, 0, ABSENT, "ray not installed") for name in ("grpo", "fixed")],
    "vllm-mp": [record("vllm-mp", name, 32, 0, FAILED, "it broke") for name in ("grpo", "fixed")],
}


def test_a_class_finds_the_record_of_its_own_workload():
    """Both have one of batch 32."""
    assert rollout.NanoGrpo().track_step_seconds(CACHE, "zmq")["samples"] == [5.0, 10.0, 5.0]
    assert rollout.Nano().track_step_seconds(CACHE, "zmq", 32)["samples"] == [1.99, 3.98, 1.99]
    assert rollout.NanoGrpo().track_tail_share(CACHE, "zmq") == 0.25


def test_the_limit_is_tracked_as_seconds_a_token_and_latency():
    """Most tokens/s are at 32, where a token takes 1.99 s / 320; the knee is at 16."""
    limit = rollout.NanoLimit()
    assert limit.track_token_seconds(CACHE, "zmq")["samples"] == pytest.approx(
        [1.99 / 320, 3.98 / 320, 1.99 / 320]
    )
    assert limit.track_knee_latency_p99_seconds(CACHE, "zmq")["samples"] == [1.0] * 3


@pytest.mark.parametrize("name", ["NanoGrpo.track_tail_share", "NanoLimit.track_token_seconds"])
def test_what_is_absent_is_no_number_and_what_failed_is_an_error(name):
    kind, track = name.split(".")
    benchmark = getattr(rollout, kind)()
    assert math.isnan(getattr(benchmark, track)(CACHE, "ray"))
    with pytest.raises(RuntimeError, match=r"vllm-mp .* 32: it broke"):
        getattr(benchmark, track)(CACHE, "vllm-mp")


def test_a_metric_that_a_record_does_not_have_is_no_number():
    assert math.isnan(rollout.NanoGrpo().track_gpu_idle_share(CACHE, "zmq"))


def test_an_engine_start_serves_both_classes_of_a_preset():
    """asv runs a setup_cache once for each module and line: tables with one key would share their records."""
    assert rollout.NanoGrpo.setup_cache is rollout.NanoLimit.setup_cache
    assert rollout.Qwen05BGrpo.setup_cache is rollout.Qwen05BLimit.setup_cache
    kinds = ("Nano", "NanoGrpo", "Qwen05B", "Qwen05BGrpo", "Qwen7B", "Qwen7BVerl")
    keys = {get_setup_cache_key(getattr(rollout, kind)().setup_cache) for kind in kinds}
    assert len(keys) == len(kinds)


def test_the_versions_of_the_fixed_batches_are_pinned():
    """asv does not show a history across versions."""
    assert rollout.Nano.version == "1-a87b1290fac5-965b9db97627"
    assert rollout.Qwen05B.version == "1-a90727c200fe-5fae43772429-730c44cce4fe"


@pytest.mark.parametrize("kind", ["Nano", "NanoGrpo", "Qwen05B", "Qwen7BVerl"])
def test_the_history_of_exact_metrics_begins_anew_and_no_other(kind):
    """As asv reads it: since they are counted in a gated start they are other numbers."""
    own = getattr(rollout, kind).version

    def version(name):
        return get_benchmark_from_name(str(ROOT / "benchmarks"), f"rollout.{kind}.track_{name}").version

    assert version("wire_bytes") == f"{own}-whole"
    assert version("step_seconds") == version("wire_send_seconds") == own


def test_a_preset_that_is_not_tracked_here_is_absent_without_an_engine(monkeypatch):
    monkeypatch.setattr(asv_cases.machine, "gpus", list)
    monkeypatch.setattr(asv_cases, "measure_cases", lambda *_arguments, **_options: pytest.fail("started"))
    monkeypatch.setenv("ROLLOUT_PERF_SET", "extended")
    cache = rollout.Qwen7BVerl().setup_cache()
    assert list(cache) == rollout.Qwen7BVerl.params[0]
    assert {(one.status, one.reason) for records in cache.values() for one in records} == {
        (ABSENT, "qwen2.5-7b is tracked with a GPU")
    }
    assert cache["zmq"][0].tensor_parallel_size == 2


def test_where_the_gpus_are_unknown_every_case_is_absent_with_the_reason(monkeypatch):
    """On a guess, a GPU's history would get the times of a CPU."""

    def unknown():
        raise asv_cases.machine.GpusUnknown("nvidia-smi has not answered")

    monkeypatch.setattr(asv_cases.machine, "gpus", unknown)
    monkeypatch.setattr(asv_cases, "measure_cases", lambda *_arguments, **_options: pytest.fail("started"))
    cache = rollout.Nano().setup_cache()
    assert {(one.status, one.reason) for records in cache.values() for one in records} == {
        (ABSENT, "nvidia-smi has not answered")
    }


@pytest.mark.parametrize(
    ("kind", "file", "asked"),
    [
        ("Nano", "nano", ["fixed", "fixed"]),
        (
            "NanoGrpo",
            "nano-rl",
            [
                "grpo",
                "grpo-logprobs-0",
                "grpo-abort-0.5",
                "grpo-pause-keep",
                "grpo-window-16",
                *["fixed"] * 4,
            ],
        ),
    ],
)
def test_each_setup_cache_has_a_file_of_its_own(kind, file, asked, monkeypatch, tmp_path):
    def measure_cases(preset, paths, workloads, *_rest, **options):
        assert [one.name for one in workloads] == asked
        assert options["keep"] == tmp_path / f"{file}.unfinished"
        assert options["timeline"]  # of which detect's parts are
        return [Record(path, preset, 1, one.as_dict(), ABSENT, "no") for path in paths for one in workloads]

    monkeypatch.setattr(asv_cases.machine, "gpus", list)
    monkeypatch.setattr(asv_cases, "measure_cases", measure_cases)
    monkeypatch.setattr(asv_cases, "sut_fingerprint", lambda: None)
    monkeypatch.setattr(asv_cases.asv_records, "records_file", lambda name: tmp_path / f"{name}.jsonl")
    monkeypatch.setattr(asv_cases.asv_records, "say", print)
    getattr(rollout, kind)().setup_cache()
    assert (tmp_path / f"{file}.jsonl").exists()


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The paths that are measured by each setup_cache, which all succeed; a commit's file is kept."""
    found = []

    def measure_cases(preset, paths, workloads, ranks, provenance, **_options):
        found.append(list(paths))
        metrics = {"step_seconds": [float(len(found))] * 7}
        provenance = provenance | {"machine": asv_cases.machine.facts()}
        observed = {"workers": [], "engine": {}, "tokens_generated": 1, "vllm": "0"}
        return [
            Record(path, preset, ranks, load.as_dict(), MEASURED, None, metrics, observed, provenance)
            for path in paths
            for load in workloads
        ]

    monkeypatch.setattr(asv_cases.machine, "gpus", list)
    monkeypatch.setattr(asv_cases, "measure_cases", measure_cases)
    monkeypatch.setattr(asv_cases, "sut_fingerprint", lambda: "same")
    monkeypatch.setenv("ASV_COMMIT", "aaaaaaaa")
    monkeypatch.setattr(
        asv_cases.asv_records,
        "records_file",
        lambda name: tmp_path / f"{os.environ['ASV_COMMIT']}-env-{name}.jsonl",
    )
    return found


def test_a_set_measures_its_paths_that_a_commit_does_not_have_and_loses_none(asked, monkeypatch, tmp_path):
    """asv writes a value for each path: those of a set that was measured before stay what they were."""
    file = tmp_path / "aaaaaaaa-env-nano.jsonl"
    monkeypatch.setenv("ROLLOUT_PERF_SET", "quick")
    quick = rollout.Nano().setup_cache()
    assert math.isnan(rollout.Nano().track_step_seconds(quick, "sync", 8))
    monkeypatch.delenv("ROLLOUT_PERF_SET")
    cache = rollout.Nano().setup_cache()
    kept = [path for path in rollout.Nano.params[0][:6] for _batch in range(2)]
    assert [record.path for record in read_records(file.read_text())] == kept
    monkeypatch.setenv("ROLLOUT_PERF_AGAIN", "1")
    again = rollout.Nano().setup_cache()
    assert [record.path for record in read_records(file.read_text())] == kept
    others = ["sync", "vllm-ray", "ray", "ray-graph"]
    assert asked == [["vllm-mp", "zmq"], others, ["sync", "vllm-mp", "vllm-ray", "zmq", "ray", "ray-graph"]]
    found = {path: records[0].metrics["step_seconds"][0] for path, records in cache.items()}
    assert found == {"vllm-mp": 1.0, "zmq": 1.0, **dict.fromkeys(others, 2.0)}
    pooled = {path: tuple(records[0].metrics["step_seconds"][::7]) for path, records in again.items()}
    assert pooled == {"vllm-mp": (1.0, 3.0), "zmq": (1.0, 3.0), **dict.fromkeys(others, (2.0, 3.0))}
    monkeypatch.setenv("ROLLOUT_PERF_SET", "extended")
    assert list(rollout.Nano().setup_cache()) == list(rollout.Nano.params[0])


def test_a_release_that_could_not_be_installed_failed_in_each_case_and_is_measured_once_it_is(
    asked, monkeypatch, tmp_path
):
    monkeypatch.setattr(asv_cases, "why_not_installed", lambda prefix: f"no torch in {prefix}")
    cache = rollout.Nano().setup_cache()
    records = read_records((tmp_path / "aaaaaaaa-env-nano.jsonl").read_text())
    assert {(one.status, one.reason) for one in records} == {(FAILED, f"no torch in {sys.prefix}")}
    with pytest.raises(RuntimeError, match="zmq fixed 8: no torch in "):
        rollout.Nano().track_step_seconds(cache, "zmq", 8)
    assert asked == []
    monkeypatch.setattr(asv_cases, "why_not_installed", lambda _prefix: None)
    rollout.Nano().setup_cache()
    assert len(asked[0]) == 6


@pytest.mark.parametrize("what", [None, "sut", "machine", "method", "again"])
def test_a_path_that_is_absent_is_asked_for_again_where_something_has_changed(what, asked, monkeypatch):
    """Else every run of asv over a commit would install a control for it, and start no engine."""
    original = asv_cases.measure_cases

    def measure_cases(*given, **options):
        return [
            replace(one, status=ABSENT, reason="refused", metrics={}) if one.path == "vllm-ray" else one
            for one in original(*given, **options)
        ]

    monkeypatch.setattr(asv_cases, "measure_cases", measure_cases)
    monkeypatch.setattr(asv_cases, "_controls", lambda records: controls.append(records) or ([], None))
    controls = []
    first = rollout.Nano().setup_cache()
    if what == "again":
        monkeypatch.setenv("ROLLOUT_PERF_AGAIN", "1")
    elif what:
        change(what, monkeypatch)
    again = rollout.Nano().setup_cache()
    assert [(one.status, one.reason) for one in again["vllm-ray"]] == [(ABSENT, "refused")] * 2
    everything = ["sync", "vllm-mp", "vllm-ray", "zmq", "ray", "ray-graph"]
    second = {None: [], "method": [everything], "again": [everything]}.get(what, [["vllm-ray"]])
    assert asked == [everything, *second]
    assert len(controls) == len(asked)
    assert (again == first) is (what is None)


def test_what_another_method_measured_is_measured_again(asked, monkeypatch):
    rollout.Nano().setup_cache()
    monkeypatch.setattr(asv_cases, "METHOD", asv_cases.METHOD + 1)
    rollout.Nano().setup_cache()
    assert asked[0] == asked[1]


def test_a_commit_of_the_same_system_under_test_has_the_measurements_of_the_other(
    asked, monkeypatch, tmp_path
):
    """It is said of which commit they are, and a third does not take them for the second's own."""
    rollout.Nano().setup_cache()
    for commit in ("0bbbbbbb", "cccccccc"):
        monkeypatch.setenv("ASV_COMMIT", commit)
        cache = rollout.Nano().setup_cache()
        file = tmp_path / f"{commit}-env-nano.jsonl"
        records = read_records(file.read_text())
        assert len(records) == sum(map(len, cache.values())) == 12
        assert {(one.provenance["commit"], one.provenance["of_commit"]) for one in records} == {
            (commit, "aaaaaaaa")
        }
    assert len(asked) == 1


@pytest.mark.parametrize("commit", ["aaaaaaaa", "0bbbbbbb"])
def test_what_lacks_a_workload_is_measured_again_and_shared_with_nobody(commit, asked, monkeypatch, tmp_path):
    """As where a table got another batch: the commit's own file has less than is tracked now."""
    rollout.Nano().setup_cache()
    file = tmp_path / "aaaaaaaa-env-nano.jsonl"
    kept = [one for one in read_records(file.read_text()) if (one.path, one.workload["batch"]) != ("zmq", 8)]
    file.write_text("".join(f"{one.to_json()}\n" for one in kept))
    monkeypatch.setenv("ASV_COMMIT", commit)
    cache = rollout.Nano().setup_cache()
    assert asked[1:] == [["zmq"]]
    assert [one.workload["batch"] for one in cache["zmq"]] == [1, 8]
    assert not any("of_commit" in one.provenance for one in cache["zmq"])


def change(what, monkeypatch):
    """Have what is measured next be of something else."""
    if what == "sut":
        monkeypatch.setattr(asv_cases, "sut_fingerprint", lambda: "other")
    elif what == "machine":
        monkeypatch.setattr(asv_cases.machine, "facts", lambda: {"cpu": "other"})
    elif what == "method":
        monkeypatch.setattr(asv_cases, "METHOD", asv_cases.METHOD + 1)
    else:
        original = asv_cases.measure_cases

        def another(*given, **options):
            changes = {
                "control": {"control": {"commit": "c", "lock": "l"}},
                "engine": {"engine": {"max_num_seqs": 8}},
            }
            return [
                replace(one, observed=one.observed | changes[what]) for one in original(*given, **options)
            ]

        monkeypatch.setattr(asv_cases, "measure_cases", another)


@pytest.mark.parametrize("what", ["sut", "machine", "method", "control", "engine", "commit"])
def test_what_is_measured_again_takes_the_place_of_what_is_not_as_good(what, asked, monkeypatch):
    """As little is it pooled with what a commit has of another: in a series that would count twice."""
    rollout.Nano().setup_cache()
    if what == "commit":
        monkeypatch.setenv("ASV_COMMIT", "bbbbbbbb")
        rollout.Nano().setup_cache()
    else:
        change(what, monkeypatch)
    monkeypatch.setenv("ROLLOUT_PERF_AGAIN", "1")
    cache = rollout.Nano().setup_cache()
    assert {tuple(one.metrics["step_seconds"]) for records in cache.values() for one in records} == {
        (2.0,) * 7
    }
    assert len(asked) == 2


def test_what_fails_when_it_is_measured_again_erases_nothing(asked, monkeypatch):
    rollout.Nano().setup_cache()
    original = asv_cases.measure_cases
    monkeypatch.setattr(
        asv_cases,
        "measure_cases",
        lambda *given, **more: [one.failed("it broke") for one in original(*given, **more)],
    )
    monkeypatch.setenv("ROLLOUT_PERF_AGAIN", "1")
    one = rollout.Nano().setup_cache()["zmq"][0]
    assert one.metrics == {"step_seconds": [1.0] * 7}
    assert one.observed["replicates_left_out"] == ["it broke"]


@pytest.mark.parametrize("what", ["sut", "machine", "again"])
def test_nothing_else_is_shared(what, asked, monkeypatch):
    rollout.Nano().setup_cache()
    monkeypatch.setenv("ASV_COMMIT", "bbbbbbbb")
    if what == "again":
        monkeypatch.setenv("ROLLOUT_PERF_AGAIN", "1")
    else:
        change(what, monkeypatch)
    rollout.Nano().setup_cache()
    assert asked[0] == asked[1]


def test_the_system_under_test_is_known_by_its_files_and_the_packages_beside_it(monkeypatch, tmp_path):
    package, packages = tmp_path / "rollout_perf", tmp_path / "packages"
    package.mkdir()
    (packages / "vllm-1.dist-info").mkdir(parents=True)
    found = SimpleNamespace(submodule_search_locations=[str(package)])
    monkeypatch.setattr(shared.importlib.util, "find_spec", lambda _name: found)
    monkeypatch.setattr(shared.sys, "path", [])
    monkeypatch.setenv("ASV_PYTHONPATH", str(packages))

    def after(file, text):
        file.write_text(text)
        return shared.sut_fingerprint()

    metadata = packages / "vllm-1.dist-info" / "METADATA"
    first = after(metadata, "Name: vllm\nVersion: 1\n")
    assert after(package / "__init__.pyc", "x") == first
    changed = [after(package / "a.py", "x"), after(package / "a.py", "y"), after(package / "b.json", "")]
    changed.append(after(metadata, "Name: vllm\nVersion: 2\n"))
    assert len({first, *changed}) == 5
