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

OTHER = ("num_experts", "num_local_experts", "n_routed_experts", "quantization_config")
"""What makes a model of another kind than the formulas are for: a dense decoder with a gated MLP."""


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
    """What bounds a worker that holds its part of a model. Raises ValueError for another kind of model."""
    other = [name for name in OTHER if config.get(name)]
    missing = [name for name in SHAPE if name != "head_dim" and not config.get(name)]
    if other or missing:
        raise ValueError(
            "the roofline is known for dense decoders alone; this config has "
            + " and ".join([*other, *(f"no {name}" for name in missing)])
        )
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head_size = config.get("head_dim") or hidden // heads
    kv_heads = max(config["num_key_value_heads"], tensor_parallel_size)  # every rank has at least one
    attention = 2 * hidden * heads * head_size + 2 * hidden * kv_heads * head_size
    layer = attention + 3 * hidden * config["intermediate_size"]
    # The output layer, once: of an embedding a step reads one row a token, and a tied one is the same.
    weights = config["num_hidden_layers"] * layer + hidden * config["vocab_size"]
    kv_token = 2 * config["num_hidden_layers"] * kv_heads * head_size
    return Device(
        weights * element_bytes / tensor_parallel_size,
        kv_token * element_bytes / tensor_parallel_size,
        bandwidth_bytes_per_second,
    )


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
