"""What mkdocs does to the documents beyond its settings: anchors for words, links that leave docs/, and
names for what the theme leaves without one, for those who hear a page.

mkdocs.yml names this file, and mkdocs loads it by its path.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from rollout_bench.site.docs import EXPLAIN, anchor_of, words_of
from rollout_bench.site.publish import commit_url


def on_page_markdown(markdown: str, page: Any, config: Any, **_given: Any) -> str:
    """Links that leave docs/ lead to the web page of the origin; where it has none, their text stays."""
    root = Path(config.config_file_path).parent
    commits, own, _hash = commit_url(root).partition("/commit/")
    here = posixpath.dirname(posixpath.join("docs", page.file.src_uri))

    def led(found: re.Match[str]) -> str:
        text, target = found.groups()
        file = posixpath.normpath(posixpath.join(here, target))
        if file.startswith("docs/"):
            return found[0]
        return f"[{text}]({commits}/blob/HEAD/{file})" if own else text

    return re.sub(r"\[([^\]]+)\]\((\.\./[^)\s]+)\)", led, markdown)


def on_page_content(html: str, page: Any, **_given: Any) -> str:
    """Each row of a table that explains words has an anchor."""
    if page.file.src_uri not in EXPLAIN:
        return html
    seen: set[str] = set()

    def marked(found: re.Match[str]) -> str:
        anchor = anchor_of(words_of(found[1])[0])
        fresh = anchor not in seen
        seen.add(anchor)
        return f'<tr id="{anchor}">\n<td>{found[1]}</td>' if fresh else found[0]

    return re.sub(r"<tr>\n<td>(.*?)</td>", marked, html)


_NAMELESS = {
    '<div class="md-search"': "Search",
    '<input class="md-toggle" data-md-toggle="drawer"': "Contents",
    '<input class="md-toggle" data-md-toggle="search"': "Search",
}
"""Elements of mkdocs-material 9 that have neither text nor label."""


def on_post_page(output: str, **_given: Any) -> str:
    """What the theme leaves without a name has one."""
    for element, name in _NAMELESS.items():
        output = output.replace(element, f'{element} aria-label="{name}"')
    return output
