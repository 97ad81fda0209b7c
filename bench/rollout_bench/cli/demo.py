"""`rollout-perf demo`: the first value: three paths side by side in one short session, and how to read it."""

import argparse

from ..measure import machine
from ..measure.alone import alone
from ..measure.session import Contestant, run_session
from ..measure.tracked import fixed
from ..report.ratios import ratio_table, ratios
from ..report.reading import reading
from ..schema.metrics import STEP
from ..schema.record import MEASURED, REFERENCE
from ..stats import shrinkage as shrinkage  # what intervals take is missed now, and not after measuring
from .answer import answer, answer_arguments
from .checkout import provenance
from .console import say
from .options import check_engine_paths

PRESET, BATCH, ROUNDS, WARMUPS = "nano", 8, 10, 2
PATHS = (REFERENCE, "zmq", "ray")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes: nothing but how to say it."""
    answer_arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Measure one session, show its ratios and what they mean; 0 where every path was measured."""
    gpus = machine.gpus()
    check_engine_paths(list(PATHS), gpus)
    loads = fixed(PRESET, [BATCH])
    with alone(say):
        say(f"starting {len(PATHS)} engines with the model {PRESET}: {', '.join(PATHS)}")
        records = run_session(
            PRESET, [*map(Contestant, PATHS)], loads, ROUNDS, WARMUPS, say, provenance=provenance()
        )
    rows = ratios([records], REFERENCE, STEP)
    [load] = loads
    text = (
        f"Step time of a rollout: {BATCH} prompts, {max(load.output_lengths())} tokens for each.\n\n"
        f"{ratio_table(rows, REFERENCE, STEP)}\n\n{reading(rows, REFERENCE, on_cpu=not gpus)}"
    )
    answer(given, text, {"reference": REFERENCE, "metric": STEP, "ratios": rows})
    failed = [one for one in records if one.status != MEASURED]
    for one in failed:
        say(f"{one.path}: {one.status}: {one.reason}")
    return 1 if failed else 0
