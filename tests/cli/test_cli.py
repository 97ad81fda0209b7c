"""The command: bad input is one line and exit code 2, before anything is started; help is quick."""

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
from rollout_bench.cli import main as cli
from rollout_bench.errors import UsageError
from rollout_bench.history import asv_runs as track
from rollout_bench.history.results import Commit
from rollout_bench.measure import machine as harness_machine
from rollout_bench.measure import pipe

ROOT = Path(__file__).resolve().parents[2]
MEASURE = ["measure", "--path", "zmq"]


def run_instead(measure_cases, monkeypatch):
    """Have the commands that measure call this instead."""
    for command in ("measure", "limit"):
        monkeypatch.setattr(f"rollout_bench.cli.{command}.measure_cases", measure_cases)


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch):
    """Each of these tests is about what comes before an engine."""

    def started(*_arguments, **_keywords):
        raise AssertionError("started")

    monkeypatch.chdir(ROOT)
    run_instead(started, monkeypatch)
    monkeypatch.setattr(pipe, "run_module", started)
    monkeypatch.setattr(track, "run_asv", started)
    monkeypatch.setattr(harness_machine, "gpus", list)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "required"),
        (["mesure"], "unknown command 'mesure' (did you mean measure?); known: demo, measure, compare"),
        (["measure", "--path", "zmq,zmw"], "unknown path 'zmw' (did you mean zmq?); known: sync, vllm-mp"),
        (["measure", "--path", ","], "',' is given, which names nothing"),
        (["pipe", "--path", "bare-zmw"], "unknown path 'bare-zmw' (did you mean bare-zmq?)"),
        ([*MEASURE, "--entry", "htp"], "unknown entry 'htp' (did you mean http?)"),
        (
            [*MEASURE, "--preset", "qwen-7b"],
            "unknown preset 'qwen-7b' (did you mean qwen2.5-7b?)",
        ),
        ([*MEASURE, "--metric", "step_second"], "unknown metric 'step_second' (did you mean step_seconds?)"),
        (["measure"], "--path"),
        (["measure", "--path", "carrier-pigeon"], "zmq"),
        (["measure", "--path", "vllm-ray"], "refuses its Ray executor"),
        ([*MEASURE, "--entry", "telepathy"], "unknown entry 'telepathy'; known: local, zmq"),
        ([*MEASURE, "--preset", "gpt-9"], "qwen2.5-0.5b"),
        ([*MEASURE, "--metric", "beauty"], "step_seconds"),
        ([*MEASURE, "--device", "cuda"], "no GPU"),
        ([*MEASURE, "--batch", "0"], "at least 1"),
        ([*MEASURE, "--batch", "8,many"], "invalid int value: '8,many'"),
        ([*MEASURE, "--batch", "9", "--samples", "2"], "multiple of --samples"),
        ([*MEASURE, "--samples", "0"], "at least 1"),
        ([*MEASURE, "--rollouts", "0"], "at least 1"),
        ([*MEASURE, "--output-tokens", "0"], "at least 1"),
        ([*MEASURE, "--output-tokens", "99999999"], "at most"),
        ([*MEASURE, "--logprobs", "21"], "--logprobs is 21; it must be 0 to 20: vLLM gives 20 at most"),
        ([*MEASURE, "--prompt-logprobs", "-1"], "--prompt-logprobs is -1; it must be 0 to 20"),
        (
            [*MEASURE, "--arrival", "window:9"],
            "arrival is window:9; a window is of 1 to all 8 requests",
        ),
        (
            [*MEASURE, "--interrupt", "pause:nap"],
            "interrupt is 'pause:nap'; give none, abort:SHARE, pause:MODE, update:MODE or ipc:MODE",
        ),
        ([*MEASURE, "--request", "group"], "takes more than one sample for a prompt (--samples)"),
        ([*MEASURE, "--workload", "grpo", "--request", "group"], "those of grpo-request-group differ; take"),
        ([*MEASURE, "--logprobs", "few"], "'few' is given; give a whole number, or none"),
        (
            [*MEASURE, "--logprobs", "9999", "--engine-arg", "max_logprobs=-1"],
            "--logprobs is 9999; it must be 0 to 4096",
        ),
        ([*MEASURE, "--tp", "3"], "attention heads"),
        ([*MEASURE, "--engine-arg", "enforce_eager"], "NAME=JSON"),
        ([*MEASURE, "--engine-arg", "enforce_eager=yes"], "NAME=JSON"),
        ([*MEASURE, "--engine-arg", "=1"], "NAME=JSON"),
        (
            [*MEASURE, "--workload", "gropo"],
            "unknown workload 'gropo' (did you mean grpo?); known: fixed, grpo, verl, turns, or a file",
        ),
        ([*MEASURE, "--workload", "grpo", "--output-tokens", "0"], "--output-tokens is 0"),
        ([*MEASURE, "--workload", "grpo", "--batch", "9"], "multiple of --samples (4)"),
        ([*MEASURE, "--workload", "verl", "--prompt-tokens", "-1"], "--prompt-tokens is -1"),
        ([*MEASURE, "--batch", "999999999999"], "--batch is 999999999999; that many samples need"),
        (
            [*MEASURE, "--workload", "grpo", "--samples", "999999999999"],
            "--samples is 999999999999; 79999",
        ),
        (
            [*MEASURE, "--prompt-tokens", "5000"],
            "prompt of 5000 tokens (--prompt-tokens) and its answer",
        ),
        ([*MEASURE, "--workload", "README.md"], "README.md line 1 is not JSON: Expecting value at column 1"),
        ([*MEASURE, "--profile", "README.md"], "give a folder"),
        (["limit"], "--path"),
        (["limit", "--path", "zmq", "--first-batch", "0"], "--first-batch is 0"),
        (["limit", "--path", "zmq", "--max-batch", "0"], "at least --first-batch, 1"),
        (["limit", "--path", "zmq", "--deadline", "0"], "--deadline is 0"),
        (["limit", "--path", "zmq", "--deadline", "nan"], "--deadline is nan"),
        (["limit", "--path", "zmq", "--deadline", "inf"], "--deadline is inf"),
        (["limit", "--path", "zmq", "--max-batch", "999999999999"], "--max-batch is 999999999999; that many"),
        (["limit", "--path", "zmq", "--output-tokens", "0"], "--output-tokens is 0"),
        (["limit", "--path", "zmq", "--prompt-tokens", "99999999"], "at most"),
        (["pipe", "--path", "sync"], "bare-zmq"),
        (["pipe", "--blocks", "6"], "at least 7"),
        (["pipe", "--entry", "telepathy"], "unknown entry 'telepathy'; known: local, zmq"),
        (["pipe", "--entry", "zmq", "--path", "zmq"], "give either --path"),
        (["pipe", "--entry", "zmq", "--blocks", "0"], "--blocks is 0"),
        (["track", "no-such-branch..HEAD"], "git rev-list"),
        (["track", "HEAD..HEAD"], "A..B leaves A out"),
        (["track", "'"], "cannot read the range"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, says, capsys):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rollout-perf: ")
    assert err.count("\n") == 1
    assert says in err


