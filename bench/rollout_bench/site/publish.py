"""Writes the whole site into html/: our pages over results/, asv's and asv-tachyon's under html/asv.

asv's part may fail, as it does without any result of asv's own: our pages are written all the same
and say so.
"""

import importlib.util
import re
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import git
from ..errors import BenchError, UsageError
from ..history.asv_runs import asv_command, configuration
from ..history.detect import judging
from ..history.findings import findings
from ..history.forks import uncollected
from ..history.order import read_in_order
from ..history.results import Results, history
from ..history.triage import Decision, read_triage
from ..schema.record import minute, read_gate
from .asv_pages import finish_asv_pages, run_asv_publish
from .docs import Docs, write_docs
from .folder import put, scratch_beside
from .libraries import Libraries, fetch
from .pages import write_pages
from .releases import UP, read_ledgers, releases_content, site_of


def check_tools() -> None:
    """Raise UsageError where a package that publishing needs is not installed."""
    for name in ("asv", "asv_tachyon", "plotly"):
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"{name} is not installed here, and the site needs it: run `make setup`")


@uncollected()
def publish(kept: Path, root: Path | None, say: Callable[[str], None], folder: Path | None = None) -> Path:
    """Write the site over the results in `kept`, by default where asv.conf.json says; its first page.

    `root` is the checkout, which knows the history and from which asv's pages are made; without one the site
    has neither, and goes to ./html. What could not be read or made goes to `say` and onto the page. An
    earlier site stays until the new one is whole, and what publish did not write stays where it is. Raises
    UsageError where `folder` holds something and is no site of ours or cannot be written, or a tool is not
    installed.
    """
    check_tools()
    settings = {} if root is None else configuration(root)
    folder = (folder or (root or Path.cwd()) / settings.get("html_dir", "html")).absolute()
    with scratch_beside(folder) as scratch:
        page = _write(kept, root, say, Path(scratch) / "site")
        put(page.parent, folder)
    return folder / page.name


def _write(kept: Path, root: Path | None, say: Callable[[str], None], folder: Path) -> Path:
    begin = time.monotonic()
    commits = [] if root is None else history(root)
    results = read_in_order(kept, root)
    for warning in results.warnings:
        say(f"warning: {warning}")
    for damage in results.damaged_lines():
        say(f"damaged and passed over: {damage}")
    if line := results.outside_line():
        say(line)
    facts: dict[str, Any] = {}
    decisions: dict[str, Decision] = {}
    try:
        decisions = read_triage(kept)
    except UsageError as error:
        facts["triage"] = str(error)
        say(f"damaged and passed over: {error}")
    libraries = (
        Libraries(kept, "not asked outside a checkout") if root is None else fetch(root / ".asv" / "npm")
    )
    docs = Docs() if root is None else write_docs(root, folder, libraries)
    if docs.plain:
        say(f"the documents are left as Markdown: {docs.plain}")
    with judging(results, root) as judged:
        try:
            if root is None:
                raise BenchError("asv makes them in a checkout alone")
            asv = folder / "asv"
            run_asv_publish(asv_command(), root, asv)  # while forks judge
            for line in finish_asv_pages(
                asv, libraries, commits, findings(judged().change_points, decisions), results
            ):
                say(line)
        except BenchError as error:
            shutil.rmtree(folder / "asv", ignore_errors=True)
            facts |= {"asv": False, "asv_reason": str(error)}
            say(f"asv's own pages are left out: {error}")
        change_points = judged().change_points
    gates = read_gates(kept, say)
    ledgers = [] if root is None else read_ledgers(root)
    made = datetime.now(UTC)
    url = "" if root is None else commit_url(root)
    page = write_pages(
        folder,
        results,
        made,
        change_points,
        gates,
        url,
        facts,
        libraries,
        decisions,
        docs,
        releases_content(ledgers),
    )
    for one in ledgers:
        left_out = {"asv": False, "asv_reason": "`rollout-perf publish` in the ledger makes them"}
        write_pages(
            folder / site_of(one.name),
            one.results,
            made,
            one.change_points,
            facts=left_out,
            libraries=libraries,
            docs=docs.seen_from(UP),
            up=UP,
        )
    say(f"{_counted(results)}, {len(change_points)} change points, in {time.monotonic() - begin:.1f} s")
    return page


def _counted(results: Results) -> str:
    commits = {point.commit for point in results.points}
    return f"{len(results.points)} records of {len(commits)} commits"


def read_gates(folder: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """What gate runs left under results/MACHINE/gates/; what cannot be read is reported and passed over."""
    found = []
    for file in sorted(folder.glob("*/gates/*.json")):
        try:
            found.append({"machine": file.parent.parent.name, **read_gate(file.read_text())})
        except (OSError, ValueError) as error:
            say(f"damaged and passed over: {file}: {error}")
    return sorted(found, key=lambda gate: minute(gate.get("measured_at")))


def commit_url(root: Path) -> str:
    """Where a commit can be looked at, with {commit} for its hash: asv's setting, else the origin's page.

    Empty where neither has one.
    """
    given = configuration(root).get("show_commit_url", "")
    if given.startswith("http"):
        return f"{given}{{commit}}"
    remote = git.answer(root, "remote", "get-url", "origin") or ""
    host = re.fullmatch(r"(?:https://(?:[^@/]*@)?|git@|ssh://git@)([\w.-]+)[:/](.+?)(?:\.git)?/?", remote)
    return f"https://{host[1]}/{host[2]}/commit/{{commit}}" if host else ""
