"""The documents as pages: each is in mkdocs' nav, words of the site have their row in the glossary."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from rollout_bench.report.table import table
from rollout_bench.site import docs
from rollout_bench.site.docs import Docs, anchors, write_docs

ROOT = Path(__file__).resolve().parents[2]
STATIC = Path(docs.__file__).parent / "static"
GLOSSARY = """# Glossary

| word | meaning |
|---|---|
| path, in full: backend path | x |
| case (was: cell) | x |
| `zmq` | x |
"""


def test_every_document_is_in_the_nav():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    named = re.findall(r"[\w/-]+\.md", str(nav))
    assert sorted(named) == sorted(str(one.relative_to(ROOT / "docs")) for one in ROOT.glob("docs/**/*.md"))


def test_words_have_the_anchor_of_their_row():
    rows = table(["metric", "called"], [["`step_seconds`", "step time"]], markdown=True)
    assert anchors(GLOSSARY + f"\n{rows}\n") == {
        "path": "word-path",
        "backend path": "word-path",
        "case": "word-case",
        "zmq": "word-zmq",
        "step_seconds": "word-step_seconds",
        "step time": "word-step_seconds",
    }


def test_the_glossary_has_every_word_that_a_page_links_to_it():
    pages = "".join(page.read_text() for page in STATIC.glob("*.html"))
    asked = set(re.findall('data-word="(.+?)"', pages))
    assert len(asked) > 8
    assert asked - docs.explained(ROOT / "docs").keys() == set()


def test_without_mkdocs_the_site_links_to_the_markdown(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    made = write_docs(ROOT, tmp_path, None)
    assert made.plain == "mkdocs-material is not installed here: run `make setup`"
    assert set(made.words.values()) == {f"docs/{page}" for page in docs.EXPLAIN}
    assert made.link("../") == '<a href="../docs/index.md">Docs</a>'
    assert (tmp_path / made.page).is_file()
    assert (tmp_path / "docs" / "pictures" / "architecture.svg").is_file()
    assert not list(tmp_path.rglob("*.py"))


def test_a_repository_without_documents_has_none(tmp_path):
    assert write_docs(tmp_path, tmp_path / "site", None) == Docs()
    assert Docs().link() == ""


def test_mkdocs_builds_them_with_every_link_and_no_request(tmp_path):
    """Strictly: a link or an anchor that is not there fails the build."""
    pytest.importorskip("mkdocs")
    made = write_docs(ROOT, tmp_path, None)
    assert made.plain == ""
    for name in docs.EXPLAIN:
        page = f"docs/{Path(name).with_suffix('.html')}"
        anchors_there = set(re.findall('<tr id="(.+?)">', (tmp_path / page).read_text()))
        links = [link.partition("#") for link in made.words.values()]
        assert {anchor for its, _, anchor in links if its == page} == anchors_there
    pages = "".join(page.read_text() for page in tmp_path.rglob("*.html"))
    assert re.findall(r'<(?:script|link|img)\b[^>]*(?:src|href)="(https?:[^"]+)', pages) == []
    assert re.findall(r'href="[./]*(?:SECURITY|tracked\.toml|\.github)[^"]+', pages) == []


def test_documents_that_mkdocs_cannot_build_are_markdown_and_why_is_said(tmp_path):
    pytest.importorskip("mkdocs")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "glossary.md").write_text(f"{GLOSSARY}\n[gone](gone.md)\n")
    (tmp_path / "mkdocs.yml").write_text("site_name: x\nstrict: true\n")
    made = write_docs(tmp_path, tmp_path / "html", None)
    assert re.match("mkdocs failed: WARNING.*gone.md", made.plain)
    assert (tmp_path / "html" / "docs" / "glossary.md").is_file()
