"""`rollout-perf gate`: what cannot be asked is reported in one line, before anything is built."""

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rollout_bench import git
from rollout_bench.cli import gate_records  # before anything that it imports is replaced
from rollout_bench.cli import main as cli
from rollout_bench.errors import UsageError
from rollout_bench.gate import sessions as gate
from rollout_bench.gate.verdicts import Question
from rollout_bench.history import asv_runs as track
from rollout_bench.history import environments
from rollout_bench.measure import machine as harness_machine
from rollout_bench.measure.lanes import Lane, split
from rollout_bench.measure.sizing import session_arguments
from rollout_bench.measure.tracked import Tracked, fixed
from rollout_bench.schema.record import FAILED, MEASURED, Record

ROOT = Path(__file__).resolve().parents[2]
BUILT = "built"


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch, tmp_path):
    """Each of these tests is about what comes before that."""

    def build(*_arguments):
        raise AssertionError(BUILT)

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path))  # asv keeps ~/.asv-machine.json
    monkeypatch.setattr(environments, "build", build)
    monkeypatch.setattr(git, "changed_files", lambda root: [])
    monkeypatch.setattr(track, "results_folder", lambda root: tmp_path / "results")
    monkeypatch.setattr(harness_machine, "gpus", list)


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        ([], "BASE, HEAD"),
        (["no-such-commit", "HEAD"], "unknown commit 'no-such-commit'"),
        (["HEAD", "--no-index"], "unknown option --no-index"),
        (
            ["HEAD", "HEAD", "--tracked", "bono"],
            "known: nano, nano-rl, nano-turns, nano-entries, qwen2.5-0.5b",
        ),
        (
            ["HEAD", "HEAD", "--tracked", "nano-rl", "--batch", "7"],
            "it has grpo 32, grpo-logprobs-0 32, ",
        ),
        (["HEAD", "HEAD", "--tracked", "nano", "--samples", "4"], "--workload and --batch alone"),
        *(
            (["HEAD", "HEAD", "--tracked", "nano", *words], f"{words[0]} cannot be given with --tracked nano")
            for words in (
                ["--output-kind", "stream"],
                ["--separately"],
                ["--chat-column", "x"],
                ["--block-tokens", "5"],
                ["--workload-format", "mooncake"],
                ["--tp", "0"],
                ["--seed", "0"],
            )
        ),
        (["HEAD", "HEAD", "--tracked", "nano", "--batch", "8,9"], "--tracked nano has no --batch 9; it has "),
        (
            ["HEAD", "HEAD", "--tracked", "nano", "--workload", "grpo", "--batch", "8"],
            "--tracked nano has no --workload grpo --batch 8; it has fixed 1, fixed 8",
        ),
        (["HEAD", "HEAD", "--tracked", "nano", "--workload", ""], "--tracked nano has no --workload ''; it"),
        (["HEAD", "HEAD", "--chat-column", "x"], "--chat-column says how a file is read"),
        (["HEAD", "HEAD", "--workload-format", "mooncake"], "--workload-format says how a file is read"),
        (["HEAD", "HEAD", "--block-tokens", "5"], "--block-tokens says how a file is read"),
        (["HEAD", "HEAD", "--tp", "0"], "--tp is 0; it must divide"),
        (["HEAD", "HEAD", "--preset", ""], "unknown preset ''; known: "),
        (["HEAD", "HEAD", "--workload", ""], "unknown workload ''; known: "),
        (["HEAD", "HEAD", "--tracked", ""], "unknown --tracked ''; known: nano, "),
        (["HEAD", "HEAD", "--preset", "bono"], "unknown preset or model folder 'bono'"),
        (["HEAD", "HEAD", "--workload", "no.jsonl"], "unknown workload 'no.jsonl'"),
        (["HEAD", "HEAD", "--tp", "3"], "--tp is 3; it must divide"),
        (["HEAD", "HEAD", "--paths", "pigeon"], "known: sync, vllm-mp"),
        (["HEAD", "HEAD", "--paths", "vllm-ray"], "refuses its Ray executor"),
        (["HEAD", "HEAD", "--metrics", "beauty"], "known: step_seconds, engine_step_seconds"),
        (["HEAD", "HEAD", "--metrics", "control_ratio"], "unknown metric 'control_ratio'"),
        (["HEAD", "HEAD", "--threshold", "much"], "give a percentage"),
        (["HEAD", "HEAD", "--threshold", "-3"], "give a percentage"),
        (["HEAD", "HEAD", "--threshold", "beauty=3"], "unknown metric 'beauty'"),
        (["HEAD", "HEAD", "--threshold", "latency_p99_seconds=5"], "not judged: add it to --metrics"),
        (["HEAD", "HEAD", "--summary", "no/such/folder/file.md"], "there is no folder no/such/folder"),
        (["HEAD", "HEAD", "--junit", "."], "--junit is .; that is a folder"),
        (["HEAD", "HEAD", "--machine", "../box"], "--machine is '../box'; a name is of letters, digits"),
        (["HEAD", "HEAD", "--machine", ""], "--machine is ''; a name is of letters, digits"),
        (["HEAD", "HEAD", "--budget", "0"], "above 0 minutes"),
        (["HEAD", "HEAD", "--budget", "inf"], "above 0 minutes"),
        (["HEAD", "HEAD", "--budget", "nan"], "above 0 minutes"),
        (["HEAD", "HEAD", "--budget", "long"], "long"),
        (["HEAD", "HEAD", "--at-once", "0"], "--at-once is 0; give 1 to "),
        (["HEAD", "HEAD", "--at-once", "9999"], ": each session takes a core of its own"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, reported, capsys):
    assert cli.main(["gate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rollout-perf: ")
    assert err.count("\n") == 1
    assert reported in err


def test_what_is_asked_for_is_what_is_judged(monkeypatch):
    """Each metric by its own threshold, else by the one for timings; counts by equality."""
    asked = []

    def run_gate(question, *_rest, **_more):
        asked.append(question)
        raise UsageError("that is all")

    monkeypatch.setattr(environments, "build", lambda *_arguments: SimpleNamespace(python_build=None))
    monkeypatch.setattr(gate, "run_gate", run_gate)
    thresholds = ["--threshold", "5", "--threshold", "engine_step_seconds=10%", "--threshold", "wire_calls=1"]
    metrics = "step_seconds,engine_step_seconds,wire_bytes,wire_calls"
    cli.main(
        ["gate", "HEAD", "HEAD", "--paths", "zmq,sync", "--metrics", metrics, "--budget", "2", *thresholds]
    )
    cli.main(["gate", "HEAD", "HEAD"])
    first, second = asked
    assert first.paths == ["zmq", "sync"]
    assert first.budget_seconds == 120
    assert first.thresholds == {
        "step_seconds": 0.05,
        "engine_step_seconds": 0.1,
        "wire_bytes": 0.0,
        "wire_calls": 0.01,
    }
    assert first.timings == ["step_seconds", "engine_step_seconds"]
    assert second.paths == ["sync", "vllm-mp", "vllm-ray", "zmq", "ray", "ray-graph"]  # the first table's
    assert second.thresholds == {"step_seconds": 0.015, "wire_bytes": 0.0, "wire_calls": 0.0}


@pytest.mark.parametrize(
    ("words", "preset", "loads", "largest", "paths"),
    [
        ([], "nano", [("fixed", 1), ("fixed", 8)], 8, 6),
        (["--metrics", "wire_bytes"], "nano", [("fixed", 1), ("fixed", 8)], 8, 6),
        (["--batch", "16"], "nano", [("fixed", 16)], 16, 8),
        (["--output-kind", "stream"], "nano", [("fixed-stream", 8)], 8, 8),
        (["--workload", "grpo", "--preset", "qwen2.5-0.5b"], "qwen2.5-0.5b", [("grpo", 2048)], 1024, 8),
        (["--tracked", "nano", "--workload", "fixed", "--batch", "1"], "nano", [("fixed", 1)], 8, 6),
        (["--tracked", "nano-rl", "--workload", "grpo", "--batch", "32"], "nano", [("grpo", 32)], 64, 3),
        (["--tracked", "nano-rl", "--paths", "zmq"], "nano", None, 64, 1),
        (["--tracked", "nano-entries", "--paths", "vllm-mp@zmq,vllm-mp"], "nano", [("fixed", 64)], 64, 2),
    ],
)
def test_what_is_measured_is_what_was_asked_for(words, preset, loads, largest, paths, monkeypatch, tmp_path):
    """A part of a tracked engine's workloads gets the engine that asv starts for all of them, and the paths
    are those of its table; of what is not tracked, all."""
    asked = []

    def run_session(
        preset, contestants, workloads, rounds, warmups, say, ranks, arguments, sized_for, **more
    ):
        largest = session_arguments(preset, ranks, sized_for, len(contestants), arguments)["max_num_seqs"]
        asked.append((preset, [(load.name, load.batch) for load in workloads], largest))
        assert [(one.build, one.way) for one in contestants] == [("base", "zmq"), ("head", "zmq")]
        assert (rounds, more["most_rounds"], warmups) == ((1, 1, 0) if "wire_bytes" in words else (10, 20, 2))
        return []

    def run_gate(question, engines, measure, say, at_once):
        assert len(question.paths) == paths
        measure(["zmq"], 60.0)
        raise UsageError("that is all")

    build = SimpleNamespace(python_build=None, commit="c", python="python", variables={})
    monkeypatch.setattr(environments, "build", lambda *_arguments: build)
    monkeypatch.setattr(gate_records, "run_session", run_session)
    monkeypatch.setattr(gate, "run_gate", run_gate)
    assert cli.main(["gate", "HEAD", "HEAD", *words]) == 2
    assert asked == [(preset, loads or asked[0][1], largest)]


@pytest.mark.parametrize(
    ("gpus", "ranks", "path", "asked", "lanes"),
    [
        (0, 1, "zmq", None, 1),
        (0, 1, "zmq", 3, 3),
        (1, 1, "zmq", None, 1),
        (4, 1, "zmq", None, 4),
        (4, 1, "zmq", 2, 2),
        (4, 1, "zmq", 1, 1),
        (4, 2, "zmq", None, 2),
        (4, 3, "zmq", None, 1),
        (4, 1, "zmq@zmq*2-sticky", None, 2),
        (4, 1, "zmq", 5, "--at-once is 5; give 1 to 4: each session takes 1 of 4 GPUs, and a core of its"),
        (4, 2, "zmq", 3, "--at-once is 3; give 1 to 2: each session takes 2 of 4 GPUs"),
        (4, 2, "zmq", -1, "--at-once is -1; give 1 to 2: "),
    ],
)
def test_as_many_sessions_are_up_at_once_as_have_gpus_unless_fewer_are_asked_for(
    gpus, ranks, path, asked, lanes, monkeypatch
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(harness_machine, "gpus", lambda: [{}] * gpus)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(64)))
    engine = Tracked("nano", fixed("nano", [8]), tensor_parallel_size=ranks)
    timed = Question(["vllm-mp", path], {"step_seconds": 0.015}, frozenset(), 60.0)
    if isinstance(lanes, str):
        with pytest.raises(UsageError, match=lanes):
            gate_records.lanes_of(asked, engine, timed)
        return
    found = gate_records.lanes_of(asked, engine, timed)
    assert [one.number for one in found] == list(range(1, lanes + 1))
    each = 0 if lanes == 1 or not gpus else ranks * (1 + ("*2" in path))
    assert {len(one.gpus) for one in found} == {each}
    counted = replace(timed, thresholds={"wire_bytes": 0.0}, exact=frozenset({"wire_bytes"}))
    assert len(gate_records.lanes_of(asked, engine, counted)) == 1


