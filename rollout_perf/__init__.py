"""Asynchronous rollouts with vLLM over a choice of transports and entries, and their performance over time.

async with open_rollout("nano", transport="zmq") as rollout:
    sequences = await rollout.generate([[1, 2, 3]], Sampling(max_tokens=16))
"""

from .entries import ENTRIES
from .errors import ConfigurationError, EngineError, RolloutError, Stalled, WorkerDied, WorkerError
from .models import PRESETS
from .rollout import Rollout, Sampling, Sequence, open_rollout
from .transports import TRANSPORTS

__all__ = [
    "ENTRIES",
    "PRESETS",
    "TRANSPORTS",
    "ConfigurationError",
    "EngineError",
    "Rollout",
    "RolloutError",
    "Sampling",
    "Sequence",
    "Stalled",
    "WorkerDied",
    "WorkerError",
    "open_rollout",
]
