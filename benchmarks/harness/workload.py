"""What is generated: prompts, their lengths, forced output lengths, from a seed. Pure.

Token ids stay below 2000, so that one workload fits the vocabulary of every preset.
"""

import hashlib
import json
import random
from dataclasses import asdict, dataclass

_FIRST_ID, _LAST_ID = 100, 1999


@dataclass(frozen=True)
class Workload:
    """A rollout's work: `prompts` x `samples` sequences, every one with exactly `output_tokens`."""

    prompts: int
    samples: int = 1
    prompt_tokens: int = 64
    output_tokens: int = 128
    seed: int = 0
    name: str = "fixed"

    def __post_init__(self) -> None:
        for field in ("prompts", "samples", "prompt_tokens", "output_tokens"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}; it must be at least 1")

    @property
    def batch(self) -> int:
        """Sequences in the rollout."""
        return self.prompts * self.samples

    @property
    def tokens(self) -> int:
        """Tokens that the rollout generates."""
        return self.batch * self.output_tokens

    @property
    def length(self) -> int:
        """Tokens of one sequence, prompt and answer."""
        return self.prompt_tokens + self.output_tokens

    def token_ids(self) -> list[list[int]]:
        """The prompts: `prompts` lists of `prompt_tokens` ids, the same for the same workload."""
        draw = random.Random(self.seed)
        return [
            [draw.randint(_FIRST_ID, _LAST_ID) for _ in range(self.prompt_tokens)]
            for _ in range(self.prompts)
        ]

    def fingerprint(self) -> str:
        """Twelve hex digits that change when anything about the work changes, ids included."""
        content = json.dumps([asdict(self), self.token_ids()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, object]:
        """The workload with its fingerprint, for the record."""
        return {**asdict(self), "batch": self.batch, "fingerprint": self.fingerprint()}
