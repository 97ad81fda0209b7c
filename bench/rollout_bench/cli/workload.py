"""`rollout-perf workload`: what is in a workload, a trace above all; pictures, or JSON."""

import argparse

from rollout_perf.models import find_model

from ..errors import UsageError
from ..measure.roofline import kv_token_bytes
from ..report import workload as report
from . import workloads
from .answer import answer, answer_arguments
from .console import say
from .names import preset


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("workload", metavar="NAME|FILE", help=workloads.WHAT)
    parser.add_argument(
        "--preset",
        type=preset,
        help="a preset, or a local model folder: whether it takes it, and its KV cache",
    )
    parser.add_argument("--tp", type=int, default=1, help="tensor-parallel size (default: 1)")
    workloads.size_arguments(parser)
    parser.add_argument(
        "--tokens-per-second",
        type=float,
        metavar="RATE",
        help="of one sample, by which arrival times say how many are in flight",
    )
    answer_arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Show each workload that is asked for; 0 where it can be read."""
    for name in ("tp", "tokens_per_second"):
        value = getattr(given, name)
        if value is not None and not value > 0:
            raise UsageError(f"--{name.replace('_', '-')} is {value:g}; it must be more than 0")
    token_bytes = None
    if given.preset is not None:
        try:
            token_bytes = kv_token_bytes(find_model(given.preset).config(), 2, given.tp)
        except ValueError as error:
            say(f"the KV cache of {given.preset} is of unknown size: {error}")
    found, texts = [], []
    for load in workloads.choose(given):
        found.append(report.facts(load, token_bytes, given.tokens_per_second))
        texts.append("\n".join(report.lines(load, found[-1], given.preset)))
    answer(given, "\n\n".join(texts), {"workloads": found})
    return 0
