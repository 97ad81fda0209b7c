"""Libraries of the pages, fetched once by the lock in npm/: Plotly's basic bundle, what asv's pages and the
documents' search take, and axe, with which tests/site/test_browser.py examines the pages.

Where npm could not, asv's classic pages say so, and charts are drawn by what the plotly package has: the same
library with every kind of chart, five times as large.
"""

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from .tool import run_tool

PLOTLY = "plotly.min.js"
_BASIC = "plotly.js-basic-dist-min/plotly-basic.min.js"
_SEARCH = "iframe-worker/shim/index.js"
"""With it the search of the documents works where a page was opened as a file."""
CLASSIC = {
    "jquery-3.3.1.min.js": "jquery/dist/jquery.min.js",
    "jquery.flot.min.js": "flot/jquery.flot.js",
    "jquery.flot.time.min.js": "flot/jquery.flot.time.js",
    "jquery.flot.selection.min.js": "flot/jquery.flot.selection.js",
    "jquery.flot.categories.min.js": "flot/jquery.flot.categories.js",
    "jquery.flot.orderBars.js": "flot-orderbars/js/jquery.flot.orderBars.js",
    "stupidtable.min.js": "stupid-table-plugin/stupidtable.min.js",
    "md5.min.js": "blueimp-md5/js/md5.min.js",
    "bootstrap.min.js": "bootstrap/dist/js/bootstrap.min.js",
    "bootstrap.min.css": "bootstrap/dist/css/bootstrap.min.css",
}
"""Where npm's packages have what asv's page asks CDNs for, by the last part of its address."""


@dataclass(frozen=True)
class Libraries:
    """What npm has fetched."""

    folder: Path
    """Its node_modules."""
    absent: str | None
    """Why it could not, as in "npm was ..."; None where all is there."""


def fetch(npm: Path) -> Libraries:
    """Have npm put the libraries into `npm`, unless they are there."""
    return Libraries(npm / "node_modules", _fetch(npm))


def copy_plotly(libraries: Libraries | None, folder: Path) -> None:
    """Put the charts' library into a folder."""
    if libraries is not None and libraries.absent is None:
        shutil.copy2(libraries.folder / _BASIC, folder / PLOTLY)
        return
    with as_file(files("plotly") / "package_data" / PLOTLY) as whole:
        shutil.copy2(whole, folder / PLOTLY)


def copy_search(libraries: Libraries | None, docs: Path) -> None:
    """Put what the documents' search takes where mkdocs.yml says; without npm it needs a server."""
    if libraries is not None and libraries.absent is None:
        shutil.copy2(libraries.folder / _SEARCH, docs / "assets" / "iframe-worker.js")


def _fetch(npm: Path) -> str | None:
    lock = (files(__package__) / "npm" / "package-lock.json").read_text()
    have = npm / "node_modules" / "have.json"
    if have.is_file() and have.read_text() == lock and not _missing(npm):
        return None
    if shutil.which("npm") is None:
        return "not installed"
    npm.mkdir(parents=True, exist_ok=True)
    (npm / "package-lock.json").write_text(lock)
    (npm / "package.json").write_text((files(__package__) / "npm" / "package.json").read_text())
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    try:
        code, _said = run_tool(command, npm, 120)
    except subprocess.TimeoutExpired:
        return "not done within two minutes"
    if code:
        return f"not able to (exit code {code})"
    if missing := _missing(npm):  # it has ended in the middle with exit code 0, on a busy machine
        return f"done without {', '.join(missing)}"
    have.write_text(lock)
    return None


def _missing(npm: Path) -> list[str]:
    needed: Iterable[str] = (*CLASSIC.values(), _BASIC, _SEARCH)
    return [name for name in needed if not (npm / "node_modules" / name).is_file()]