@pytest.mark.parametrize(
    ("command", "option", "values", "found"),
    [
        ("measure", "--path", ["zmq", "ray"], ["zmq", "ray"]),
        ("pipe", "--path", ["zmq", "bare-zmq"], ["zmq", "bare-zmq"]),
        ("compare", "--entry", ["local", "zmq"], ["local", "zmq"]),
        ("measure", "--batch", ["1", "8"], [1, 8]),
        ("compare", "--logprobs", ["none", "0"], [None, 0]),
        ("measure", "--request", ["sample", "group"], ["sample", "group"]),
        ("compare", "--output-kind", ["final", "stream"], ["final", "stream"]),
        ("limit", "--path", ["zmq", "sync"], ["zmq", "sync"]),
        ("gate", "--path", ["zmq", "sync"], ["zmq", "sync"]),
        ("gate", "--metrics", ["wire_bytes", "wire_calls"], ["wire_bytes", "wire_calls"]),
        ("upgrade", "--threshold", ["5", "wire_bytes=1"], ["5", "wire_bytes=1"]),
        ("detect", "--machine", ["a", "b"], ["a", "b"]),
        ("report", "--machine", ["a", "b"], ["a", "b"]),
        ("compare", "--from", ["a", "b"], ["a", "b"]),
        ("compare", "--interrupt", ["abort:0.5", "pause:keep"], ["abort:0.5", "pause:keep"]),
    ],
)
def test_a_list_is_the_option_again_or_commas(command, option, values, found):
    other = {"gate": ["A", "B"], "upgrade": ["ray==2"], "report": ["newest"]}.get(command, [])
    other += ["--path", "zmq"] * (command == "measure" and option != "--path")
    again = [command, *other, *(word for value in values for word in (option, value))]
    commas = [command, *other, option, ",".join(values)]
    first, second = (vars(cli._parser(words).parse_args(words)) for words in (again, commas))
    assert first == second
    assert found in first.values()


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_says_what_an_option_is_where_it_is_not_given(command):
    [of_commands] = cli._parser([command])._subparsers._group_actions
    silent = [
        action.option_strings
        for action in of_commands.choices[command]._actions
        if action.default not in (None, False, argparse.SUPPRESS) and action.default != []
        and f"default: {str(action.default).removesuffix('.0')}" not in action.help
    ]  # fmt: skip
    assert silent == []


