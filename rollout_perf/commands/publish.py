"""`rollout-perf publish`: the site over results/, one folder that works offline and from file://."""

import argparse
from pathlib import Path

from .common import find_ruler, say

SUMMARY = "write the site from results/"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--folder", type=Path, help="where to (default: html_dir of asv.conf.json)")


def run(given: argparse.Namespace) -> int:
    """Write the site, and print its first page."""
    root = find_ruler(Path.cwd())
    from ..tracking.publish import publish

    page = publish(root, say, given.folder)
    print(f"site: {page.relative_to(Path.cwd()) if page.is_relative_to(Path.cwd()) else page}")
    return 0
