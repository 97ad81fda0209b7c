"""`rollout-perf compare`: paths side by side, engines up at once, several starts; ratios to a reference."""

import argparse
from itertools import product
from pathlib import Path
from typing import Any

from rollout_perf.transports import TRANSPORTS

from ..errors import UsageError
from ..history.sessions import sessions_of
from ..measure import machine
from ..measure.alone import alone
from ..measure.equal_work import check_equal_work
from ..measure.session import Contestant, run_session
from ..measure.sizing import at_once, split
from ..report.names import work_name, work_of
from ..report.ratios import of_variants, ratio_table, ratios, together, variant_tables
from ..report.shown import shown
from ..schema.record import MEASURED, REFERENCE, engines, read_records
from ..stats import shrinkage as shrinkage  # what intervals take is missed now, and not after measuring
from . import workloads
from .answer import answer, json_argument
from .checkout import provenance
from .console import say
from .names import MANY, listed
from .options import (
    case_arguments,
    check_engine_paths,
    check_model,
    check_nodes,
    engine_argument,
    engine_arguments,
    entry_argument,
    metric_argument,
    nodes_argument,
    output_file,
    system_argument,
    systems,
    timeline_argument,
    ways,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    case_arguments(parser, path_required=False)  # --from and --system need none
    entry_argument(parser)
    system_argument(parser)
    nodes_argument(parser)
    parser.add_argument(
        "--reference", default=REFERENCE, metavar="PATH",
        help="the path that the others are divided by, behind the entry local or else the first "
        f"(default: {REFERENCE})",
    )  # fmt: skip
    workloads.arguments(parser)
    parser.add_argument("--starts", type=int, default=3, help="engine starts of every path (default: 3)")
    parser.add_argument(
        "--rounds", type=int, default=20, help="timed rollouts of every path in each start (default: 20)"
    )
    parser.add_argument("--warmups", type=int, default=3, help="untimed rounds before them (default: 3)")
    metric_argument(parser, "what to compare")
    timeline_argument(parser)
    parser.add_argument("--output", metavar="FILE", help="keep the records here, a line each")
    parser.add_argument(
        "--from", action="extend", type=_files, dest="kept", metavar="FILE",
        help=f"{MANY}: show what --output has kept, and measure nothing",
    )  # fmt: skip
    engine_argument(parser)
    json_argument(parser)


def run(given: argparse.Namespace) -> int:
    """Measure, and show the ratios; 0 where every case was measured."""
    if bool(given.path or given.system) == bool(given.kept):
        raise UsageError(
            "give either --path or --system, to measure, or --from FILE, to show what was measured"
        )
    if given.kept:
        sessions = sessions_of([one for file in given.kept for one in _kept(file)])
        try:
            sessions = [check_equal_work(records) for records in sessions]
        except (KeyError, TypeError) as error:
            raise UsageError(f"--from has a record without what each has: {error}") from None
    else:
        sessions = _measure(given)
    order = {path: place for place, path in enumerate(TRANSPORTS)}  # records come as their sessions ended
    sessions = [
        sorted(some, key=lambda one: (order.get(one.path, len(order)), one.entry or "")) for some in sessions
    ]
    [reference, *_others] = ways(given, [given.reference])
    found = ratios(sessions, reference, given.metric)
    every = [one for records in sessions for one in records]
    tables = []
    for work in dict.fromkeys(map(work_of, every)):
        rows = [
            row for row in found
            if work == work_name(row["preset"], row["tensor_parallel_size"], row["workload"])
        ]  # fmt: skip
        tables.append(f"{work}\n{ratio_table(rows, reference, given.metric)}")
        cases = [one for one in together(sessions) if work_of(one) == work]
        tables += shown(cases)
    variants = of_variants(sessions, given.metric)
    tables += variant_tables(variants, given.metric)
    failed = [one for one in every if one.status != MEASURED]
    for one in failed:
        say(f"{one.way} {one.workload['batch']}: {one.status}: {one.reason}")
    content = {"reference": reference, "metric": given.metric, "ratios": found, "variants": variants}
    answer(given, "\n\n".join(tables), content)
    return 1 if failed else 0


def _files(text: str) -> list[str]:
    """One file whose name may have commas, or several with commas."""
    return [text] if Path(text).exists() else listed()(text)


def _kept(file: str) -> list[Any]:
    try:
        records = read_records(Path(file).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--from is {file!r}, which cannot be read: {error}") from None
    if not records:
        raise UsageError(f"--from is {file!r}, which holds no record")
    return records


def _measure(given: argparse.Namespace) -> list[list[Any]]:
    """The records of every start."""
    gpus = machine.gpus()
    check_engine_paths(list(dict.fromkeys([given.reference, *given.path])), gpus)
    check_nodes(given, [given.reference, *given.path])
    [reference, *_others] = ways(given, [given.reference])
    others = [one for one in ways(given, given.path) if one != reference] + systems(given)
    for name, least in (("starts", 1), ("rounds", 2), ("warmups", 0)):
        if getattr(given, name) < least:
            raise UsageError(f"--{name} is {getattr(given, name)}; it must be at least {least}")
    loads = workloads.choose(given)
    preset = check_model(given.preset, given.tp, loads, gpus, given.nodes)
    output = output_file(given.output)
    engine = engine_arguments(given.engine_arg, given.nodes)
    most = at_once(preset, given.tp, loads) // max(map(engines, [reference, *others]))
    groups = split(reference, others, most)
    sessions: list[list[Any]] = []
    with alone(say, output):
        for start, paths in product(range(given.starts), groups):
            say(f"start {start + 1} of {given.starts}: {', '.join(paths)}")
            sessions.append(
                run_session(
                    preset,
                    [*map(Contestant, paths)],
                    loads,
                    given.rounds,
                    given.warmups,
                    say,
                    given.tp,
                    provenance=provenance() | {"start": start},
                    arguments=engine,
                    keep=output,
                    timeline=given.timeline,
                )
            )
    return sessions
