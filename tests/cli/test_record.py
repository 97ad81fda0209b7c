"""`rollout-perf record`: from what a run has left to a file that `--workload` takes."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rollout_bench.cli import main as cli
from rollout_bench.cli import workloads

SPAN = {
    "startTimeUnixNano": "5",
    "attributes": [
        {"key": "gen_ai.usage.prompt_tokens", "value": {"intValue": "40"}},
        {"key": "gen_ai.usage.completion_tokens", "value": {"intValue": "6"}},
    ],
}
LOST = {"startTimeUnixNano": "6", "attributes": SPAN["attributes"][:1]}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "spans.jsonl"
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [SPAN, LOST]}]}]}))
    return path


def test_a_recording_is_a_workload(source, tmp_path, capsys):
    made = str(tmp_path / "run.jsonl")
    assert cli.main(["record", str(source), "--output", made]) == 0
    assert capsys.readouterr().out == f"1 samples are in {made}; 1 never ended, and are left out\n"
    Path(made).unlink()
    assert cli.main(["record", str(source), "--output", made, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"source": "vllm-spans", "samples": 1, "left_out": 1}
    assert cli.main(["workload", made, "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["workloads"]
    assert (found["prompt_tokens"], found["output_tokens"]) == (40, 6)


def test_a_dump_is_counted_by_the_tokenizer_without_special_tokens(tmp_path, capsys, monkeypatch):
    source, made = tmp_path / "1.jsonl", tmp_path / "run.jsonl"
    source.write_text(json.dumps({"input": "a b c", "output": "d e", "score": 1.0, "step": 1}))
    fake = SimpleNamespace(
        encode=lambda text, add_special_tokens: text.split() if not add_special_tokens else 1 / 0
    )
    monkeypatch.setattr(workloads, "tokenizer_of", lambda _model, _path: fake)
    assert cli.main(["record", str(source), "--output", str(made), "--preset", "nano"]) == 0
    assert "lengths are without the chat template's" in capsys.readouterr().out
    assert json.loads(made.read_text())["prompt_length"] == 3


@pytest.mark.parametrize(
    ("content", "words", "says"),
    [
        (None, ["--output", "{source}"], "exists; give a new file, or remove it"),
        (None, ["--output", "{folder}/no/run.jsonl"], "/no/run.jsonl cannot be written: "),
        (
            '{"input": "a", "output": "b"}',
            ["--output", "{folder}/x"],
            "holds texts: give a model folder with a tok",
        ),
        ("nothing", ["--output", "{folder}/x"], "has no request of any of these: vllm-log: "),
        ("", ["--output", "{folder}/x", "--source", "vllm-spans"], "has no sample that ended"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_a_line(source, tmp_path, content, words, says, capsys):
    if content is not None:
        source.write_text(content)
    line = [word.format(source=source, folder=tmp_path) for word in words]
    assert cli.main(["record", str(source), *line]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()
