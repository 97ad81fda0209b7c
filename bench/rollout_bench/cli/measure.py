"""`rollout-perf measure`: one or more paths now, one engine start a path; tables, or JSON."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..measure import machine
from ..measure.alone import alone
from ..measure.sequence import measure_cases
from ..report.idle import probe_lines
from ..report.ratios import of_variants, variant_tables
from ..report.rollouts import rollout_table
from ..report.shown import shown
from ..schema.record import MEASURED, REFERENCE
from . import workloads
from .answer import answer, json_argument
from .checkout import provenance
from .console import say
from .options import (
    case_arguments,
    check_engine_paths,
    check_nodes,
    engine_argument,
    entry_argument,
    metric_argument,
    nodes_argument,
    output_argument,
    sequence_arguments,
    system_argument,
    systems,
    timeline_argument,
    ways,
)
from .outputs import check_folder


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    case_arguments(parser, path_required=False)  # --system needs none
    workloads.arguments(parser)
    entry_argument(parser)
    system_argument(parser)
    nodes_argument(parser)
    parser.add_argument("--rollouts", type=int, default=7, help="timed rollouts (default: 7)")
    parser.add_argument("--device", choices=["cuda", "cpu"], help="refuse to run on the other one")
    metric_argument(parser, "what to show and compare")
    engine_argument(parser)
    output_argument(parser)
    json_argument(parser)
    timeline_argument(parser)
    parser.add_argument("--profile", metavar="DIR", help="keep a torch trace of a few engine steps here")
    parser.add_argument(
        "--compare-probe",
        action="store_true",
        help="measure what timing the GPU costs: rollouts with it and without, alternating",
    )


def run(given: argparse.Namespace) -> int:
    """Measure, and show it; 0 where every case was measured."""
    gpus = machine.gpus()
    if not (given.path or given.system):
        raise UsageError("nothing is given to measure: give --path, or --system")
    check_engine_paths(given.path, gpus)
    check_nodes(given, given.path)
    _check_device(given.device, gpus)
    if given.rollouts < 1:
        raise UsageError(f"--rollouts is {given.rollouts}; it must be at least 1")
    loads = workloads.choose(given)
    named = [*ways(given, given.path), *systems(given)]
    cases, options = sequence_arguments(given, named, loads, gpus)
    traces = _folder(given.profile)
    with alone(say, options["keep"]):
        records = measure_cases(
            *cases,
            **options,
            provenance=provenance(),
            profile=traces,
            compare_probe=given.compare_probe,
            timeline=given.timeline,
        )
    reference = REFERENCE if REFERENCE in named or len(named) == len(given.path) else named[0]
    tables = [
        rollout_table(records, reference, given.metric),
        *variant_tables(of_variants([records], given.metric), given.metric),
        *shown(records),
    ]
    lines = [*_absent(records), *probe_lines(records), *_traces(records)]
    text = "\n".join(["\n\n".join(filter(None, tables)), *lines])
    answer(given, text, {"records": [json.loads(one.to_json()) for one in records]})
    return 0 if all(one.status == MEASURED for one in records) else 1


def _check_device(device: str | None, gpus: Sequence[Any]) -> None:
    if device == "cuda" and not gpus:
        raise UsageError("CUDA was asked for, but there is no GPU here; leave --device out for the CPU")
    if device == "cpu" and gpus:
        raise UsageError("the CPU was asked for, but vLLM takes the GPU of this machine; leave --device out")


def _folder(given: str | None) -> str | None:
    """Where traces go, for processes elsewhere."""
    if given is None:
        return None
    folder = Path(os.path.expanduser(given)).resolve()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--profile is {given!r}, which is a file; give a folder")
    check_folder("--profile", folder)
    return str(folder)


def _absent(records: Sequence[Any]) -> list[str]:
    """Why a measured case lacks a kind of metric; each reason once."""
    found = [
        f"{what} absent: {why}"
        for record in records
        for what, why in record.observed.get("absent", {}).items()
    ]
    return list(dict.fromkeys(found))


def _traces(records: Sequence[Any]) -> list[str]:
    """Where each worker's trace lies, or why there is none."""
    found = [trace for record in records for trace in record.observed.get("traces", ())]
    return [f"trace: {trace.get('trace') or 'none: ' + trace['untraced']}" for trace in found]
