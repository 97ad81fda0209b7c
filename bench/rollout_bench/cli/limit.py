"""`rollout-perf limit`: raise the batch until throughput saturates; a table a path, or JSON."""

import argparse
import json
import math
from dataclasses import asdict

from ..errors import UsageError
from ..measure import machine
from ..measure.alone import alone
from ..measure.saturation import find_limit
from ..measure.sequence import CASE_DEADLINE_SECONDS, measure_cases
from ..measure.tracked import FIXED
from ..measure.workload import Workload
from ..report.idle import limit_lines
from . import workloads
from .answer import answer, json_argument
from .checkout import provenance
from .console import say
from .options import (
    case_arguments,
    check_engine_paths,
    engine_argument,
    entry_argument,
    output_argument,
    sequence_arguments,
    ways,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    case_arguments(parser)
    parser.add_argument("--first-batch", type=int, default=1, help="the first batch; it doubles (default: 1)")
    parser.add_argument("--max-batch", type=int, help="the last batch (default: 4096, without a GPU 128)")
    parser.add_argument("--prompt-tokens", type=int, help="tokens of each prompt (default: the preset's)")
    parser.add_argument("--output-tokens", type=int, help="tokens of each answer (default: the preset's)")
    parser.add_argument("--rollouts", type=int, default=3, help="timed rollouts at each batch (default: 3)")
    parser.add_argument(
        "--deadline",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long to measure a path (default: 300)",
    )
    entry_argument(parser)
    engine_argument(parser)
    output_argument(parser)
    json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """Search each path's limit and show it; 0 where every path has one."""
    gpus = machine.gpus()
    check_engine_paths(given.path, gpus)
    named = ways(given, given.path)
    for name in ("first_batch", "rollouts", "prompt_tokens", "output_tokens"):
        value = getattr(given, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")
    if not 0 < given.deadline < math.inf:
        raise UsageError(f"--deadline is {given.deadline:g}; give seconds, more than 0")
    most = (4096 if gpus else 128) if given.max_batch is None else given.max_batch
    if most < given.first_batch:
        raise UsageError(f"--max-batch is {most}; it must be at least --first-batch, {given.first_batch}")
    workloads.check_batch("--max-batch", most)
    lengths = dict(FIXED.get(given.preset, {}))
    lengths |= {
        name: getattr(given, name)
        for name in ("prompt_tokens", "output_tokens")
        if getattr(given, name) is not None
    }
    loads = [Workload(prompts=batch, **lengths) for batch in _doubling(given, most)]
    loads = workloads.within_vocabulary(loads, given.preset)
    cases, options = sequence_arguments(given, named, loads, gpus)
    with alone(say, options["keep"]):
        records = measure_cases(
            *cases,
            **options,
            provenance=provenance(),
            deadline_seconds=given.deadline + CASE_DEADLINE_SECONDS,
            until_limit_seconds=given.deadline,
        )
    limits, lines = {}, []
    for path in named:
        mine = [record for record in records if record.way == path]
        limits[path] = find_limit(mine)
        lines += limit_lines(path, limits[path], mine)
    found = {path: one and asdict(one) for path, one in limits.items()}
    content = {"limits": found, "records": [json.loads(record.to_json()) for record in records]}
    answer(given, "\n".join(lines), content)
    return 0 if all(limits.values()) else 1


def _doubling(given: argparse.Namespace, most: int) -> list[int]:
    batches = [given.first_batch]
    while batches[-1] * 2 <= most:
        batches.append(batches[-1] * 2)
    return batches
