"""asv's own pages under FOLDER/asv: asv-tachyon as index.html, asv's classic pages as classic.html.

Both are made for a server and the classic ones for the internet too. Here they work from file://
as well: what they would fetch lies in files.js, from which offline.js answers, and the libraries
that asv's page takes from CDNs come from npm's lock in classic/, once, into .asv/npm. Without npm
the classic page says so, and makes no request either.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .. import git
from ..errors import BenchError
from ..history.detect import ChangePoint
from ..history.results import Commit, Results
from .asv_regressions import write_regressions

EXPLORER, CLASSIC = "asv/index.html", "asv/classic.html"

_LIBRARIES = {
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
    code, said = _run([asv, "publish", f"--html-dir={folder}"], root)
    if code:
        raise BenchError(f"asv publish failed: {said[-1] if said else f'exit code {code}'}")


def finish_asv_pages(
    root: Path, folder: Path, commits: list[Commit], change_points: Sequence[ChangePoint], results: Results
) -> list[str]:
    """Make asv's pages show what `detect` has found, and work offline; what they leave out, a line each."""
    index = json.loads((folder / "index.json").read_text())
    left_out = leave_out_markup(index)
    left_out += write_regressions(folder, index, change_points, results)
    _say_which_way_is_better(index)
    (folder / "index.json").write_text(json.dumps(index))
    subjects = {commit.hash: commit.subject for commit in commits}
    (folder / "commits.json").write_text(json.dumps(subjects))
    shutil.copy2(str(files(__package__) / "static" / "offline.js"), folder / "offline.js")
    _write_classic(folder, root / ".asv" / "npm")
    _write_explorer(folder)
    _write_files(folder)
    return left_out


def _run(command: list[str], folder: Path, seconds: float | None = None) -> tuple[int, list[str]]:
    """The exit code of a tool, and the lines that it has printed.

    It has a process group of its own: where it takes too long or this is interrupted, its forks end too.
    """
    with subprocess.Popen(
        command,
        cwd=folder,
        env=git.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            printed, _ = process.communicate(timeout=seconds)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, printed.strip().splitlines()


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


def _write_classic(folder: Path, npm: Path) -> None:
    """asv's index.html as classic.html, with libraries beside it instead of on CDNs."""
    page = (folder / "index.html").read_text()
    reason = _fetch(npm)
    if reason is None:
        libraries = folder / "libraries"
        libraries.mkdir()
        shutil.copytree(npm / "node_modules" / "bootstrap" / "dist" / "fonts", folder / "fonts")

        def local(tag: re.Match[str]) -> str:
            name = urlsplit(tag[1]).path.rpartition("/")[2]
            if name not in _LIBRARIES:
                raise BenchError(f"asv's page asks for {tag[1]}, which classic/package.json does not have")
            shutil.copy2(npm / "node_modules" / _LIBRARIES[name], libraries / name)
            if name.endswith(".css"):
                return f'    <link rel="stylesheet" href="libraries/{name}">\n'
            return f'    <script src="libraries/{name}"></script>\n'

        page = _TAG.sub(local, page)
        page = page.replace('src="asv.js"', 'src="offline.js"></script><script src="asv.js"')
    else:
        page = re.sub(r"[ \t]*<script\b.*?</script>[ \t]*\n?", "", page, flags=re.DOTALL)
        page = _TAG.sub("", page).replace("<body>", _NO_LIBRARIES.format(reason=reason))
    (folder / "classic.html").write_text(page)


def _fetch(npm: Path) -> str | None:
    """Have npm put the libraries into `npm`, unless they are there; why it could not."""
    lock = (files(__package__) / "classic" / "package-lock.json").read_text()
    have = npm / "node_modules" / "have.json"
    if have.is_file() and have.read_text() == lock and not _absent(npm):
        return None
    if shutil.which("npm") is None:
        return "not installed"
    npm.mkdir(parents=True, exist_ok=True)
    (npm / "package-lock.json").write_text(lock)
    (npm / "package.json").write_text((files(__package__) / "classic" / "package.json").read_text())
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    try:
        code, _said = _run(command, npm, 120)
    except subprocess.TimeoutExpired:
        return "not done within two minutes"
    if code:
        return f"not able to (exit code {code})"
    if absent := _absent(npm):  # it has ended in the middle with exit code 0, on a busy machine
        return f"done without {', '.join(absent)}"
    have.write_text(lock)
    return None


def _absent(npm: Path) -> list[str]:
    return [name for name in _LIBRARIES.values() if not (npm / "node_modules" / name).is_file()]


def _write_files(folder: Path) -> None:
    """Everything that the two pages fetch, as a script: file:// allows no fetching."""
    paths: list[Path] = [*folder.glob("*.json"), *folder.glob("graphs/**/*.json")]
    with (folder / "files.js").open("w") as out:
        out.write("window.ASV_FILES = {\n")
        for path in sorted(paths):
            content: Any = path.read_text()
            out.write(f"{json.dumps(str(path.relative_to(folder)))}: {content},\n")
        out.write("};\n")
