"""What the commands share: the ruler of the checkout they run in, and how they speak."""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError
from ..models import find_model
from ..tracking import git
from ..transports import find_transport


def say(text: str) -> None:
    """Tell how it goes, on standard error."""
    print(text, file=sys.stderr, flush=True)


def provenance() -> dict[str, str]:
    """What a command knows of where its records come from: its line, and the commit of the checkout."""
    told = {"command": " ".join(["rollout-perf", *sys.argv[1:]])}
    described = ["describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    commit = git.answer(find_ruler(Path.cwd()), *described)
    return told | ({} if commit is None else {"commit": commit})


def output_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the file in which `cells.run_cells` keeps its records."""
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="keep the records here, a line each, path by path; paths that it has are not measured again",
    )


def timeline_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the option `timeline` of a cell."""
    parser.add_argument(
        "--timeline", action="store_true", help="show where the time of an engine step goes, stage by stage"
    )


def output_file(given: str | None) -> Path | None:
    """The file that was asked for. Raises ConfigurationError where it cannot be written."""
    if given is None:
        return None
    try:
        with open(given, "a"):
            return Path(given).resolve()
    except OSError as error:
        raise ConfigurationError(
            f"--output is {given!r}, which cannot be written: {error.strerror}"
        ) from None


def find_ruler(start: Path) -> Path:
    """The checkout around `start`. Raises ConfigurationError where there is none."""
    for folder in (start, *start.parents):
        if (folder / "asv.conf.json").is_file() and (folder / "benchmarks" / "harness").is_dir():
            return folder
    raise ConfigurationError(
        f"no checkout of rollout-perf from {start} upwards (a folder with asv.conf.json and "
        "benchmarks/harness): change into one"
    )


def ruler(name: str) -> Any:
    """A module of the ruler, from the checkout around the current directory."""
    root = str(find_ruler(Path.cwd()))
    if root not in sys.path:
        sys.path.insert(0, root)
    return importlib.import_module(f"benchmarks.harness.{name}")


def tool(name: str) -> Any:
    """A module of `tracking`. Raises ConfigurationError where what it needs is not installed."""
    try:
        return importlib.import_module(f"rollout_perf.tracking.{name}")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed here: run `make setup`, or pip install 'rollout-perf[tools]'"
        ) from None


def check_paths(paths: Sequence[str], gpus: Sequence[Any]) -> None:
    """Raise ConfigurationError for a path that is unknown, or that cannot be taken here."""
    for path in paths:
        reason = find_transport(path).absent(bool(gpus))
        if reason:
            raise ConfigurationError(f"the path {path!r} cannot be taken here: {reason}")


def check_model(given: argparse.Namespace, workloads: Sequence[Any], gpus: Sequence[Any]) -> str:
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
    prompt, answer = max((workload.longest for workload in workloads), key=sum)
    if longest and prompt + answer > longest:
        raise ConfigurationError(
            f"a prompt of {prompt} tokens (--prompt-tokens) and its answer of {answer} (--output-tokens) "
            f"make {prompt + answer}; {model.name} takes {longest} at most"
        )
    return model.name if model.random_weights else str(model.folder)


def engine_argument(parser: argparse.ArgumentParser) -> None:
    """Declare what `engine_arguments` reads."""
    parser.add_argument(
        "--engine-arg", action="append", default=[], metavar="NAME=JSON", help="of vLLM, for every path"
    )


def engine_arguments(given: Sequence[str]) -> dict[str, Any]:
    """vLLM's engine arguments from NAME=JSON. Raises ConfigurationError for anything else."""
    return dict(_engine_argument(text) for text in given)


def _engine_argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    try:
        if equals and name:
            return name.replace("-", "_"), json.loads(value)
    except ValueError:
        pass
    raise ConfigurationError(f"--engine-arg is {text!r}; give NAME=JSON, such as enforce_eager=true")
