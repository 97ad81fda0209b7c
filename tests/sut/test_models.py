"""models.py: presets have the shapes of the published models they are named for; the rest is a folder."""

import json

import pytest

from rollout_perf import PRESETS, ConfigurationError
from rollout_perf.models import find_model

PUBLISHED = {"qwen2.5-0.5b": 0.494e9, "qwen2.5-1.5b": 1.54e9, "qwen2.5-7b": 7.61e9}
"""Parameters by the model cards."""


def parameters(config: dict) -> int:
    """Weights of a Qwen2 model, counted from its shape."""
    hidden, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    key_value = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    queries = hidden * hidden + hidden  # with bias, as keys and values
    keys_and_values = 2 * (hidden * key_value + key_value)
    attention = queries + keys_and_values + hidden * hidden  # the output has no bias
    layer = attention + 3 * hidden * inner + 2 * hidden  # gate, up, down; two norms
    embeddings = vocabulary * hidden * (1 if config["tie_word_embeddings"] else 2)
    return config["num_hidden_layers"] * layer + hidden + embeddings


@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_a_preset_has_as_many_weights_as_the_model_it_is_named_for(name, published):
    """A wrong shape would give times that say nothing of the model."""
    assert parameters(find_model(name).config()) == pytest.approx(published, rel=0.01)


def test_the_presets_are_those_that_the_docs_name():
    assert PRESETS == (
        "nano",
        "qwen2.5-0.5b",
        "qwen2.5-1.5b",
        "qwen2.5-7b",
        "qwen3-30b-a3b",
        "qwen3-moe-1b",
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_config_alone_with_random_weights(name):
    model = find_model(name)
    assert [file.name for file in model.folder.iterdir()] == ["config.json"]
    assert model.engine_arguments() == {
        "model": str(model.folder),
        "load_format": "dummy",
        "skip_tokenizer_init": True,
    }


@pytest.mark.parametrize("name", PRESETS)
def test_the_vocabulary_holds_every_token_id_of_a_workload(name):
    """Workloads draw ids below 2000."""
    assert find_model(name).config()["vocab_size"] >= 2000


@pytest.mark.parametrize(
    ("files", "arguments"),
    [
        (["model-00001-of-00002.safetensors", "tokenizer.json"], {}),
        (["pytorch_model.bin"], {"skip_tokenizer_init": True}),
        (["tokenizer_config.json", "vocab.json"], {"load_format": "dummy"}),
        (["generation_config.json"], {"load_format": "dummy", "skip_tokenizer_init": True}),
    ],
)
def test_a_local_folder_is_a_model_with_what_it_has(files, arguments, tmp_path):
    """Without weights they are random, and without a tokenizer token ids are rolled out all the same."""
    for name in files:
        (tmp_path / name).touch()
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 2}))
    model = find_model(str(tmp_path))
    assert (model.name, model.folder) == (tmp_path.name, tmp_path.resolve())
    assert model.engine_arguments() == {"model": str(tmp_path.resolve()), **arguments}
    assert model.config() == {"num_attention_heads": 2}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[1]", "is no JSON object"),
        ('{"num_attention_heads": [4, 8]}', r"num_attention_heads is \[4, 8\]; it must be a whole number"),
        ('{"vocab_size": "many"}', 'vocab_size is "many"'),
        ('{"text_config": {"max_position_embeddings": 1.5}}', r"max_position_embeddings is 1\.5"),
    ],
)
def test_a_config_that_cannot_be_counted_with_is_refused_by_its_field(text, says, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigurationError, match=rf"config\.json.* {says}"):
        find_model(str(tmp_path)).config()


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"'qwen9'.*nano, qwen2\.5-0\.5b"):
        find_model("qwen9")


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no config\.json"):
        find_model(str(tmp_path))
