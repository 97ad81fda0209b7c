"""What asv tracks: presets, batches, lengths, the batches of the limit. Pure.

A change here changes the version of a benchmark, and so begins a new series.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .rl import grpo, verl
from .workload import Workload

TRACKED: dict[bool, str] = {False: "nano", True: "qwen2.5-0.5b"}
"""The preset that is tracked where no GPU is, and where one is."""

BATCHES: dict[str, tuple[int, ...]] = {"nano": (1, 8), "qwen2.5-0.5b": (1, 64, 256)}
"""The batches at which a preset is tracked."""

FIXED: dict[str, dict[str, Any]] = {"nano": {"prompt_tokens": 16, "output_tokens": 32}}
"""Lengths of the fixed workload where they are not Workload's own."""

GRPO: dict[str, dict[str, Any]] = {
    "nano": {"prompts": 8, "samples": 4, "prompt_cap": 64, "output_cap": 64},
    "qwen2.5-0.5b": {"prompts": 64, "output_cap": 512},
    "qwen2.5-7b": {"prompts": 16, "prompt_cap": 512, "output_cap": 1024},
}
"""How far the workloads with long-tailed answers are scaled down where they are tracked."""

SWEEP: dict[str, tuple[int, ...]] = {
    "nano": (8, 16, 32, 64),
    "qwen2.5-0.5b": (64, 128, 256, 512, 1024, 2048, 4096),
}
"""The batches of the fixed workload at which the limit is sought."""


def fixed(preset: str, batches: Sequence[int]) -> list[Workload]:
    """The fixed workload of a preset at each batch."""
    lengths = FIXED.get(preset, {})
    return [replace(Workload(prompts=batch), **lengths) for batch in batches]


@dataclass(frozen=True)
class Tracked:
    """What one engine start of each path measures: the engine is sized for all of the workloads."""

    preset: str
    workloads: Sequence[Workload]
    part: str = ""
    """Tells apart what is measured of a preset with engines of their own, in the names of records files."""
    tensor_parallel_size: int = 1


def _rl(preset: str) -> Tracked:
    """GRPO's step, then the fixed batches at which the limit is sought."""
    return Tracked(preset, [grpo(**GRPO[preset]), *fixed(preset, SWEEP[preset])], "-rl")


ENGINES: dict[str, Tracked] = {
    one.preset + one.part: one
    for one in (
        *(Tracked(preset, fixed(preset, batches)) for preset, batches in BATCHES.items()),
        _rl("nano"),
        _rl("qwen2.5-0.5b"),
        Tracked("qwen2.5-7b", [verl(**GRPO["qwen2.5-7b"])], tensor_parallel_size=2),
    )
}
"""Every engine start of asv's, by the name that `gate --tracked` takes."""
