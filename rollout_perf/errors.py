"""What can go wrong in a rollout, as the package's own exceptions.

The caller of `open_rollout` sees these and no others: whatever vLLM, Ray, ZeroMQ or the
operating system raised is mapped to one of them where it enters the package, with the
original message and traceback kept.
"""


class RolloutError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigurationError(RolloutError, ValueError):
    """What was asked for cannot be done: the message says what was given and what is allowed."""


class EngineError(RolloutError):
    """The engine failed to start or stopped; the message carries the cause as far as it is known."""


class WorkerError(EngineError):
    """A worker raised an exception; the message carries its text and its traceback."""


class WorkerDied(EngineError):
    """A worker's process ended while it was needed."""


class Stalled(EngineError):
    """A worker did not answer within the stated deadline."""