@pytest.mark.parametrize("command", sorted({*cli.COMMANDS} - {"publish"}))
def test_what_prints_tables_gives_json_and_files_too(command):
    [of_commands] = cli._parser([command])._subparsers._group_actions
    assert {"--json", "--output"} <= of_commands.choices[command]._option_string_actions.keys()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["measure", "--pth", "zmq"], "option --pth (did you mean --path?) (see rollout-perf measure -"),
        (["gate", "A", "B", "--budgt=3"], "unknown option --budgt (did you mean --budget?)"),
        (["triage", "x", "--expcted", "--note", "--unlike"], "option --expcted (did you mean --expected?)"),
    ],
)
def test_an_option_that_a_command_does_not_have_is_answered_with_the_nearest(words, said, capsys):
    assert cli.main(words) == 2
    assert said in capsys.readouterr().err


def test_version_names_what_a_measurement_depends_on(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"rollout-perf", "rollout-bench", "asv", "vllm", "ray"} <= {line.split()[0] for line in lines}
    assert f"asv {metadata.version('asv')}" in lines


DOCUMENTS = ("*.md", "docs/*.md", ".github/workflows/*.yml")


BEFORE = r"^(?: {4}|.* && | *(?:- )?run: | {10})(?:\.venv/bin/)?"


def in_documents(command: str) -> list[str]:
    """What a reader of the docs, or a runner of CI, would run."""
    texts = [path.read_text().replace("\\\n", " ") for glob in DOCUMENTS for path in sorted(ROOT.glob(glob))]
    found = [one for text in texts for one in re.findall(command, text, re.M)]
    return list(dict.fromkeys(" ".join(one.split()) for one in found))


@pytest.mark.parametrize("command", in_documents(BEFORE + r"rollout-perf ([^\[&>\n]+)"))
def test_a_command_in_the_docs_is_one(command):
    words = shlex.split(command, comments=True)
    assert cli._parser(words).parse_args(words).run.__module__.endswith(f".{words[0]}")


@pytest.mark.parametrize("command", in_documents(r"`rollout-perf (\w[^`]*)`"))
def test_a_command_within_a_sentence_has_its_options(command):
    """Without all that it takes: `rollout-perf gate --tracked NAME`."""
    words = shlex.split(command)
    assert words[0] in cli.COMMANDS
    cli._parser(words)


