"""`rollout-perf pipe`: transports or entries alone, without a model; a table, or JSON."""

import argparse
import importlib.util

from rollout_perf.entries import ENTRIES
from rollout_perf.transports import TRANSPORTS

from ..errors import UsageError
from ..measure import machine
from ..measure.entry_pipe import run_entries
from ..measure.pipe import run_pipe
from ..measure.pipe_contenders import BARE
from ..report.entry_pipe import entry_table
from ..report.pipe import pipe_table
from .answer import answer, answer_arguments
from .checkout import provenance
from .console import say
from .names import MANY, listed, unknown
from .options import check_entries, check_paths


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--path", action="extend", type=listed(), help=f"{MANY} (default: all)")
    parser.add_argument(
        "--entry",
        action="extend",
        type=listed(),
        default=[],
        help=f"{MANY}; requests/s of entries instead: {', '.join(ENTRIES)}",
    )
    parser.add_argument("--blocks", type=int, default=9, help="timed blocks (default: 9)")
    answer_arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Measure, and show it; 0 where nothing failed."""
    if given.entry:
        return _entries(given)
    gpus = machine.gpus()
    known = [*(name for name, row in TRANSPORTS.items() if row.transport), *BARE]
    paths = list(dict.fromkeys(given.path or known))
    for path in paths:
        if path not in known:
            raise UsageError(unknown("path", path, known))
        if given.path and path in BARE and importlib.util.find_spec(BARE[path]) is None:
            raise UsageError(f"the path {path!r} cannot be taken here: {BARE[path]} is not installed")
    if given.path:
        check_paths([path for path in paths if path not in BARE], gpus)
    try:
        result = run_pipe(paths, given.blocks, say=say, provenance=provenance())
    except ValueError as error:
        raise UsageError(str(error)) from None
    answer(given, pipe_table(result), result)
    return 1 if result["failed"] else 0


def _entries(given: argparse.Namespace) -> int:
    if given.path:
        raise UsageError("give either --path, for round trips over transports, or --entry, for requests")
    if given.blocks < 1:
        raise UsageError(f"--blocks is {given.blocks}; it must be at least 1")
    check_entries(given.entry)
    result = run_entries(list(dict.fromkeys(given.entry)), given.blocks, say, provenance=provenance())
    answer(given, entry_table(result), result)
    return 1 if result["failed"] else 0
