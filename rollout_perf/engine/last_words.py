"""Why vLLM's processes end. They log it, and the front is told to look above: here it is noted for the front.

A process that vLLM forks has the front's handlers; one that it spawns reads them in vLLM's file of logging.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from copy import deepcopy

from ..errors import EngineError
from ..surroundings import environment
from ..transports.run import Run
from ..transports.watcher import write_private

LAST_WORDS = {
    "vllm.v1.engine.core": ("EngineCore failed to start.", "EngineCore encountered a fatal error."),
    "vllm.v1.executor.multiproc_executor": ("WorkerProc failed to start.",),
    "vllm.model_executor.models.registry": (
        "Error in inspecting model architecture '%s'",
        "Error in loading model architecture '%s'",
    ),
}
"""What is logged with an exception before nothing goes on, by logger."""

_FILE = "VLLM_LOGGING_CONFIG_PATH"


class Noting(logging.Handler):
    """Notes what vLLM logs last as the failure of the run that the environment names."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or record.msg not in LAST_WORDS[record.name]:
            return
        words = str(error).strip()
        if "Traceback (most recent call last)" in words:  # of a process of its own
            words = words.splitlines()[-1]
        cause = error if isinstance(error, EngineError) else EngineError(f"{type(error).__name__}: {words}")
        with contextlib.suppress(OSError, EngineError):
            Run.from_environment().note_failure(cause)


@contextlib.contextmanager
def noted(run: Run) -> Iterator[None]:
    """Have this process note vLLM's last words for a block, and those that it starts meanwhile for ever."""
    handler = Noting()
    loggers = [logging.getLogger(name) for name in LAST_WORDS]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with environment(_for_spawned(run)):
            yield
    finally:
        for logger in loggers:  # vLLM may have read the file in this process too
            logger.handlers = [one for one in logger.handlers if not isinstance(one, Noting)]


def _for_spawned(run: Run) -> dict[str, str]:
    if os.environ.get(_FILE) or os.environ.get("VLLM_CONFIGURE_LOGGING") == "0":
        return {}  # as the caller has it
    from vllm.logger import DEFAULT_LOGGING_CONFIG

    config = deepcopy(DEFAULT_LOGGING_CONFIG)
    config["handlers"]["last_words"] = {"class": f"{__name__}.{Noting.__qualname__}"}
    config["loggers"] |= {name: {"handlers": ["last_words"]} for name in LAST_WORDS}
    write_private(run.folder / "logging.json", json.dumps(config))
    return {_FILE: str(run.folder / "logging.json")}
