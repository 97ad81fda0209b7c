"""The least time that a rollout's engine steps can take, by what they must read from memory. Pure.

A step reads the weights once, whatever its batch, and for every sequence that it goes on with the
keys and values of all tokens before. Reading is what bounds decoding (Williams et al., Roofline,
CACM 52(4), 2009; Pope et al., Efficiently Scaling Transformer Inference, 2022, appendix B). What a
prompt costs to compute is left out, so this stays a floor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .workload import Workload

SHAPE = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
         "num_key_value_heads", "head_dim", "vocab_size")  # fmt: skip
"""What of a model's config.json decides how much a step reads."""

EXPERTS = ("num_experts", "moe_intermediate_size")
"""Of a mixture of experts as Qwen's: how many a layer has, and the width of each."""

OTHER = ("num_local_experts", "n_routed_experts", "shared_expert_intermediate_size", "mlp_only_layers",
         "quantization_config", "kv_lora_rank")  # fmt: skip
"""What makes a model of another kind than the formulas are for: a decoder whose layers all have a gated MLP,
or all have such experts."""


@dataclass(frozen=True)
class Device:
    """What bounds one worker's steps: its part of the weights, KV bytes a token, bytes a second."""

    weight_bytes: float
    kv_token_bytes: float
    bandwidth_bytes_per_second: float


def device(
    config: Mapping[str, Any],
    element_bytes: int,
    tensor_parallel_size: int,
    bandwidth_bytes_per_second: float,
) -> Device:
    """What bounds a worker that holds its part of a model. Raises ValueError for another kind of model.

    A mixture of experts is one: what a step reads of it hangs on where its router sends the tokens.
    """
    if config.get("num_experts"):
        raise ValueError("the roofline is known for dense decoders alone; this config has num_experts")
    return Device(
        weight_bytes(config, element_bytes, tensor_parallel_size),
        kv_token_bytes(config, element_bytes, tensor_parallel_size),
        bandwidth_bytes_per_second,
    )


def weight_bytes(config: Mapping[str, Any], element_bytes: int, tensor_parallel_size: int) -> float:
    """Bytes of a worker's part of the weights. Raises ValueError for another kind of model."""
    other = [name for name in OTHER if config.get(name)]
    if other:
        raise ValueError(f"the size of the weights is not known; this config has {' and '.join(other)}")
    hidden, layers, heads, kv_heads, vocabulary = _numbers(
        config, *(name for name in SHAPE if name not in ("head_dim", "intermediate_size"))
    )
    head_size = _head_size(config)
    kv_heads = max(kv_heads, tensor_parallel_size)  # every rank has at least one
    attention = 2 * hidden * heads * head_size + 2 * hidden * kv_heads * head_size
    if config.get("num_experts"):
        experts, inner = _numbers(config, *EXPERTS)
        mlp = experts * (3 * hidden * inner + hidden * tensor_parallel_size)  # each rank has the whole router
    else:
        mlp = 3 * hidden * _numbers(config, "intermediate_size")[0]
    # The output layer, once: of an embedding a step reads one row a token, and a tied one is the same.
    weights = layers * (attention + mlp) + hidden * vocabulary
    return weights * element_bytes / tensor_parallel_size


def kv_token_bytes(config: Mapping[str, Any], element_bytes: int, tensor_parallel_size: int) -> float:
    """Bytes of a token's keys and values in a worker, whatever the weights: of experts, quantized.

    Raises ValueError where the config does not say.
    """
    if config.get("kv_lora_rank"):  # one vector for all heads, on every rank (DeepSeek-V2, arXiv 2405.04434)
        layers, rank, rotary = _numbers(config, "num_hidden_layers", "kv_lora_rank", "qk_rope_head_dim")
        return layers * (rank + rotary) * element_bytes
    heads = "num_key_value_heads" if config.get("num_key_value_heads") else "num_attention_heads"
    layers, kv_heads = _numbers(config, "num_hidden_layers", heads)
    kv_heads = max(kv_heads, tensor_parallel_size)
    return 2 * layers * kv_heads * _head_size(config) * element_bytes / tensor_parallel_size


def context_tokens(workload: Workload) -> int:
    """Tokens whose keys and values the rollout's decoding reads, each as often as it is read.

    The first token of an answer comes of the prompt's own pass. A prompt of p tokens answered with n
    is then read with 1, 2, ... n - 1 tokens of the answer behind it: (n - 1) p + n (n - 1) / 2.
    """
    pairs = zip(workload.prompt_lengths(), workload.output_lengths(), strict=True)
    return sum((answer - 1) * prompt + answer * (answer - 1) // 2 for prompt, answer in pairs)


def floor_seconds(workload: Workload, engine_steps: int, device: Device) -> float:
    """The least time of all engine steps of one rollout."""
    weights = engine_steps * device.weight_bytes
    context = context_tokens(workload) * device.kv_token_bytes
    return (weights + context) / device.bandwidth_bytes_per_second


def _head_size(config: Mapping[str, Any]) -> int:
    if config.get("head_dim"):
        return _numbers(config, "head_dim")[0]
    hidden, heads = _numbers(config, "hidden_size", "num_attention_heads")
    return hidden // heads


def _numbers(config: Mapping[str, Any], *names: str) -> list[int]:
    """What a config has by these names. Raises ValueError where that is no number, or one for each layer."""
    missing = [name for name in names if type(config.get(name)) is not int or config[name] < 1]
    if missing:
        raise ValueError(f"this config has no number as {', '.join(missing)}")
    return [config[name] for name in names]
