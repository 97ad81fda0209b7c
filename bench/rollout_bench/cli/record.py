"""`rollout-perf record`: makes a workload file of a run, from what vLLM or verl has left of it."""

import argparse
import os
from functools import cache
from pathlib import Path

from rollout_perf.models import find_model

from ..errors import UsageError
from ..measure import recordings
from ..measure.recorder import write
from . import workloads
from .answer import answer, json_argument
from .names import preset


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "file", help="; ".join(f"{name}: {what}" for name, what in recordings.SOURCES.items())
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the workload, for --workload")
    parser.add_argument("--source", choices=recordings.SOURCES, help="what FILE is (default: as it looks)")
    parser.add_argument(
        "--preset", type=preset, help="a model folder with the tokenizer, for a rollout dump of verl"
    )
    json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """Write the workload and say what is in it; 0 where it has a sample."""
    path, output = (Path(os.path.expanduser(one)) for one in (given.file, given.output))
    if output.exists():
        raise UsageError(f"--output {output} exists; give a new file, or remove it")
    tokenizer = cache(
        lambda: workloads.tokenizer_of(find_model(given.preset) if given.preset else None, path)
    )

    def tokenize(text: str) -> list[int]:
        return list(tokenizer().encode(text, add_special_tokens=False))

    try:
        source = given.source or recordings.source_of(path)
        found = recordings.samples(path, source, tokenize)
        if not any(sample.ended for sample in found):
            raise UsageError(f"{path} has no sample that ended")
        try:
            written = write(output, found)
        except OSError as error:
            raise UsageError(f"--output {output} cannot be written: {error}") from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    left = len(found) - written
    lost = f"; {left} never ended, and are left out" if left else ""
    said = [f"{written} samples are in {output}{lost}"]
    if source == recordings.DUMP:
        said.append("verl writes texts without special tokens: lengths are without the chat template's")
    answer(given, "\n".join(said), {"source": source, "samples": written, "left_out": left})
    return 0
