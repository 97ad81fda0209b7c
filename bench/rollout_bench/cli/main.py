"""The command `rollout-perf`: measure paths now, the pipe alone, a range of commits; judge a commit.

    rollout-perf demo
    rollout-perf measure --path zmq --path vllm-mp --preset nano --batch 8
    rollout-perf limit --path zmq
    rollout-perf pipe
    rollout-perf track HEAD~5..HEAD
    rollout-perf campaign CAMPAIGN.toml --address HOST:PORT
    rollout-perf gate main HEAD
    rollout-perf releases vllm --range 0.20..
    rollout-perf upgrade ray==2.58.0
    rollout-perf detect
    rollout-perf triage 88e583f6..c9ff6fe7 --expected --note "checked twice"

Progress goes to standard error, tables to standard output; with --json, which all but `publish`
take, one JSON object goes there alone. Exit code 0: all is well; 1: something failed
or is slower, and the table says what; 2: a bad request, a tool that failed or a full disk, in one line;
3: a crash, in one line that names a report of it; 130: interrupted (SIGINT, SIGTERM or SIGHUP), and
nothing is left running; 141: the reader of the output has gone. `gate` and `upgrade` have their own: 0
nothing is worse, 1 something is, 2 something could not be measured; a crash of them is 3 too.
"""

import argparse
import errno
import importlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from rollout_perf.errors import RolloutError

from ..errors import BenchError, UsageError, meant
from .console import begin, end
from .crash import crash_line, versions
from .names import unknown

COMMANDS = {
    "demo": "compare three paths in one short session, with what it means",
    "measure": "measure a rollout over one or more paths, now",
    "compare": "compare paths rollout by rollout, all engines up at once",
    "limit": "raise the batch until throughput stops growing or memory is full",
    "workload": "show what is in a workload or a trace",
    "record": "make a workload of a run of vLLM or verl",
    "pipe": "measure a round trip over each transport, without a model",
    "track": "measure a range of commits with asv, and publish the site",
    "campaign": "measure many commits or releases at once, on the nodes of a Ray cluster",
    "publish": "write the site from results/",
    "report": "say what was measured at a commit, or what changed between two",
    "gate": "say whether a commit is slower than another, both measured now, side by side",
    "releases": "make a history of a package's releases, to measure as commits are; or report on it",
    "upgrade": "say whether rollouts are slower with a package of the lock moved, measured side by side",
    "detect": "find change points in the history of results/",
    "triage": "list regressions, and keep what is decided of one",
    "scorecard": "examine the detector of change points",
}
"""What each command does; it is the module beside this one that has its name."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


class _Versions(argparse.Action):
    """Prints them; looked up where they are asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print("\n".join(versions()))
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:  # a process of its own
        begin()
        for number in _ENDS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` has it
                signal.signal(number, _interrupt)
            elif number == signal.SIGINT:  # as a script's `&` has it: what is started is ended by it
                signal.signal(number, lambda *_: None)
    try:
        if words and words[0] not in COMMANDS and not words[0].startswith("-"):
            raise UsageError(unknown("command", words[0], COMMANDS))
        given = _parser(words).parse_args(words)
        try:
            code: int = given.run(given)
        finally:
            end()
        if sys.stdout is not None:  # as `>&-` has it
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (BenchError, RolloutError) as error:
        return _ended(2, " ".join(str(error).split()))
    except KeyboardInterrupt:
        return _ended(130, "interrupted")
    except Exception as error:  # never 1: to `gate`, `detect` and a bisection that is a verdict
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _ended(2, f"{error}: make room and run it again")
        return _ended(3, crash_line(error, words))


def _ended(code: int, why: str) -> int:
    """The exit code, which does not depend on whether anybody can be told why."""
    with suppress(OSError):
        print(f"rollout-perf: {why}", file=sys.stderr)
    return code


_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask for the end: Ctrl-C; a timeout, a cancelled job, `docker stop`; a closed terminal."""


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """End as at Ctrl-C, once: a cancelled job gets one signal after the other, and ending takes seconds."""
    for number in _ENDS[1:]:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser, with the options of the command that is asked for: the others need not be loaded."""
    parser = _Parser(prog="rollout-perf", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--version", nargs=0, action=_Versions, help="show the packages' versions, and end")
    commands = parser.add_subparsers(required=True, metavar=" | ".join(COMMANDS))
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if name in argv[:1]:
            module = _load(name)
            module.arguments(command)
            command.set_defaults(run=module.run)
            _check_options(command, argv[1:])
    return parser


def _check_options(command: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Raise UsageError for an option that the command does not have: argparse would first ask for others."""
    known = re.findall(r"--[a-z][a-z-]*", command.format_help())
    for word in words[: words.index("--")] if "--" in words else words:
        name = word.partition("=")[0]
        if name.startswith("--") and " " not in word and not any(one.startswith(name) for one in known):
            command.error(f"unknown option {name}{meant(name, known)}")


def _load(name: str) -> Any:
    """The module of a command. Raises UsageError where what it needs is not installed."""
    try:
        return importlib.import_module(f".{name}", __package__)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise UsageError(
            f"{package} is not installed here, and `{name}` needs it: run `make setup`, "
            "or pip install rollout-bench"
        ) from None
