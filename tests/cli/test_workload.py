"""`rollout-perf workload FILE`: what is in it, and whether a preset takes it."""

import json
import re

import pytest
from rollout_bench.cli import main as cli
from rollout_bench.cli import workloads

from rollout_perf.models import find_model

LINES = '{"timestamp": 0, "input_length": 600, "output_length": 4, "hash_ids": [0, 1]}\n' * 2


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.jsonl"
    path.write_text(LINES)
    return str(path)


def shown(words, capsys):
    assert cli.main(["workload", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["workloads"]


def test_it_shows_text_or_json_alone_and_keeps_the_json_where_it_is_told_to(trace, tmp_path, capsys):
    words = [trace, "--preset", "qwen2.5-0.5b"]
    [found] = shown(words, capsys)
    assert cli.main(["workload", *words, "--output", str(tmp_path / "kept.json")]) == 0
    assert json.loads((tmp_path / "kept.json").read_text()) == {"workloads": [found]}
    text = capsys.readouterr().out.splitlines()
    assert "samples        2 of 2 prompts" in text
    assert found["shared_prompt_tokens"] == 600
    assert found["kv_cache"]["bytes"] == 2 * 604 * 24 * 2 * 2 * 64 * 2


def test_a_named_workload_is_shown_too(capsys):
    [found] = shown(["fixed", "--batch", "3", "--output-tokens", "7"], capsys)
    assert (found["samples"], found["output_tokens"]) == (3, 21)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--preset", "nano"],
            "line 1: input_length 600 and output_length 4 make 604 tokens; the model takes",
        ),
        (["--block-tokens", "16"], "line 1: hash_ids has 2 blocks of 16 tokens"),
        (["--block-tokens", "0"], "--block-tokens is 0; it must be at least 1"),
        (["--workload-format", "azure"], "line 1 has timestamp, .* and no GeneratedTokens"),
        (["--workload-format", "none"], "invalid choice: 'none'"),
        (["--batch", "4"], "--batch cannot be given with .*trace.jsonl, which says it all"),
        (["--tokens-per-second", "0"], "--tokens-per-second is 0; it must be more than 0"),
        (["--output", "/proc/none"], "argument --output: it is '/proc/none', which cannot be written"),
        (["--tp", "0"], "--tp is 0; it must be more than 0"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_line(trace, words, says, capsys, monkeypatch):
    config = find_model("nano").config() | {"max_position_embeddings": 512}
    monkeypatch.setattr("rollout_perf.models.Model.config", lambda _model: config)
    assert cli.main(["workload", trace, *words]) == 2
    error = capsys.readouterr().err
    assert re.search(says, error)
    assert error.count("\n") == 1


def test_prompts_need_a_model_with_a_tokenizer(tmp_path, capsys):
    path = tmp_path / "chats.jsonl"
    path.write_text('{"prompt": "Hi"}\n')
    assert cli.main(["workload", str(path)]) == 2
    assert "holds texts: give a model folder with a tokenizer as --preset" in capsys.readouterr().err


def test_what_is_asked_besides_is_combined_or_asked_separately():
    words = ["measure", "--path", "zmq", "--workload", "grpo", "--batch", "64"]
    words += ["--logprobs", "none,0", "--arrival", "batch,window:8"]

    def names(*more):
        given = cli._parser(words).parse_args([*words, *more])
        return [load.name for load in workloads.choose(given)]

    assert names() == ["grpo", "grpo-window-8", "grpo-logprobs-0", "grpo-logprobs-0-window-8"]
    assert names("--separately", "--interrupt", "none,pause:keep") == [
        "grpo", "grpo-logprobs-0", "grpo-window-8", "grpo-pause-keep",
    ]  # fmt: skip
