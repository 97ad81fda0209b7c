"""The command `rollout-perf`: measure paths now, the pipe alone, a range of commits; judge a commit.

    rollout-perf measure --path zmq --path vllm-mp --preset nano --batch 8
    rollout-perf limit --path zmq
    rollout-perf pipe
    rollout-perf track HEAD~5..HEAD
    rollout-perf gate main HEAD
    rollout-perf detect

Each command is a module of `commands`. Progress goes to standard error, tables to standard
output; the last line of all but `track` is one JSON object. Exit code 0: all is well; 1: something
failed or is slower, and the table says what; 2: a bad request, in one line; 130: interrupted, and
nothing is left running. `gate` has its own: 0 nothing is worse, 1 something is, 2 something could
not be measured.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from .errors import ConfigurationError, RolloutError

COMMANDS = (
    "measure", "compare", "limit", "pipe", "track", "publish", "report", "gate", "detect", "scorecard",
)  # fmt: skip
"""Modules of `commands`, in the order in which the help lists them."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        given = _parser().parse_args(argv)
        code = given.run(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
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
    commands = parser.add_subparsers(required=True, metavar=" | ".join(COMMANDS))
    for name in COMMANDS:
        module = importlib.import_module(f".commands.{name}", __package__)
        command = commands.add_parser(name, help=module.SUMMARY)
        module.arguments(command)
        command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