@pytest.mark.parametrize(("module", "package"), [("zmq", "pyzmq"), ("vllm", "vllm")])
@pytest.mark.parametrize("command", ["measure", "pipe"])
def test_what_is_not_installed_is_named(command, module, package, monkeypatch, capsys):
    if (command, module) == ("pipe", "vllm"):
        pytest.skip("the pipe needs no vLLM")
    find = cli.importlib.util.find_spec
    monkeypatch.setattr(
        cli.importlib.util, "find_spec", lambda name, *rest: None if name == module else find(name, *rest)
    )
    assert cli.main([command, "--path", "zmq"]) == 2
    assert f"pip install {package}" in capsys.readouterr().err


def test_a_model_folder_without_config_is_named(tmp_path, capsys):
    assert cli.main([*MEASURE, "--preset", str(tmp_path)]) == 2
    assert "no config.json" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "[]", '{"num_attention_heads": "four"}'])
@pytest.mark.parametrize("command", ["measure", "limit", "compare"])
def test_a_config_that_is_none_is_named(command, text, tmp_path, capsys):
    (tmp_path / "config.json").write_text(text)
    assert cli.main([command, "--path", "zmq", "--preset", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert str(tmp_path / "config.json") in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["gate", "A", "B"], ["track"]])
def test_outside_a_checkout_what_measures_commits_says_what_it_looks_for(
    arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    assert "asv.conf.json" in capsys.readouterr().err


def test_ctrl_c_is_reported_in_a_line(monkeypatch, capsys):
    def interrupted(*_arguments, **_keywords):
        raise KeyboardInterrupt

    run_instead(interrupted, monkeypatch)
    assert cli.main(MEASURE) == 130
    assert capsys.readouterr().err == "rollout-perf: interrupted\n"


@pytest.mark.parametrize(("statuses", "code"), [(["measured"], 0), (["measured", "failed"], 1)])
def test_measure_shows_a_table_or_the_records_as_json_alone(statuses, code, monkeypatch, capsys):
    from rollout_bench.schema.record import Record

    def measure_cases(preset, paths, workloads, *_rest, **_keywords):
        assert (preset, paths) == ("nano", ["zmq"])
        metrics = {"step_seconds": [0.5] * 7, "engine_step_seconds": [0.01] * 7}
        return [
            Record("zmq", preset, 1, workloads[0].as_dict(), status, "why" * (status != "measured"), metrics)
            for status in statuses
        ]

    run_instead(measure_cases, monkeypatch)
    assert cli.main(MEASURE) == code
    text = capsys.readouterr().out
    assert text.startswith("rollouts: ratios are of rounds in one session")
    assert ("failed: why" in text, "{" in text) == ("failed" in statuses, False)
    assert cli.main([*MEASURE, "--json"]) == code
    records = json.loads(capsys.readouterr().out)["records"]
    assert [record["status"] for record in records] == statuses


@pytest.mark.parametrize("command", ["measure", "compare"])
def test_every_path_is_asked_for_behind_every_entry_and_the_local_one_comes_first(
    command, monkeypatch, capsys
):
    from rollout_bench.schema.record import Record

    def measured(_preset, given, workloads, *_rest, **_keywords):
        ways = [getattr(one, "way", one) for one in given]
        assert ways == ["vllm-mp", "vllm-mp@zmq"]
        metrics = {"step_seconds": [0.5] * 7, "engine_step_seconds": [0.01] * 7}
        return [
            Record(
                "vllm-mp", "nano", 1, workloads[0].as_dict(), "measured", metrics=metrics, entry=entry,
                provenance={"session": "s"},
            )
            for entry in (None, "zmq")
        ]  # fmt: skip

    run_instead(measured, monkeypatch)
    monkeypatch.setattr("rollout_bench.cli.compare.run_session", measured)
    asked = ["--path", "vllm-mp", "--entry", "zmq", "--entry", "local", "--batch", "8"]
    assert cli.main([command, *asked]) == 0
    assert "vllm-mp@zmq" in capsys.readouterr().out


def asked_for(arguments, monkeypatch):
    """The workloads and options with which a command would measure."""
    from rollout_bench.schema.record import Record

    asked = []

    def measure_cases(_preset, _paths, workloads, *_rest, **keywords):
        asked.append((workloads, keywords))
        return [Record("zmq", "nano", 1, load.as_dict(), "absent", "not here") for load in workloads]

    run_instead(measure_cases, monkeypatch)
    assert cli.main(arguments) == 1
    return asked[0]


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        (["--workload", "grpo"], [("grpo", 8, 32, 64)]),  # scaled down for nano
        (["--workload", "grpo", "--preset", "qwen2.5-0.5b"], [("grpo", 128, 2048, 1024)]),
        (["--workload", "verl", "--preset", "qwen2.5-7b"], [("verl", 128, 2048, 4096)]),
        (
            ["--workload", "grpo", "--batch", "8", "--batch", "16", "--output-tokens", "9"],
            [("grpo", 2, 8, 9), ("grpo", 4, 16, 9)],
        ),
        (["--batch", "8", "--samples", "4", "--output-tokens", "9"], [("fixed", 2, 8, 9)]),
        (["--workload", "turns", "--batch", "12", "--samples", "3"], [("turns", 12, 12, 64)]),
        (
            ["--batch", "8", "--logprobs", "none", "--logprobs", "0"],
            [("fixed", 8, 8, 32), ("fixed-logprobs-0", 8, 8, 32)],
        ),
        (
            ["--batch", "8", "--request", "sample", "--arrival", "batch", "--arrival", "window:4"],
            [("fixed", 8, 8, 32), ("fixed-window-4", 8, 8, 32)],
        ),
    ],
)
def test_a_workload_is_chosen_by_name_and_size(arguments, sizes, monkeypatch, capsys):
    workloads, _options = asked_for([*MEASURE, *arguments], monkeypatch)
    assert [(one.name, one.prompts, one.batch, max(one.output_lengths())) for one in workloads] == sizes


