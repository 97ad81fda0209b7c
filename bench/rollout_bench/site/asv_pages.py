"""asv's own pages under FOLDER/asv: asv-tachyon as index.html, asv's classic pages as classic.html.

Both are made for a server and the classic ones for the internet too. Here they work from file://
as well: what they would fetch lies in files.js, from which offline.js answers, and the libraries
that asv's page takes from CDNs lie beside it (`libraries`). Without npm the classic page says so, and
makes no request either.
"""

import json
import re
import shutil
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from asv.graph import Graph

from ..errors import BenchError
from ..history.findings import Finding
from ..history.results import Commit, Results
from ..schema.variables import PAGES
from .asv_regressions import write_regressions
from .libraries import CLASSIC as LIBRARIES
from .libraries import Libraries
from .tool import run_tool

EXPLORER, CLASSIC = "asv/index.html", "asv/classic.html"

_BENCHMARK = re.compile(r"[\w.:-]+")
"""Names of benchmarks that asv's pages can show: what Python can name, with asv's dots."""

_TAG = re.compile(
    r"[ \t]*<(?:script|link)\b[^>]*\b(?:src|href)=\"(https?:[^\"]+)\"[^>]*>(?:</script>)?[ \t]*\n?"
)
_NO_LIBRARIES = (
    '<body><p style="font: 1rem sans-serif; margin: 2rem">asv\'s classic pages need jQuery, Flot and '
    "Bootstrap, which npm fetches when the site is written, and npm was {reason}. "
    'The <a href="index.html">explorer</a> shows the same data.</p>'
)


def run_asv_publish(asv: str, root: Path, folder: Path) -> None:
    """Have asv write its pages into `folder`. Raises BenchError with asv's words where it fails."""
    code, said = run_tool([asv, "publish", f"--html-dir={folder}"], root, variables={PAGES: "1"})
    if code:
        raise BenchError(f"asv publish failed: {said[-1] if said else f'exit code {code}'}")


def finish_asv_pages(
    folder: Path,
    libraries: Libraries,
    commits: list[Commit],
    found: Sequence[Finding],
    results: Results,
) -> list[str]:
    """Make asv's pages show what is open, and work offline; what they leave out, a line each."""
    index = json.loads((folder / "index.json").read_text())
    left_out = leave_out_markup(index)
    _leave_out_without_values(folder, index)
    left_out += write_regressions(folder, index, found, results, "../regressions.html")
    _say_which_way_is_better(index)
    (folder / "index.json").write_text(json.dumps(index))
    subjects = {commit.hash: commit.subject for commit in commits}
    (folder / "commits.json").write_text(json.dumps(subjects))
    shutil.copy2(str(files(__package__) / "static" / "offline.js"), folder / "offline.js")
    _write_classic(folder, libraries)
    _write_explorer(folder)
    _write_files(folder)
    return left_out


def leave_out_markup(index: dict[str, Any]) -> list[str]:
    """Take out of asv's index what its classic pages would read as HTML; what that was, a line each.

    They build elements from strings: with a benchmark's name, also within quotes, its unit, its parameters,
    the names and facts of machines, and tags. Code, where a "<" is common, keeps it as a letter that
    looks like one.
    """
    said = []
    benchmarks: dict[str, dict[str, Any]] = index["benchmarks"]
    for name, benchmark in list(benchmarks.items()):
        if isinstance(benchmark.get("code"), str):
            benchmark["code"] = benchmark["code"].replace("<", "\uff1c")
        if not _BENCHMARK.fullmatch(name) or benchmark.get("name") != name or _has_markup(benchmark):
            said.append(f"the benchmark {_shown(name)}")
            del benchmarks[name]
    for part in ("machines", "tags"):
        for name in [name for name, facts in index[part].items() if _has_markup([name, facts])]:
            said.append(f"the {part[:-1]} {_shown(name)}")
            del index[part][name]
    for name, values in list(index["params"].items()):
        if _has_markup(name):
            said.append(f"the parameter {_shown(name)}")
            del index["params"][name]
            continue
        said += [f"the {name} {_shown(value)}" for value in values if _has_markup(value)]
        index["params"][name] = [value for value in values if not _has_markup(value)]
    index["graph_param_list"] = [one for one in index["graph_param_list"] if not _has_markup(one)]
    why = "it has letters that they would read as HTML"
    return [f"asv's own pages leave out {one}: {why}" for one in dict.fromkeys(said)]


