"""engine/last_words.py: why vLLM's processes end reaches the front, which is told to look above."""

import importlib.util
import json
import logging
import logging.config
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rollout_perf import WorkerDied
from rollout_perf.engine.last_words import LAST_WORDS, noted
from rollout_perf.surroundings import environment
from rollout_perf.transports.run import Run

ENGINE, WORKER, REGISTRY = LAST_WORDS
FAILED_TO_START = LAST_WORDS[ENGINE][0]


@pytest.fixture
def run(monkeypatch):
    vllm = {"version": 1, "handlers": {}, "loggers": {}, "disable_existing_loggers": False}
    monkeypatch.setitem(sys.modules, "vllm.logger", SimpleNamespace(DEFAULT_LOGGING_CONFIG=vllm))
    monkeypatch.setattr(logging.getLogger("vllm"), "propagate", False)
    made = Run.create("vllm-mp", 1.0, 1.0)
    with environment(made.variables()):
        yield made
    made.end(1.0)


def log(logger, message, error, *arguments):
    try:
        raise error
    except type(error):
        logging.getLogger(logger).exception(message, *arguments)


def test_the_first_last_words_are_the_cause_and_what_goes_on_is_none(run):
    """A worker's come before its engine's, which say that a worker has ended."""
    with noted(run):
        log(ENGINE, "Invocation of %s method failed", RuntimeError("mine"), "a")
        assert run.failure() is None
        log(WORKER, LAST_WORDS[WORKER][0], RuntimeError("no weights"))
        log(ENGINE, FAILED_TO_START, Exception("See stack trace for root cause."))
    assert str(run.failure()) == "RuntimeError: no weights"


def test_of_a_traceback_the_last_line_is_the_cause(run):
    error = RuntimeError(
        "Error raised in subprocess:\nTraceback (most recent call last):\n  File\nKeyError: 'x'\n"
    )
    with noted(run):
        log(REGISTRY, LAST_WORDS[REGISTRY][0], error, "Abacus")
    assert str(run.failure()) == "RuntimeError: KeyError: 'x'"


def test_a_cause_of_the_packages_own_keeps_its_kind(run):
    with noted(run):
        log(ENGINE, FAILED_TO_START, WorkerDied("worker 0 has ended"))
    assert isinstance(run.failure(), WorkerDied)


def test_a_process_that_is_spawned_notes_them_by_the_file_and_this_one_no_more(run):
    before = dict(os.environ)
    with noted(run):
        file = Path(os.environ["VLLM_LOGGING_CONFIG_PATH"])
    assert dict(os.environ) == before
    log(ENGINE, FAILED_TO_START, ValueError("of another run"))
    assert run.failure() is None
    logging.config.dictConfig(json.loads(file.read_text()))
    try:
        log(ENGINE, FAILED_TO_START, ValueError("no room"))
    finally:
        for name in LAST_WORDS:
            logging.getLogger(name).handlers.clear()
    assert str(run.failure()) == "ValueError: no room"


@pytest.mark.parametrize("logger", LAST_WORDS)
def test_vllm_still_says_so(logger):
    """A version that words them otherwise would hide its causes again."""
    vllm = importlib.util.find_spec("vllm")
    if vllm is None:
        pytest.skip("needs vLLM")
    source = Path(vllm.submodule_search_locations[0], *logger.split(".")[1:]).with_suffix(".py").read_text()
    assert [words for words in LAST_WORDS[logger] if words not in source] == []
