"""Model shapes to roll out: named presets with random weights, or a local model folder.

A preset is the config.json of a published model and nothing else, so nothing is downloaded
and no tokenizer is needed; vLLM fills the weights with random numbers (`load_format="dummy"`),
as it does for a local folder without weights.
Speed does not depend on the values of the weights. Knows nothing of vLLM, torch or transports.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ConfigurationError

_PRESET_FOLDER = Path(__file__).parent / "presets"

PRESETS: tuple[str, ...] = tuple(sorted(path.parent.name for path in _PRESET_FOLDER.glob("*/config.json")))
"""Names of the presets that this package carries."""


_NUMBERS = ("num_attention_heads", "max_position_embeddings", "vocab_size")
"""What of a config is counted with before an engine starts."""

_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")
_TOKENIZERS = ("tokenizer*", "vocab*", "*.model", "*.tiktoken", "tekken.json")


@dataclass(frozen=True)
class Model:
    """A model to roll out: a folder with its config.json, and with weights and a tokenizer if it has any."""

    name: str
    folder: Path

    @property
    def has_weights(self) -> bool:
        """Whether there are weights; without them vLLM makes random ones."""
        return self._holds(_WEIGHTS)

    @property
    def has_tokenizer(self) -> bool:
        """Whether there is a tokenizer; token ids are rolled out without one."""
        return self._holds(_TOKENIZERS)

    def _holds(self, patterns: tuple[str, ...]) -> bool:
        return any(any(self.folder.glob(pattern)) for pattern in patterns)

    def engine_arguments(self) -> dict[str, Any]:
        """The vLLM engine arguments that select this model."""
        arguments: dict[str, Any] = {"model": str(self.folder)}
        if not self.has_weights:
            arguments["load_format"] = "dummy"
        if not self.has_tokenizer:
            arguments["skip_tokenizer_init"] = True
        return arguments

    def config(self) -> dict[str, Any]:
        """The model's config.json; what a multimodal model says of its text model counts as its own.

        Raises ConfigurationError for what is no config, or has something else than numbers in `_NUMBERS`.
        """
        path = self.folder / "config.json"
        try:
            config = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"{path} cannot be read as JSON: {error}") from None
        if not isinstance(config, dict):
            raise ConfigurationError(f"{path} is no JSON object")
        if isinstance(config.get("text_config"), dict):
            config |= config["text_config"]
        for name in _NUMBERS:
            value = config.get(name)
            if value is not None and (type(value) is not int or value < 0):
                raise ConfigurationError(f"{path}: {name} is {json.dumps(value)}; it must be a whole number")
        return config


def find_model(name: str) -> Model:
    """Return the preset called `name`, or the model in the local folder `name`.

    Raises ConfigurationError where it is neither.
    """
    if name in PRESETS:
        return Model(name, _PRESET_FOLDER / name)
    folder = Path(os.path.expanduser(name))  # Path's own raises where there is no such user
    if not folder.is_dir():
        raise ConfigurationError(
            f"unknown preset or model folder {name!r}; presets: {', '.join(PRESETS)}; "
            "or give a local folder that holds config.json, and weights if they are to be real"
        )
    if not (folder / "config.json").is_file():
        raise ConfigurationError(f"the model folder {name!r} has no config.json")
    return Model(folder.resolve().name, folder.resolve())