def _has_markup(content: Any) -> bool:
    if isinstance(content, dict):
        return any(map(_has_markup, [*content, *content.values()]))
    if isinstance(content, list):
        return any(map(_has_markup, content))
    return isinstance(content, str) and "<" in content


def _shown(name: Any) -> str:
    return ascii(name)


def _leave_out_without_values(folder: Path, index: dict[str, Any]) -> None:
    """Take benchmarks without any value out of asv's index, and what is not in it out of asv's lists."""
    benchmarks = index["benchmarks"]
    for name in list(benchmarks):
        summary = folder / f"{Graph.get_file_path({'summary': ''}, name)}.json"
        values = json.loads(summary.read_text()) if summary.is_file() else []
        if all(value is None for _revision, value in values):
            del benchmarks[name]
    for file in folder.glob("graphs/**/summary.json"):
        rows = json.loads(file.read_text())
        file.write_text(json.dumps([row for row in rows if row["name"] in benchmarks]))


def _say_which_way_is_better(index: dict[str, Any]) -> None:
    """asv-tachyon takes what track_ methods return as higher-is-better unless data say otherwise."""
    for benchmark in index["benchmarks"].values():
        benchmark["less_is_better"] = True


def _write_explorer(folder: Path) -> None:
    """asv-tachyon's page over asv's data, its module as a plain script: file:// allows no modules."""
    static = files("asv_tachyon") / "static"
    with as_file(static) as source:
        shutil.copytree(source / "assets", folder / "assets", dirs_exist_ok=True)
        shutil.copy2(source / "favicon.svg", folder / "favicon.svg")
        page = (source / "index.html").read_text()
    scripts = re.findall(r'<script type="module"[^>]*src="\./assets/([^"]+)"></script>', page)
    if len(scripts) != 1:
        raise BenchError("asv-tachyon's page is not as it was: one module script was expected")
    bundle = folder / "assets" / scripts[0]
    bundle.write_text(f'(function () {{\n"use strict";\n{bundle.read_text()}\n}})();\n')
    page = re.sub(r'<script type="module"[^>]*></script>', "", page).replace(" crossorigin", "")
    tags = f'<script src="./offline.js"></script><script src="./assets/{bundle.name}"></script>'
    page = page.replace("</body>", f"{tags}</body>")
    (folder / "index.html").write_text(page)


def _write_classic(folder: Path, fetched: Libraries) -> None:
    """asv's index.html as classic.html, with libraries beside it instead of on CDNs."""
    page = (folder / "index.html").read_text()
    if fetched.absent is None:
        libraries = folder / "libraries"
        libraries.mkdir()
        shutil.copytree(fetched.folder / "bootstrap" / "dist" / "fonts", folder / "fonts")

        def local(tag: re.Match[str]) -> str:
            name = urlsplit(tag[1]).path.rpartition("/")[2]
            if name not in LIBRARIES:
                raise BenchError(f"asv's page asks for {tag[1]}, which npm/package.json does not have")
            shutil.copy2(fetched.folder / LIBRARIES[name], libraries / name)
            if name.endswith(".css"):
                return f'    <link rel="stylesheet" href="libraries/{name}">\n'
            return f'    <script src="libraries/{name}"></script>\n'

        page = _TAG.sub(local, page)
        page = page.replace('src="asv.js"', 'src="offline.js"></script><script src="asv.js"')
    else:
        page = re.sub(r"[ \t]*<script\b.*?</script>[ \t]*\n?", "", page, flags=re.DOTALL)
        page = _TAG.sub("", page).replace("<body>", _NO_LIBRARIES.format(reason=fetched.absent))
    (folder / "classic.html").write_text(page)


def _write_files(folder: Path) -> None:
    """Everything that the two pages fetch, as a script: file:// allows no fetching."""
    paths: list[Path] = [*folder.glob("*.json"), *folder.glob("graphs/**/*.json")]
    with (folder / "files.js").open("w") as out:
        out.write("window.ASV_FILES = {\n")
        for path in sorted(paths):
            content: Any = path.read_text()
            out.write(f"{json.dumps(str(path.relative_to(folder)))}: {content},\n")
        out.write("};\n")