class Slow:
    """A file that takes a text in halves, as a disk may."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def open(self, mode):
        with self._file.open(mode, buffering=1) as file:

            def write(text):
                for half in (text[: len(text) // 2], text[len(text) // 2 :]):
                    file.write(half)
                    file.flush()
                    time.sleep(0.05)

            yield SimpleNamespace(write=write)


def test_lanes_measure_at_once_say_which_they_are_and_write_whole_lines(tmp_path, monkeypatch, capsys):
    load, meet = fixed("nano", [8])[0], threading.Barrier(2, timeout=10)

    def run_session(*some, lane, provenance, **_more):
        meet.wait()
        say = some[5]
        say("up")
        say("goes on …")
        facts = {"side": "base", **provenance}
        return [Record("zmq", "nano", 1, load.as_dict(), FAILED, "no luck", provenance=facts)]

    passing = []

    def say(text, console=gate_records.say):
        console(text)
        passing.extend([text] * text.endswith("…"))

    monkeypatch.setattr(gate_records, "say", say)
    monkeypatch.setattr(gate_records, "run_session", run_session)
    build = SimpleNamespace(commit="c", python="python", variables={}, folder=tmp_path, name="base")
    question = Question(["zmq"], {"step_seconds": 0.015}, frozenset(), 60.0)
    lanes = [Lane(number, 2, frozenset({0}), (str(number + 4),)) for number in (1, 2)]
    file = tmp_path / "kept"
    engines = Tracked("nano", [load])
    records = gate_records.Records({"base": build}, engines, [load], question, Slow(file), lanes)
    first, second = records.measure(["zmq"], 60.0)
    assert [one[0].provenance["lane"] for one in (first, second)] == [
        {"number": number, "of": 2, "cores": [0], "gpus": [str(number + 4)]} for number in (1, 2)
    ]
    kept = [Record.from_json(line) for line in file.read_text().splitlines()]
    assert sorted(one.provenance["lane"]["number"] for one in kept) == [1, 2]
    assert passing == ["lane 1: goes on …"]  # a view shows one at a time
    said = capsys.readouterr().err.splitlines()
    assert sorted(said) == sorted(
        f"lane {lane}: {text}" for lane in (1, 2) for text in ("up", "base zmq fixed 8: failed: no luck")
    )


@pytest.mark.parametrize(("slowed", "notes"), [([1.0, 1.2], 1), ([1.0, 1.0], 0), ([None, None], 0)])
def test_a_gate_says_where_its_changes_are_not_those_of_its_columns(slowed, notes, tmp_path, monkeypatch):
    load = fixed("nano", [8])[0]
    host = {"rounds": {"slowed": slowed}, "spoilt": 0, "repeated": 0}
    metrics, observed = {"step_seconds": [0.1, 0.2]}, {"sut": str(tmp_path), "host": host}
    record = Record(
        "zmq", "nano", 1, load.as_dict(), MEASURED, None, metrics, observed, provenance={"side": "base"}
    )
    monkeypatch.setattr(gate_records, "run_session", lambda *_some, **_more: [record])
    build = SimpleNamespace(commit="c", python="python", variables={}, folder=tmp_path, name="base")
    question = Question(["zmq"], {"step_seconds": 0.015}, frozenset(), 60.0)
    lanes = split(1, 1)
    records = gate_records.Records(
        {"base": build}, Tracked("nano", [load]), [load], question, tmp_path / "kept", lanes
    )
    records.measure(["zmq"], 60.0)
    found = [note for note in records.notes() if "slower cores" in note]
    assert len(found) == notes


def test_without_git_it_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["gate", "HEAD", "HEAD"]) == 2
    assert "git is not installed" in capsys.readouterr().err


def test_results_of_another_machine_are_not_written_to(tmp_path, capsys):
    """Two machines in one series would be read as steps."""
    file = tmp_path / "results" / "other" / "machine.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"cpu": "Abacus", "machine": "other"}))
    assert cli.main(["gate", "HEAD", "HEAD", "--machine", "other"]) == 2
    assert "is of another machine (cpu Abacus, here " in capsys.readouterr().err
    assert not (tmp_path / ".asv-machine.json").exists()  # nor is it taken for this one from now on


def test_a_damaged_machine_file_is_named_and_passed_over(tmp_path, monkeypatch, capsys):
    file = tmp_path / "results" / "box" / "machine.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # for the report of the crash
    assert cli.main(["gate", "HEAD", "HEAD", "--machine", "box"]) == 3
    reported = capsys.readouterr().err
    assert f"damaged and passed over: {file}" in reported
    assert f"AssertionError: {BUILT}" in reported
    assert json.loads(file.read_text())["machine"] == "box"


def test_a_dirty_harness_is_said(tmp_path, monkeypatch, capsys):
    """What is measured is the commits; what measures is the working tree."""
    harness = ["bench/rollout_bench/measure/drive.py", "benchmarks/rollout.py"]
    monkeypatch.setattr(git, "changed_files", lambda root: [*harness, "README.md"])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # for the report of the crash
    assert cli.main(["gate", "HEAD", "HEAD"]) == 3
    reported = capsys.readouterr().err
    assert "uncommitted changes (3 files)" in reported
    assert f"the harness is that of the working tree, with {', '.join(harness)} changed" in reported
    assert f"AssertionError: {BUILT}" in reported


@pytest.mark.parametrize(("spoilt", "notes"), [(0, 0), (3, 1)])
def test_a_busy_host_is_said_beside_the_verdicts(spoilt, notes, tmp_path, monkeypatch):
    load = fixed("nano", [8])[0]
    observed = {"sut": str(tmp_path / "rollout_perf"), "host": {"spoilt": spoilt}}
    observed |= {"workers": [], "engine": {}, "tokens_generated": load.tokens, "vllm": "0"}

    def run_session(*_some, **_more):
        return [
            Record("zmq", "nano", 1, load.as_dict(), MEASURED, observed=observed, provenance={"side": side})
            for side in ("base", "head")
        ]

    monkeypatch.setattr(gate_records, "run_session", run_session)
    build = SimpleNamespace(commit="c", python="python", variables={}, folder=tmp_path, name="base")
    question = Question(["zmq"], {"step_seconds": 0.015}, frozenset(), 60.0)
    engines = Tracked("nano", [load])
    records = gate_records.Records(
        {"base": build, "head": build}, engines, [load], question, tmp_path / "kept", split(1, 1)
    )
    records.measure(["zmq"], 60.0)
    assert len(records.notes()) == notes
    assert all("in 6 of the rounds" in note for note in records.notes())
