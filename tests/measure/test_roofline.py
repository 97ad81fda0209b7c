"""roofline.py: the least time of a rollout's steps, against figures computed by hand."""

from dataclasses import replace

import pytest
from rollout_bench.measure.roofline import (
    Device,
    context_tokens,
    device,
    floor_seconds,
    kv_token_bytes,
    weight_bytes,
)
from rollout_bench.measure.workload import Workload

from rollout_perf.models import find_model

CONFIG = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
"""Heads of size 2. A layer: 8x8 of Q, 8x4 of K and of V, 8x8 out, 3 times 8x16: 576. With the output
layer of 800: 1952 weights. KV of a token: 2 layers x 2 x 2 heads x 2 = 16 numbers."""


def test_what_a_small_model_reads_by_hand():
    assert device(CONFIG, 2, 1, 1e9) == Device(1952 * 2, 16 * 2, 1e9)


def test_ranks_share_what_is_read():
    assert device(CONFIG, 2, 2, 1e9) == Device(1952, 16, 1e9)


def test_a_rank_has_at_least_one_kv_head():
    """With 2 KV heads on 4 ranks each has one: two copies of each, and 64 more weights in a layer."""
    shared = device(CONFIG, 2, 4, 1e9)
    assert shared.kv_token_bytes == 2 * 2 * 1 * 2 * 2
    assert shared.weight_bytes == (1952 + 2 * 64) * 2 / 4


def test_the_size_of_a_head_counts_where_the_config_states_it():
    assert device(CONFIG | {"head_dim": 4}, 2, 1, 1e9).kv_token_bytes == 64


def test_the_weights_of_qwen_are_as_many_as_published():
    """Qwen2.5-0.5B: 0.49 B parameters, 0.36 B beside the embedding (its model card)."""
    read = device(find_model("qwen2.5-0.5b").config(), 2, 1, 1e12)
    assert read.weight_bytes / 2 == pytest.approx(0.494e9, rel=0.01)
    assert read.kv_token_bytes == 2 * 24 * 2 * 64 * 2


def test_what_a_mixture_of_experts_weighs_by_hand():
    """A layer: 192 of attention as above, 5 experts of 3 times 8x4, a router of 8x5: 712. Of 2 ranks each has
    half of all, and the whole router."""
    experts = CONFIG | {"num_experts": 5, "moe_intermediate_size": 4, "mlp_only_layers": []}
    assert weight_bytes(experts, 2, 1) == (2 * 712 + 800) * 2
    assert weight_bytes(experts, 2, 2) == (2 * (712 + 40) + 800) * 2 / 2


def test_the_weights_of_a_mixture_of_experts_are_as_many_as_published():
    """Qwen3-30B-A3B: 30.5 B parameters, 29.9 B beside the embeddings (its model card); one of two is read."""
    weights = weight_bytes(find_model("qwen3-30b-a3b").config(), 2, 1) / 2
    assert weights == pytest.approx(29.9e9 + 0.3e9, rel=0.01)


def test_a_mixture_of_experts_has_no_roofline():
    with pytest.raises(ValueError, match="dense decoders alone; this config has num_experts"):
        device(CONFIG | {"num_experts": 8, "moe_intermediate_size": 4}, 2, 1, 1e9)


@pytest.mark.parametrize("name", ["quantization_config", "kv_lora_rank", "mlp_only_layers"])
def test_the_weights_of_a_model_of_another_kind_are_not_guessed(name):
    with pytest.raises(ValueError, match=f"weights is not known; this config has {name}"):
        device(CONFIG | {name: 8}, 2, 1, 1e9)


@pytest.mark.parametrize(
    ("more", "tokens"),
    [
        ({"num_experts": 8, "quantization_config": {"bits": 4}, "intermediate_size": [16, 32]}, 16),
        ({"num_key_value_heads": None}, 32),  # as many as heads
        ({"kv_lora_rank": 5, "qk_rope_head_dim": 3}, 16),  # 2 layers x (5 + 3), undivided on two ranks
    ],
)
def test_keys_and_values_take_as_much_whatever_the_weights_are_like(more, tokens):
    assert kv_token_bytes(CONFIG | more, 2, 1) == tokens * 2
    assert kv_token_bytes(CONFIG | more, 2, 2) == tokens * (2 if "kv_lora_rank" in more else 1)


def test_a_config_without_a_field_names_it():
    with pytest.raises(ValueError, match="has no number as vocab_size"):
        device({name: value for name, value in CONFIG.items() if name != "vocab_size"}, 2, 1, 1e9)


LOAD = Workload(prompts=2, samples=(1, 2), prompt_tokens=(10, 20), output_tokens=(1, 2, 4))
"""Read while decoding: nothing; 20 + 1; 20 + 1, 20 + 2 and 20 + 3."""


def test_context_by_hand():
    assert context_tokens(LOAD) == 0 + 21 + (21 + 22 + 23)


def test_floor_by_hand():
    """4 steps of 1000 bytes of weights and 87 tokens of 10 bytes, at 100 bytes a second."""
    assert floor_seconds(LOAD, 4, Device(1000, 10, 100)) == (4000 + 870) / 100


def test_a_larger_batch_reads_the_weights_no_more_often():
    one, many = Workload(prompts=1, output_tokens=5), Workload(prompts=64, output_tokens=5)
    weights_alone = Device(1000, 0, 100)
    assert floor_seconds(one, 5, weights_alone) == floor_seconds(many, 5, weights_alone)
    assert context_tokens(many) == 64 * context_tokens(replace(one))
