"""Model shapes to roll out: named presets with random weights, or a local model folder.

A preset is the config.json of a published model and nothing else, so nothing is downloaded
and no tokenizer is needed; vLLM fills the weights with random numbers (`load_format="dummy"`).
Speed does not depend on the values of the weights. Knows nothing of vLLM, torch or transports.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ConfigurationError

_PRESET_FOLDER = Path(__file__).parent / "presets"

PRESETS: tuple[str, ...] = tuple(sorted(path.parent.name for path in _PRESET_FOLDER.glob("*/config.json")))
"""Names of the presets that this package carries."""


@dataclass(frozen=True)
class Model:
    """A model to roll out: where its config.json lies and whether its weights are real."""

    name: str
    folder: Path
    random_weights: bool

    def engine_arguments(self) -> dict[str, Any]:
        """The vLLM engine arguments that select this model."""
        arguments: dict[str, Any] = {"model": str(self.folder)}
        if self.random_weights:
            arguments |= {"load_format": "dummy", "skip_tokenizer_init": True}
        return arguments

    def config(self) -> dict[str, Any]:
        """The model's config.json."""
        return json.loads((self.folder / "config.json").read_text())


def find_model(name: str) -> Model:
    """Return the preset called `name`, or the model in the local folder `name`.

    Raises ConfigurationError where it is neither.
    """
    if name in PRESETS:
        return Model(name, _PRESET_FOLDER / name, random_weights=True)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ConfigurationError(
            f"unknown preset or model folder {name!r}; presets: {', '.join(PRESETS)}; "
            "or give a local folder that holds config.json and weights"
        )
    if not (folder / "config.json").is_file():
        raise ConfigurationError(f"the model folder {name!r} has no config.json")
    return Model(folder.resolve().name, folder.resolve(), random_weights=False)
