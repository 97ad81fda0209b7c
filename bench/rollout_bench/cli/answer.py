"""What a command has found: tables for people, or with --json one line of JSON and nothing else."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .console import show
from .outputs import check_file


def answer_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `answer` reads, for a command whose --output is not of something else."""
    json_argument(parser)
    parser.add_argument(
        "--output", type=_writable, metavar="FILE", dest="json_file", help="write the line of JSON here too"
    )


def json_argument(parser: argparse.ArgumentParser) -> None:
    """Declare that the JSON alone is wanted."""
    parser.add_argument(
        "--json", action="store_true", help="print one line of JSON, and no tables, on standard output"
    )


def answer(given: argparse.Namespace, text: str, content: Mapping[str, Any]) -> None:
    """Print the text, or what --json asks for; and write what --output does."""
    line = json.dumps(content)
    show(line if given.json else text)
    if file := getattr(given, "json_file", None):
        file.write_text(f"{line}\n")


def _writable(text: str) -> Path:
    """A file, which is tried before anything is measured."""
    try:
        check_file("it", Path(text))
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return Path(text)