def test_a_replay_file_is_a_workload(tmp_path, monkeypatch, capsys):
    path = tmp_path / "trace.jsonl"
    path.write_text('{"prompt_length": 3, "output_length": 5, "group": 0}\n')
    (workload,), _options = asked_for([*MEASURE, "--workload", str(path)], monkeypatch)
    assert (workload.name, workload.requests()[0][1]) == ("replay", 5)
    capsys.readouterr()
    for line, more, says in [
        ('"prompt_length": 3, "output_length": 5', ["--batch", "8"], "--batch cannot be given with"),
        ('"prompt_length": 3, "output_length": -5', [], "trace.jsonl line 1: output_length is -5"),
        (
            '"prompt_length": 5000, "output_length": 5',
            [],
            "line 1: prompt_length 5000 and output_length 5",
        ),
    ]:
        path.write_text(f'{{{line}, "group": 0}}\n')
        assert cli.main([*MEASURE, "--workload", str(path), *more]) == 2
        assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [MEASURE, [*MEASURE, "--workload", "grpo", "--batch", "16"], ["limit", "--path", "zmq"]]
)
def test_a_small_vocabulary_holds_every_id_that_is_drawn(arguments, tmp_path, monkeypatch, capsys):
    """vLLM refused an id above it after the engine's start. Protein models have 33, ZymCTRL 458."""
    (tmp_path / "config.json").write_text('{"vocab_size": 33}')
    loads, _options = asked_for([*arguments, "--preset", str(tmp_path)], monkeypatch)
    drawn = {token for load in loads for prompt in load.token_ids() for token in prompt}
    assert max(drawn) == 32
    assert len(drawn) > 10
    assert "has no weights: vLLM makes random ones" in capsys.readouterr().err


def test_the_search_for_a_limit_doubles_the_batch(monkeypatch, capsys):
    arguments = ["limit", "--path", "zmq", "--first-batch", "4", "--max-batch", "40", "--deadline", "9"]
    workloads, options = asked_for([*arguments, "--json"], monkeypatch)
    assert [one.batch for one in workloads] == [4, 8, 16, 32]
    assert options["until_limit_seconds"] == 9
    assert json.loads(capsys.readouterr().out)["limits"] == {"zmq": None}


