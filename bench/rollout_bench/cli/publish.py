"""`rollout-perf publish`: the site over results/, one folder that works offline and from file://."""

import argparse
from pathlib import Path

from ..site.publish import publish
from .checkout import kept_results, results_argument
from .console import say, show


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    results_argument(parser)
    parser.add_argument(
        "--folder",
        type=Path,
        help="where to write (default: html_dir of asv.conf.json, outside a checkout ./html)",
    )


def run(given: argparse.Namespace) -> int:
    """Write the site, and print its first page."""
    kept = kept_results(given.results)
    page = publish(kept.folder, kept.root, say, given.folder)
    show(f"site: {page.relative_to(Path.cwd()) if page.is_relative_to(Path.cwd()) else page}")
    return 0
