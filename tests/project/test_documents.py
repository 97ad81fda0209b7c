"""What documents point at exists: links, headings, files and modules that they name.

A name may leave out the folders before it, as `transports/base.py`, and a module its .py.
"""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
REFERENCED = [*DOCUMENTS, *sorted(ROOT.glob("docs/reference/*.md"))]
SCRIPTS = [ROOT / "Makefile", *sorted(ROOT.glob(".ci/*")), *sorted(ROOT.glob(".github/workflows/*.yml"))]
IDS = {"ids": lambda path: str(path.relative_to(ROOT))}

ELSEWHERE = {
    "tests/workers/rollout/perf/vllm_async_rollout.py": "verl's",
    "my_adapter.py": "the reader's",
}
MADE = ("html/", "asv/", "gate/", ".asv/", "results/triage.json", "docs/index.html")
"""What a command makes, or the site has, begins so."""

LINK = re.compile(r"\]\(([^)\s]+)\)|(?:srcset|src)=\"([^\"]+)\"")
FILE = re.compile(r"(?<![\w./*-])[\w.-]+(?:/[\w.-]+)+\.(?:py|md|yml|json|toml|js|css|svg|png|lock|in)\b")
QUOTED = re.compile(r"`([a-z_][\w.-]*(?:/[\w.-]+)+/?|[\w-]+\.(?:py|yml|toml))`")
CELL = re.compile(r"(?<!\\)\|")
PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b(?!\.md)")


def existing() -> set[str]:
    """Every file of the checkout that git does not ignore, and every folder of one."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    files = {name for name in listed if (ROOT / name).exists()}
    return files | {str(folder) for name in files for folder in Path(name).parents}


EXISTING = existing()


def is_there(name: str) -> bool:
    """Whether a file, a folder or a module has this name, or one that ends in it."""
    wanted = name.rstrip("/").removeprefix("../")
    return any(one == end or one.endswith(f"/{end}") for one in EXISTING for end in (wanted, f"{wanted}.py"))


def named_in(text: str) -> set[str]:
    """The files and modules that a text names, of those that a checkout should have."""
    text = re.sub(r"\w+://\S+", "", text)
    names = set(FILE.findall(text)) | set(QUOTED.findall(text))
    return {
        name
        for name in names
        if name not in ELSEWHERE and not name.startswith(MADE) and not PLACEHOLDER.search(name)
    }


def headings(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, **IDS)
def test_every_link_has_its_file_and_heading(document):
    links = ["".join(found) for found in LINK.findall(document.read_text())]
    broken = []
    for link in links:
        name, _, heading = link.partition("#")
        target = document.parent / name if name else document
        if re.match(r"\w+:", link):
            continue
        if not target.exists() or (heading and heading not in headings(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, **IDS)
def test_every_column_of_a_table_has_a_title(document):
    """Who hears a table hears the titles of its cells."""
    heads = re.findall(r"^(\|.*\|)\n\|[ :|-]+\|$", document.read_text(), re.M)
    assert [head for head in heads if not all(map(str.strip, head.strip("|").split("|")))] == []


@pytest.mark.parametrize("document", REFERENCED, **IDS)
def test_every_table_has_its_head_its_rule_and_rows_as_wide(document):
    """Else it does not render: a blank line in a table ends it, and what follows is text."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)
    tables = re.findall(r"(?:^\|.*\n?)+", text, re.M)
    broken = []
    for table in tables:
        head, *rest = table.splitlines()
        widths = {len(CELL.findall(re.sub(r"`[^`]*`", "", line))) for line in (head, *rest)}
        if len(rest) < 2 or not re.fullmatch(r"(\| ?:?-+:? ?)+\|", rest[0]) or len(widths) > 1:
            broken.append(head)
    assert broken == []


@pytest.mark.parametrize("file", [*DOCUMENTS, *SCRIPTS], **IDS)
def test_every_file_that_is_named_exists(file):
    assert [name for name in sorted(named_in(file.read_text())) if not is_there(name)] == []


def test_every_file_that_a_docstring_of_a_module_names_exists():
    gone = []
    for name in sorted(one for one in EXISTING if one.endswith(".py")):
        docstring = ast.get_docstring(ast.parse((ROOT / name).read_text())) or ""
        begins_with = re.findall(r"\A([\w/]+\.py)\b", docstring)
        gone += [(name, one) for one in {*begins_with, *named_in(docstring)} if not is_there(one)]
    assert gone == []
