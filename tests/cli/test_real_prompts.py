"""Real prompts of a local file, through the tokenizer and the chat template of a local model folder."""

import json
import shutil

import pytest
from rollout_bench.cli import main as cli
from rollout_bench.cli import workloads
from rollout_bench.errors import UsageError

pytestmark = pytest.mark.engine  # a tokenizer is of transformers, which takes as long to load as vLLM


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with what `measure` reads of a model before it starts: its config, and a word tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer(
        models.WordLevel({f"w{i}": i for i in range(10)} | {"<unk>": 10}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
    fast.chat_template = "{% for turn in messages %}{{ turn['content'] }} {% endfor %}w9"
    fast.save_pretrained(path)
    (path / "config.json").write_text(json.dumps({"max_position_embeddings": 128, "num_attention_heads": 2}))
    return path


@pytest.fixture
def chats(tmp_path):
    path = tmp_path / "chats.jsonl"
    prompts = [[{"role": "system", "content": "w1"}, {"role": "user", "content": "w2"}], "w3"]
    path.write_text("".join(json.dumps({"question": prompt}) + "\n" for prompt in prompts))
    return path


def chosen(model, chats, *more):
    line = ["measure", "--path", "zmq", "--preset", str(model), "--workload", str(chats)]
    words = [*line, "--chat-column", "question", *more]
    return workloads.choose(cli._parser(words).parse_args(words))


def test_they_go_through_the_chat_template(model, chats):
    """Three prompts of a file with two, two answers each, of forced lengths up to the cap."""
    (load,) = chosen(model, chats, "--batch", "6", "--samples", "2", "--output-tokens", "8")
    assert load.ids == ((1, 2, 9), (3, 9), (1, 2, 9))
    given = [prompt for prompt, _tokens, _samples in load.requests(5)]
    assert given == [[1, 2, 9], [1, 2, 9], [3, 9], [3, 9], [1, 2, 9], [1, 2, 9]]
    assert max(load.output_lengths()) <= 8
    assert load.source.startswith("question of chats.jsonl")


def test_they_must_leave_room_for_the_answer_or_are_cut_when_asked_to(model, chats):
    size = ["--batch", "2", "--samples", "1", "--output-tokens", "126"]
    with pytest.raises(UsageError, match=r"line 1: question has 3 tokens; 2 fit beside the answer"):
        chosen(model, chats, *size)
    (load,) = chosen(model, chats, *size, "--prompt-tokens", "2")
    assert load.ids == ((1, 2), (3, 9))


def test_answers_that_leave_no_room_for_a_prompt_are_refused(model, chats):
    with pytest.raises(UsageError, match=r"up to 128 tokens \(--output-tokens\) leave no room"):
        chosen(model, chats, "--output-tokens", "128")


def test_a_model_without_a_chat_template_or_tokenizer_is_named(model, chats, tmp_path):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text((model / name).read_text())
    with pytest.raises(UsageError, match=f"the tokenizer of {tmp_path} has no chat template"):
        chosen(tmp_path, chats)
    (tmp_path / "tokenizer.json").unlink()
    for preset in (tmp_path, "nano"):
        with pytest.raises(UsageError, match="has no tokenizer: give a model folder with one"):
            chosen(preset, chats)


def test_ids_beyond_the_vocabulary_are_refused_before_an_engine_starts(model, chats, tmp_path):
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_text('{"vocab_size": 9}')
    with pytest.raises(UsageError, match=r"have the token id 9; the vocabulary of .* has 9"):
        chosen(tmp_path, chats)
