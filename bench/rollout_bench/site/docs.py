"""The documents of a checkout as pages under FOLDER/docs, which mkdocs builds by the checkout's mkdocs.yml.

Where mkdocs is not installed, or could not build them, they lie there as the Markdown that they are written
in. Words of the site lead to their rows in the glossary and the metrics, which `mkdocs_hook` gives anchors.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..schema.metrics import METRICS
from .libraries import Libraries, copy_search
from .tool import run_tool

GLOSSARY = "glossary.md"
EXPLAIN = (GLOSSARY, "reference/metrics.md")
"""The pages whose tables explain words."""

_SECONDS = 120
_ROW = re.compile(r"^\| (?!---)(.+?) \|.*$(?!\n\| ?---)", re.MULTILINE)
"""A row of a table and its first cell; neither the head nor the line below it."""


@dataclass(frozen=True)
class Docs:
    """Where the documents are, as seen from the first page."""

    page: str = ""
    """The first of them; empty where there are none."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Where the glossary explains a word."""
    plain: str = ""
    """Why they are no pages; empty where they are."""

    def seen_from(self, up: str) -> "Docs":
        """The same for a site whose first page is in another folder; `up` leads from there to this one's."""
        words = {word: up + place for word, place in self.words.items()}
        return replace(self, page=up + self.page if self.page else "", words=words)

    def link(self, up: str = "") -> str:
        """A link for a page's header, as HTML; `up` leads to the folder of the first page."""
        return f'<a href="{up}{self.page}">Docs</a>' if self.page else ""


def write_docs(root: Path, folder: Path, libraries: Libraries | None) -> Docs:
    """Write the documents of the checkout `root` into `folder`/docs; none where it has no mkdocs.yml."""
    if not (root / "mkdocs.yml").is_file():
        return Docs()
    target = folder / "docs"
    plain = _build(root, target)
    words = explained(root / "docs")
    if plain:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(root / "docs", target, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        return Docs("docs/index.md", {word: f"docs/{page}" for word, (page, _anchor) in words.items()}, plain)
    (target / "404.html").unlink()  # a server's, for a site at its root
    copy_search(libraries, target)
    links = {
        word: f"{Path('docs', page).with_suffix('.html')}#{anchor}" for word, (page, anchor) in words.items()
    }
    return Docs("docs/index.html", links)


def explained(docs: Path) -> dict[str, tuple[str, str]]:
    """The page and the anchor of every word that a page in `docs` explains."""
    found: dict[str, tuple[str, str]] = {}
    for page in EXPLAIN:
        if (docs / page).is_file():
            for word, anchor in anchors((docs / page).read_text(encoding="utf-8")).items():
                found.setdefault(word, (page, anchor))
    return found


def _build(root: Path, target: Path) -> str:
    """Have mkdocs build the pages; why it could not, and nothing where it could."""
    if any(importlib.util.find_spec(name) is None for name in ("mkdocs", "material")):
        return "mkdocs-material is not installed here: run `make setup`"
    mkdocs = ["env", "NO_MKDOCS_2_WARNING=1", sys.executable, "-m", "mkdocs"]
    try:
        code, said = run_tool([*mkdocs, "build", "--site-dir", str(target)], root, _SECONDS)
    except subprocess.TimeoutExpired:
        return f"mkdocs was not done within {_SECONDS} s"
    wrong = [line for line in said if line.startswith(("WARNING", "ERROR"))] or said or [f"exit code {code}"]
    return f"mkdocs failed: {wrong[0]}" if code else ""


def anchors(page: str) -> dict[str, str]:
    """The anchor of its row for every word that the first column of a table has, and for the title of every
    metric. Of a word that several rows have, the first counts."""
    found: dict[str, str] = {}
    for cell in _ROW.findall(page):
        first, *others = words_of(cell)
        anchor = found.setdefault(first, anchor_of(first))
        for other in others:
            found.setdefault(other, anchor)
    for name, metric in METRICS.items():
        if name in found:
            found.setdefault(metric.title, found[name])
    return found


def words_of(cell: str) -> list[str]:
    """The words that a row explains, without what is said about them: `path, in full: backend path`."""
    plain = re.sub(r"\(.*?\)|`|<[^>]+>|\w+ \w+:", "", cell)
    return [" ".join(word.split()) for word in plain.split(",") if word.strip()]


def anchor_of(word: str) -> str:
    """The anchor of a row, by its first word."""
    return "word-" + re.sub(r"[^a-z0-9_]+", "-", word.lower()).strip("-")