def test_help_is_quick_and_loads_no_engine():
    begin = time.monotonic()
    run = "import sys\nfrom rollout_bench.cli.main import main\n"
    code = run + "try: main(['--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "usage: rollout-perf" in done.stdout
    assert not {"vllm", "torch", "ray", "zmq", "asv"} & set(done.stdout.split())
    assert time.monotonic() - begin < 10


# --- ranges of commits ---------------------------------------------------------------------------


def git(folder, *arguments):
    settings = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init")
    return tmp_path


@pytest.mark.parametrize(("commits", "found"), [(1, 1), (2, 2), (5, 2)])
def test_the_default_range_is_the_last_two_commits_or_what_there_is(commits, found, repository):
    for number in range(commits):
        git(repository, "commit", "--allow-empty", "-m", f"change {number}")
    _range, listed = track.find_range(repository, None)
    assert [commit.subject for commit in listed] == [f"change {commits - 1 - n}" for n in range(found)]


def test_head_is_one_commit_as_in_asv(repository):
    for number in range(3):
        git(repository, "commit", "--allow-empty", "-m", f"change {number}")
    assert len(track.find_range(repository, "HEAD")[1]) == 1


def test_no_commits_and_no_repository_are_distinguished(repository, tmp_path_factory):
    with pytest.raises(UsageError, match="no commit yet"):
        track.find_range(repository, None)
    with pytest.raises(UsageError, match="not in a git repository"):
        track.find_range(tmp_path_factory.mktemp("elsewhere"), None)


def test_the_machine_is_described_without_what_changes_often(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    gpu = {"name": "H100", "driver": "580.1", "memory": "80 GiB"}
    assert track.name_machine("box", [gpu, gpu]) == "box"
    entry = json.loads((tmp_path / ".asv-machine.json").read_text())["box"]
    assert (entry["gpu"], entry["driver"], entry["os"]) == ("2 x H100", "580.1", "Linux")
    (tmp_path / ".asv-machine.json").write_text(json.dumps({"version": 1, "box": entry | {"gpu": "kept"}}))
    track.name_machine("box", [gpu])
    assert json.loads((tmp_path / ".asv-machine.json").read_text())["box"]["gpu"] == "kept"


@pytest.mark.parametrize(("asked", "found"), [(None, "nightly"), ("box", "box")])
def test_a_runner_whose_host_name_changes_can_have_a_name_in_its_environment(
    asked, found, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ROLLOUT_PERF_MACHINE", "nightly")
    assert track.name_machine(asked, []) == found
    monkeypatch.setenv("ROLLOUT_PERF_MACHINE", "../box")
    with pytest.raises(UsageError, match=r"^ROLLOUT_PERF_MACHINE is '../box'; a name is of letters"):
        track.name_machine(None, [])


def test_progress_says_which_commit_and_leaves_the_lookups_to_the_log():
    said = []
    progress = track._Progress([Commit("a" * 40, "new"), Commit("b" * 40, "old")], said.append)
    progress.case("1763858679.1 bbbbbbbb zmq nano: batch 8: rollout 1/7 0.652 s")
    progress.asv("[ 5.77%] ··· Setting up rollout:84                               ok")
    progress.asv("[ 5.77%] ··· rollout.Nano.track_step_seconds                     2/10 failed")
    progress.asv("[ 5.77%] ··· ========== ============= ============")
    progress.asv("             path        1             8")
    assert said == [
        "[  0:00] commit 2 of 2 (bbbbbbbb) zmq nano: batch 8: rollout 1/7 0.652 s",
        "[  0:00] asv: Setting up rollout:84                               ok …",
    ]


def test_a_reader_that_has_read_enough_is_no_error():
    """Tables are long, and people put `head` behind them."""
    kept = "results/h100-2x/turns/2026-11-24-0.5b.jsonl"
    script = "import sys; from rollout_bench.cli.main import main; sys.exit(main(sys.argv[1:]))"
    writer = subprocess.Popen(
        [sys.executable, "-c", script, "compare", "--from", kept],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    writer.stdout.close()
    assert writer.stderr.read() == ""
    assert writer.wait() == 141
    writer.stderr.close()
