"""site/publish.py: one folder, ours and asv's; what is missing or damaged is reported, never fatal."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from leaks import eventually, lives
from rollout_bench.errors import UsageError
from rollout_bench.history.results import read_results
from rollout_bench.site import asv_pages, libraries
from rollout_bench.site.publish import commit_url, publish, read_gates
from rollout_bench.site.tool import run_tool
from simulated import MACHINE, write_asv, write_records, write_repository

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path):
    """A checkout of two commits without any result."""
    folder = tmp_path / "checkout"
    commits = write_repository(folder, 2)
    shutil.copy2(ROOT / "asv.conf.json", folder / "asv.conf.json")
    return folder, commits


@pytest.fixture(scope="module")
def slowed(tmp_path_factory):
    """A published checkout: asv finds a step in both series; the records have one, in zmq, elsewhere."""
    folder = tmp_path_factory.mktemp("slowed") / "checkout"
    commits = write_repository(folder, 14)
    shutil.copy2(ROOT / "asv.conf.json", folder / "asv.conf.json")
    paths = {"sync": 1.0, "zmq": 1.0}
    write_records(
        folder / "results", commits, [8], paths, ["step_seconds"],
        slower=lambda path, batch, number: 1.5 if path == "zmq" and number >= 7 else 1.0,
    )  # fmt: skip
    [fingerprint] = {
        point.record.workload["fingerprint"] for point in read_results(folder / "results").points
    }
    write_asv(
        folder / "results", commits, 2, slower=lambda number: 1.5 if number >= 5 else 1.0,
        version=f"1-{fingerprint}", param_names=["path", "batch"], params=[["'sync'", "'zmq'"], ["8"]],
    )  # fmt: skip
    return folder, commits, publish(folder / "results", folder, say=lambda text: None)


def front(folder):
    text = (folder / "html" / "data" / "front.js").read_text()
    return json.loads(text.removeprefix("RP.front = ").rstrip(";\n"))


def test_the_folder_has_ours_and_asvs_pages_and_no_address_elsewhere(slowed):
    folder, _commits, page = slowed
    assert page == folder / "html" / "index.html"
    content = front(folder)
    assert (content["asv"], content["records"], len(content["commits"]["hash"])) == (True, 28, 14)
    index = json.loads((folder / "html" / "asv" / "index.json").read_text())
    assert [one["less_is_better"] for one in index["benchmarks"].values()] == [True]
    for html in ("index.html", "asv/index.html", "asv/classic.html"):
        text = (folder / "html" / html).read_text()
        assert "://" not in text.replace("https://github.com/airspeed-velocity/asv/", "")  # a link, no load
    files = (folder / "html" / "asv" / "files.js").read_text()
    assert '"index.json": {' in files
    assert '"graphs/' in files
    publish(folder / "results", folder, say=lambda text: None)  # over the one that is there


def test_without_javascript_the_page_says_what_it_needs_and_shows_the_main_table(slowed):
    _folder, _commits, page = slowed
    plain = page.read_text().partition("<noscript>\n")[2].partition("</noscript>")[0]
    assert "This page needs JavaScript" in plain
    assert re.search(r'<th scope="row">zmq</th><td>3\d\d ms</td>', plain)


def test_asvs_pages_are_not_given_benchmarks_without_any_value(tmp_path):
    graphs = tmp_path / "graphs"
    rows = {"summary/a.json": [[1, 0.5], [2, None]], "summary/b.json": [[1, None]]}
    rows["machine-x/summary.json"] = [{"name": name} for name in "abc"]
    for name, content in rows.items():
        (graphs / name).parent.mkdir(parents=True, exist_ok=True)
        (graphs / name).write_text(json.dumps(content))
    index = {"benchmarks": {name: {} for name in "abc"}}
    asv_pages._leave_out_without_values(tmp_path, index)
    assert list(index["benchmarks"]) == ["a"]
    assert json.loads((graphs / "machine-x" / "summary.json").read_text()) == [{"name": "a"}]


def test_the_forks_of_a_tool_end_with_it(tmp_path):
    """asv publishes with a pool of its own, whose processes outlived asv."""
    with pytest.raises(subprocess.TimeoutExpired):
        run_tool(["sh", "-c", "sleep 60 & echo $! > pid; wait"], tmp_path, 1.0)
    assert eventually(lambda: not lives(int((tmp_path / "pid").read_text())))


def test_asvs_regressions_and_feed_are_what_detect_finds(slowed):
    _folder, commits, page = slowed
    asv = page.parent / "asv"
    [row] = json.loads((asv / "regressions.json").read_text())["regressions"]
    name, graph, _parameters, number, last, best, [[before, after, *_values]] = row
    assert name.startswith("rollout.Simulated.track_step_seconds('zmq', 8), ")
    assert number == 1
    assert last / best == pytest.approx(1.5, rel=0.02)
    revisions = json.loads((asv / "index.json").read_text())["revision_to_hash"]
    assert [revisions[str(one)] for one in (before, after)] == [commits[6].hash, commits[7].hash]
    assert (asv / graph).is_file()
    assert '"regressions.json": {"regressions": [["rollout.Sim' in (asv / "files.js").read_text()
    name = f"{commits[6].hash[:8]}..{commits[7].hash[:8]}"
    for folder, page in ((asv, "../regressions.html"), (asv.parent, "regressions.html")):
        [entry] = ElementTree.parse(folder / "regressions.xml").iter("{http://www.w3.org/2005/Atom}entry")
        [link] = entry.iter("{http://www.w3.org/2005/Atom}link")
        assert link.attrib["href"] == f"{page}#{name}"
        assert (folder / page).is_file()


def plain_publish(root, pages, **variables):
    return subprocess.run(
        [sys.executable, "-m", "asv", "publish", f"--html-dir={pages}"],
        cwd=root, env=os.environ | variables, capture_output=True, text=True,
    )  # fmt: skip


def test_plain_asv_publish_lists_what_detect_finds_and_nothing_of_asvs_own_rule(slowed, tmp_path):
    root, commits, _page = slowed
    assert plain_publish(root, tmp_path / "html").returncode == 0
    [row] = json.loads((tmp_path / "html" / "regressions.json").read_text())["regressions"]
    assert row[0].startswith("rollout.Simulated.track_step_seconds('zmq', 8), ")
    revisions = json.loads((tmp_path / "html" / "index.json").read_text())["revision_to_hash"]
    [[before, after, *_values]] = row[-1]
    assert [revisions[str(one)] for one in (before, after)] == [commits[6].hash, commits[7].hash]
    feed = ElementTree.parse(tmp_path / "html" / "regressions.xml")
    [link] = feed.iterfind("{*}entry/{*}link")
    assert link.attrib["href"] == "index.html#regressions"


def test_plain_asv_publish_says_in_a_line_what_it_lacks(slowed, tmp_path):
    (tmp_path / "scipy.py").write_text("raise ImportError('no scipy here')")
    done = plain_publish(slowed[0], tmp_path / "html", PYTHONPATH=str(tmp_path))
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "no scipy here, which `rollout-perf detect` needs: run `make setup`" in said
    assert "Traceback" not in said


def test_the_badge_says_how_many_regressions_are_open(slowed):
    folder = slowed[2].parent
    badge = json.loads((folder / "badge.json").read_text())
    assert (badge["schemaVersion"], badge["message"]) == (1, "1 open regression")
    assert ElementTree.parse(folder / "badge.svg").getroot().attrib["aria-label"].endswith(badge["message"])


def test_what_is_decided_is_not_open_any_more(slowed, tmp_path):
    root, commits, _page = slowed
    results = tmp_path / "results"
    shutil.copytree(root / "results", results)
    name = f"{commits[6].hash[:8]}..{commits[7].hash[:8]}"
    (results / "triage.json").write_text(json.dumps({name: {"state": "expected", "on": "2026-01-01"}}))
    folder = publish(results, root, say=lambda text: None, folder=tmp_path / "html").parent
    assert json.loads((folder / "badge.json").read_text())["message"] == "no open regression"
    assert "Regressions (0 open)" in (folder / "index.html").read_text()
    assert json.loads((folder / "asv" / "regressions.json").read_text()) == {"regressions": []}
    said = []
    (results / "triage.json").write_text(json.dumps({name: {"state": "expected", "on": "x", "who": "me"}}))
    publish(results, root, say=said.append, folder=tmp_path / "html")
    [line] = [line for line in said if "triage.json" in line]
    assert line.startswith("damaged and passed over: ")
    assert "unknown key 'who'" in line
    assert "unknown key" in (folder / "data" / "regressions.js").read_text()


@pytest.mark.parametrize(
    ("ends", "reason"),
    [("exit 3", "npm was not able to (exit code 3)"), ("mkdir node_modules", "npm was done without jquery/")],
)
def test_what_npm_could_not_fetch_is_said_on_the_classic_page(ends, reason, tmp_path, monkeypatch):
    """npm ends with 0 in the middle of its work now and then."""
    tool = tmp_path / "bin" / "npm"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n{ends}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)
    (tmp_path / "index.html").write_text("<body></body>")
    fetched = libraries.fetch(tmp_path / "npm")
    asv_pages._write_classic(tmp_path, fetched)
    assert reason in (tmp_path / "classic.html").read_text()
    assert not (tmp_path / "npm" / "node_modules" / "have.json").exists()
    libraries.copy_plotly(fetched, tmp_path)  # then charts are drawn by the plotly package's
    assert (tmp_path / "plotly.min.js").stat().st_size > 3_000_000


def test_without_results_the_page_says_so(checkout):
    folder, _commits = checkout
    reported = []
    publish(folder / "results", folder, say=reported.append)
    content = front(folder)
    assert (content["records"], content["asv"]) == (0, False)
    assert content["asv_reason"]
    assert any("asv's own pages are left out" in line for line in reported)


def test_damaged_files_are_reported_and_the_rest_is_published(checkout):
    folder, commits = checkout
    write_records(folder / "results", commits, batches=[8], gpu=False)
    (folder / "results" / MACHINE / "records" / "00000000-env-x.jsonl").write_text("{")
    (folder / "results" / MACHINE / "gates").mkdir()
    (folder / "results" / MACHINE / "gates" / "x.json").write_text("{")
    reported = []
    publish(folder / "results", folder, say=reported.append)
    content = front(folder)
    assert content["records"] == 10
    assert "00000000-env-x.jsonl:1" in content["damaged"][0]
    assert content["machines_without_gpu"] == [MACHINE]
    assert sum("damaged and passed over" in line for line in reported) == 2


def test_an_earlier_site_stays_where_the_new_one_cannot_be_written(checkout, monkeypatch):
    folder, _commits = checkout
    publish(folder / "results", folder, say=lambda text: None)
    (folder / "html" / "index.html").write_text("an earlier site")
    before = {path.name for path in folder.iterdir()}
    monkeypatch.setattr("rollout_bench.site.publish.write_pages", None)
    with pytest.raises(TypeError):
        publish(folder / "results", folder, say=lambda text: None)
    assert (folder / "html" / "index.html").read_text() == "an earlier site"
    assert {path.name for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("https://github.com/a/b.git", "https://github.com/a/b/commit/{commit}"),
        ("git@github.com:a/b.git", "https://github.com/a/b/commit/{commit}"),
        ("https://user:word@host.org/a/b", "https://host.org/a/b/commit/{commit}"),
        ("/some/folder", ""),
        (None, ""),
    ],
)
def test_commits_are_linked_where_the_origin_has_pages(remote, url, checkout):
    folder, _commits = checkout
    if remote:
        subprocess.run(["git", "-C", folder, "remote", "add", "origin", remote], check=True)
    assert commit_url(folder) == url


def test_a_tool_that_is_not_installed_is_named_before_anything_is_removed(checkout, monkeypatch):
    folder, _commits = checkout
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "plotly" else find(name, *rest)
    )
    (folder / "html").mkdir()
    (folder / "html" / "index.html").write_text("an earlier site")
    with pytest.raises(UsageError, match="plotly is not installed"):
        publish(folder / "results", folder, say=print)
    assert (folder / "html" / "index.html").exists()


def test_without_npm_the_classic_page_says_so_and_asks_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(libraries.shutil, "which", lambda name: None)
    page = '<html><head><script src="https://cdn.x/jquery.js"></script></head><body><p>x</p></body></html>'
    (tmp_path / "index.html").write_text(page)
    asv_pages._write_classic(tmp_path, libraries.fetch(tmp_path / "npm"))
    text = (tmp_path / "classic.html").read_text()
    assert "npm was not installed" in text
    assert "://" not in text


def test_every_library_that_asvs_page_asks_for_is_in_the_lock():
    """asv asks CDNs; a version of asv that asks for something else must be noticed here."""
    import asv

    page = (Path(asv.__file__).parent / "www" / "index.html").read_text()
    asked = {url.rpartition("/")[2] for url in asv_pages._TAG.findall(page)}
    assert asked == set(libraries.CLASSIC)
    lock = json.loads((Path(asv_pages.__file__).parent / "npm" / "package-lock.json").read_text())
    for file in (*libraries.CLASSIC.values(), libraries._BASIC):
        assert lock["packages"][f"node_modules/{file.partition('/')[0]}"]["integrity"].startswith("sha512-")


def test_gates_are_in_the_order_of_time_whatever_the_zone_and_odd_ones_are_named(tmp_path):
    folder, said = tmp_path / "box" / "gates", []
    folder.mkdir(parents=True)
    good = {"base": "a" * 40, "head": "b" * 40, "verdicts": []}
    times = {"later": "2026-01-01T00:30:00-08:00", "first": "2026-01-01T07:00:00+00:00", "none": "yesterday"}
    for name, given in times.items():
        (folder / f"{name}.json").write_text(json.dumps(good | {"measured_at": given}))
    verdict = {"verdict": "worse", "ratio": float("nan")}
    odd = ["[]", "[" * 100_000, json.dumps({"base": "a"}), json.dumps(good | {"verdicts": [verdict]})]
    for number, text in enumerate(odd):
        (folder / f"{number}.json").write_text(text)
    read = read_gates(tmp_path, said.append)
    assert [gate["measured_at"] for gate in read] == [times["none"], times["first"], times["later"]]
    assert [line.partition(".json: ")[0] for line in said] == [
        f"damaged and passed over: {folder}/{number}" for number in range(len(odd))
    ]
