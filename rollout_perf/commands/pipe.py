"""`rollout-perf pipe`: a round trip over each transport, without a model; a table and a line of JSON."""

import argparse
import importlib.util
import json

from ..errors import ConfigurationError
from ..transports import TRANSPORTS
from .common import check_paths, provenance, ruler, say

SUMMARY = "measure a round trip over each transport, without a model"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--path", action="append", help="repeatable (default: all)")
    parser.add_argument("--blocks", type=int, default=9, help="timed blocks (default: 9)")


def run(given: argparse.Namespace) -> int:
    """Measure, show the table and the JSON; 0 where nothing failed."""
    pipe, gpus = ruler("pipe"), ruler("machine").gpus()
    known = [*(name for name, row in TRANSPORTS.items() if row.transport), *pipe.BARE]
    paths = list(dict.fromkeys(given.path or known))
    for path in paths:
        if path not in known:
            raise ConfigurationError(f"unknown path {path!r}; known: {', '.join(known)}")
        if given.path and path in pipe.BARE and importlib.util.find_spec(pipe.BARE[path]) is None:
            raise ConfigurationError(
                f"the path {path!r} cannot be taken here: {pipe.BARE[path]} is not installed"
            )
    if given.path:
        check_paths([path for path in paths if path not in pipe.BARE], gpus)
    try:
        result = pipe.run_pipe(paths, given.blocks, say=say, provenance=provenance())
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    from ..tracking.table import pipe_table

    print(pipe_table(result))
    print(json.dumps(result))
    return 1 if result["failed"] else 0
