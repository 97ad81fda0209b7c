"""The site in a real browser, opened as files: no error, no request elsewhere, every chart, every promise."""

import csv
import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from browser import open_browser, why_no_browser
from release_site import write_site
from rollout_bench.history.detect import find_change_points
from rollout_bench.history.results import Commit, read_results
from rollout_bench.site.link import link
from rollout_bench.site.pages import write_pages
from rollout_bench.site.publish import publish
from simulated import MACHINE, PATHS, write_records, write_session

ROOT = Path(__file__).resolve().parents[2]
REASON = why_no_browser()
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
]

LOCAL = ("file:", "data:", "blob:")
NASTY = '<img src=x onerror="window.pwned=1">'
BARE = "bare"
H200 = "#machine=h200-1x"
AXE = ROOT / ".asv" / "npm" / "node_modules" / "axe-core" / "axe.min.js"
COMMITS = [Commit(f"{number:x}" * 40, f"change {number} {NASTY}", 1_700_000_000) for number in range(1, 15)]


SCREEN = {"width": 1280, "height": 720}


@pytest.fixture(scope="module")
def tab_and_wrong():
    """A tab, and what went wrong in it. One for all tests: another would compile the scripts anew."""
    wrong: list[str] = []
    with open_browser() as browser:
        tab = browser.new_page()
        tab.set_default_timeout(30_000)
        tab.on("console", lambda message: wrong.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        tab.on("request", lambda asked: asked.url.startswith(LOCAL) or wrong.append(asked.url))
        yield tab, wrong


@pytest.fixture
def visit(tab_and_wrong):
    """Opens a page in the place of the one before, as if none had been; after the test: nothing on the
    console, no error, no request but for files."""
    tab, wrong = tab_and_wrong
    wrong.clear()

    def opened(
        page: Path,
        address: str = "",
        ready: str = "body[data-drawn=all]",
        viewport=SCREEN,
        color_scheme="light",
    ):
        tab.goto("about:blank")  # another address of the same page would not load it
        tab.set_viewport_size(viewport)
        tab.emulate_media(media="screen", color_scheme=color_scheme)
        tab.goto(page.as_uri() + address)
        tab.wait_for_selector(ready, state="attached")
        return tab

    yield opened
    if tab.url.startswith("file:"):  # what was to be opened is there
        tab.evaluate("localStorage.clear()")
    assert wrong == []


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """The site over the committed results of the GPU machine, whatever was measured here since."""
    checkout = tmp_path_factory.mktemp("committed") / "checkout"
    subprocess.run(["git", "clone", "-q", "--shared", str(ROOT), str(checkout)], check=True)
    subprocess.run(["git", "checkout", "-q", "-B", "main"], cwd=checkout, check=True)  # asv asks for it
    (ROOT / ".asv").mkdir(exist_ok=True)
    (checkout / ".asv").symlink_to(ROOT / ".asv")  # which has what npm has fetched
    return publish(checkout / "results", checkout, say=print)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A site with everything a record may have, two workloads, a change, a bump, and HTML in every name."""
    folder = tmp_path_factory.mktemp("simulated")
    paths = PATHS | {NASTY: 1.2}

    def slower(path, batch, number):
        return 1.3 if path == "zmq" and number >= 8 else 1.0

    def versions(number):
        return {"vllm": "0.27.0" if number >= 8 else f"0.26.0{NASTY}"}

    write_records(folder / "results", COMMITS, [8, 64], paths, slower=slower, versions=versions)
    metrics = ["step_seconds", "engine_step_seconds"]
    write_records(
        folder / "results", COMMITS, [8], metrics=metrics, workload=NASTY, machine="bare", gpu=False
    )
    records = folder / "results" / MACHINE / "records"
    newest = next(records.glob(f"{COMMITS[-1].hash[:8]}*"))
    broken = [json.loads(line) for line in newest.read_text().splitlines()]
    for record in broken:
        if record["path"] == "vllm-ray":
            record |= {"status": "failed", "reason": f"it broke {NASTY}\nTraceback", "metrics": {}}
    newest.write_text("\n".join(map(json.dumps, broken)))
    (records / "ffffffff-env-x.jsonl").write_text(NASTY)
    results = read_results(folder / "results", COMMITS)
    found_points = find_change_points(results, metrics=["step_seconds", "engine_step_seconds"])
    zmq = {"path": "zmq", "batch": 8, "preset": "simulated", "metric": "step_seconds"}
    verdict = zmq | {"verdict": "worse", "ratio": 1.29, "interval": [1.25, 1.33], "detectable": 0.02}
    gate = {
        "machine": MACHINE,
        "base": COMMITS[7].hash,
        "head": COMMITS[8].hash,
        "command": "rollout-perf gate",
        "measured_at": "2026-01-01",
        "verdicts": [verdict],
    }
    page = write_pages(
        folder / "html", results, datetime.now(UTC), found_points, [gate], facts={"asv": False}
    )
    return page, found_points


UNFOLDED = """async () => {
  const folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach((one) => (one.open = true));
  const found = await axe.run({preload: false, resultTypes: ["violations"]});
  folded.forEach((one) => (one.open = false));
  return found;
}"""


def barriers(tab):
    """What keeps people from reading the page, by axe with everything unfolded."""
    if not AXE.is_file():
        pytest.skip("npm could not fetch axe-core")
    tab.evaluate(AXE.read_text())
    found = tab.evaluate(UNFOLDED)["violations"]
    return [(one["id"], node["html"]) for one in found for node in one["nodes"]]


def charts(tab):
    """Ids of the charts that are drawn and shown."""
    return tab.evaluate(
        "[...document.querySelectorAll('.chart[data-drawn]')].filter(c => !c.hidden).map(c => c.id)"
    )


def text(tab, selector):
    return " ".join(tab.inner_text(selector).split())


def follow(tab, link):
    """Follows a link until what it leads to is drawn: of the same page, the event comes after the click."""
    tab.evaluate("delete document.body.dataset.drawn")
    link.click()
    tab.wait_for_selector("body[data-drawn=all]", state="attached")


def test_the_answer_stands_on_the_first_screen_and_every_chart_is_drawn(committed, visit):
    tab = visit(committed, H200, viewport={"width": 1280, "height": 800})
    assert text(tab, "#lead").startswith("No clear winner at batch 256: ★ ray-graph, ■ vllm-mp, ")
    assert "; slower than ray-graph: sync by 47.8 %; not sure, of one engine start: 2 more" in text(
        tab, "#lead"
    )
    assert "582 ms" in text(tab, "#facts")
    assert "zmq 1.01 × [0.92 .. 1.10] 1.01 1.08 0.94" in text(tab, "#facts")
    assert "Two or three replicates: " in text(tab, "#facts")
    assert "0.75" not in text(tab, "#answer")
    assert "One engine start only: " in text(tab, "#facts")
    assert tab.locator("#facts").bounding_box()["y"] < 500
    assert set(charts(tab)) == {"side", "history", "compare", "breakdown", "pipe", "limit"}
    assert tab.evaluate("document.querySelectorAll('#history .scatterlayer .trace').length") == 10
    for absent in ("#idle-absent", "#roofline-absent", "#tail-absent"):
        assert "absent: " in text(tab, absent)
    assert "at least " in text(tab, "#change-points")
    assert tab.evaluate("document.querySelectorAll('.better').length") >= 6


def test_it_opens_on_the_newest_comparison_and_says_what_it_holds_for(committed, visit):
    """Of the commits that stand: the newest sessions are of somebody's experiment."""
    tab = visit(committed)
    assert text(tab, "#lead") == (
        "No clear winner at batch 1024: ■ vllm-mp, ⬟ vllm-mp@zmq and ☆ vllm-mp@ray-batch cannot be told "
        "apart; slower than vllm-mp: vllm-mp@ray by 10.3 %, vllm-mp@http by 22.0 %"
    )
    assert "1.008 × vllm-mp 95 % [0.981 .. 1.036]" in text(tab, ".fact")
    assert text(tab, "#where") == (
        "h100-2x (2 x NVIDIA H100 80GB HBM3), qwen2.5-7b, workload fixed, batch 1024, "
        "3 to 6 engine starts of each, a firm answer takes 4"
    )
    assert charts(tab) == ["side", "entries"]


def test_the_first_lines_say_which_pipe_is_fastest_by_how_much_how_sure_and_on_what(committed, visit):
    """Of each preset by the comparison with the most engine starts, and the link shows it."""
    tab = visit(committed, viewport={"width": 1280, "height": 800})
    paths, entries = (" ".join(one.split()) for one in tab.locator("#overview-lead p").all_inner_texts())
    assert paths == (
        "Engine to workers: no difference found between ★ ray-graph, ● zmq and ■ vllm-mp; "
        "slower: ◆ ray by 17 %, ▲ sync by 30 %."
    )
    assert entries == (
        "Caller to engine: no difference found between ☆ ray-batch, ⬟ zmq and ■ local; "
        "slower: ▲ ray by 10 to 47 %, ✶ http by 22 to 80 %, ✛ http-router by 84 %."
    )
    rows = [" ".join(row.split()) for row in tab.locator("#overview tbody tr").all_inner_texts()]
    assert rows[0] == (
        "engine to workers qwen2.5-0.5b, batch 256 ■ vllm-mp, ★ ray-graph, ● zmq (0.95 to 1.04) "
        "◆ ray 1.168 × [1.132 .. 1.205], ▲ sync 1.298 × [1.256 .. 1.341] "
        "3 engine starts of each, a firm answer takes 4; 2 x NVIDIA H100 80GB HBM3 (h100-2x), 2026-11-26"
    )
    assert "batch 1024" in rows[3]  # that of the most entries, not the largest
    assert "▲ ray 1.10 × [1.00 .. 1.21], ✶ http 1.220 × [1.173 .. 1.269]" in rows[3]
    end = tab.locator("#overview").bounding_box()
    assert end["y"] + end["height"] < 800
    follow(tab, tab.get_by_role("link", name="qwen2.5-7b, batch 256"))
    assert text(tab, "#where").startswith(
        "h100-2x (2 x NVIDIA H100 80GB HBM3), qwen2.5-7b, tensor-parallel over 2"
    )


def test_what_sessions_alone_have_measured_is_shown_and_what_stands_on_commits_is_not(committed, visit):
    tab = visit(committed, "#machine=h100-2x&preset=qwen2.5-7b&tp=2&workload=fixed&batch=256")
    assert text(tab, "#unknown") == ""
    assert "results/h100-2x/turns/2026-11-26-7b-tp2" in text(tab, "#facts")
    assert not tab.locator("#history").is_visible()
    tab.select_option("#machine", "h200-1x")
    tab.wait_for_selector("body[data-drawn=all]", state="attached")
    assert tab.locator("#history").is_visible()


def test_a_selection_is_in_the_address_and_a_link_shows_it_again(committed, visit):
    tab = visit(committed, H200)
    tab.click("#batches label:has-text('64')")
    tab.select_option("#metric", "engine_cpu_seconds")
    tab.click("#paths label:has-text('sync')")
    tab.select_option("#values", "percent")
    tab.select_option("#scale", "log")
    tab.wait_for_selector("body[data-drawn=all]", state="attached")
    tab.evaluate("Plotly.relayout('history', {'xaxis.range[0]': 1.5, 'xaxis.range[1]': 3.4})")  # drawn across
    tab.wait_for_selector("body[data-drawn=all]", state="attached")
    assert text(tab, "#lead").startswith("No clear winner at batch 64")
    address = tab.evaluate("location.hash")
    again = visit(committed, address)
    axes = again.evaluate(
        "(({xaxis, yaxis}) => [xaxis.range, yaxis.type])(document.getElementById('history')._fullLayout)"
    )
    assert axes == [[1.6, 3.4], "log"]
    assert again.locator("#history-numbers tbody tr").count() == 2
    assert "% of the oldest" in again.text_content("#history .ytitle")
    assert "% of vllm-mp" in again.text_content("#compare .xtitle")
    again.select_option("#metric", "step_seconds")
    assert again.evaluate("[RP.selection.from, RP.selection.to]") == ["e45d8b24", "c9ff6fe7"]
    again.select_option("#metric", "engine_cpu_seconds")
    again.wait_for_selector("body[data-drawn=all]", state="attached")
    assert text(again, "#history-title") == "Engine CPU in an engine step over the commits"
    assert again.locator("#batches input:checked").get_attribute("value") == "64"
    assert "sync" not in text(again, "#compare-numbers") + "".join(
        again.locator("#history .legendtext").all_inner_texts()
    )
    assert again.evaluate("document.querySelectorAll('#history .scatterlayer .trace').length") == 8


def test_a_table_can_be_taken_along_and_a_case_found_by_its_words(committed, visit):
    tab = visit(committed, H200)
    tab.click("#history-numbers >> xpath=../summary")
    made = {}
    for kind in ("csv", "json"):
        with tab.expect_download() as download:
            tab.click(f"#history-numbers .download button:text-is('{kind.upper()}')")
        assert download.value.suggested_filename == f"rollout-perf-step-time-over-the-commits.{kind}"
        made[kind] = Path(download.value.path()).read_text()
    rows = list(csv.DictReader(made["csv"].splitlines()))
    assert rows[0]["commit"].startswith("c9ff6fe7 ")
    assert float(rows[0]["zmq (seconds)"]) == pytest.approx(0.582, rel=1e-2)
    assert rows[0]["zmq (seconds) low"] < rows[0]["zmq (seconds)"] < rows[0]["zmq (seconds) high"]
    assert [row["zmq (seconds)"] for row in json.loads(made["json"])] == [
        float(row["zmq (seconds)"]) for row in rows
    ]
    tab.fill("#search", "h100-2X grpo zmq")
    follow(tab, tab.locator("#found a >> nth=0"))
    assert tab.evaluate("RP.selection").items() >= {"machine": "h100-2x", "workload": "grpo"}.items()
    assert text(tab, "#found") == ""
    tab.fill("#search", "no such case")
    assert text(tab, "#found") == "No case has all of these words."


def test_an_address_that_names_nothing_there_is_shows_what_there_is(committed, visit):
    tab = visit(committed, "#machine=moon&batch=7&metric=beauty&commit=zzzz&hide=nobody&batches=1&tp=1")
    assert "at batch 1024" in text(tab, "#lead")
    said = text(tab, "#unknown")
    for missing in (
        'machine "moon" (shown: h100-2x)',
        'batch "7" (shown: 1024)',
        'metric "beauty" (shown: step_seconds)',
        'commit "zzzz" (shown: none)',
        'hide "nobody" (shown: none)',
        '"batches", which is no part of a link',
    ):
        assert missing in said
    assert "tp" not in said
    tab.click("#batches label:has-text('64')")
    assert text(tab, "#unknown") == ""


CHOOSE = """() => {
  RP.draw = RP.columns = () => {};
  const wrong = [];
  const groups = RP.front.groups.map(RP.chosenBy);
  const choose = (from, name, value) => {
    const select = document.getElementById(name);
    select.value = value;
    select.dispatchEvent(new Event("change"));
    if (RP.selection[name] !== value || select.value !== value) wrong.push([from, name, value, RP.selection]);
  };
  for (const from of groups) {
    for (const to of groups) {
      RP.select(from);
      for (const name of Object.keys(to)) choose(from, name, to[name]);
      if (RP.group() !== RP.front.groups[groups.indexOf(to)]) wrong.push([from, to, RP.selection]);
    }
    for (const name of Object.keys(from)) {
      RP.select(from);
      for (const option of [...document.getElementById(name).options].map((one) => one.value)) {
        RP.select(from);
        choose(from, name, option);
      }
    }
  }
  return wrong;
}"""


def test_whatever_is_chosen_stays_chosen_and_every_result_can_be_reached(tmp_path, visit):
    for machine, workload, environment, commits in (
        ("here", "fixed", "py3.12", 3),
        ("here", "grpo", "py3.12-rl", 3),
        ("there", "fixed", "py3.11", 2),
        ("there", "fixed", "py3.12", 1),
        ("there", "grpo", "py3.11-rl", 2),
        ("afar", "grpo", "py3.13", 2),
        ("afar", "verl", "py3.12", 2),
    ):
        write_records(
            tmp_path / "results", COMMITS[:commits], [8], {"zmq": 1.0}, ["step_seconds"], workload,
            machine=machine, environment=environment, gpu=machine != "here",
        )  # fmt: skip
    results = read_results(tmp_path / "results", COMMITS)
    page = write_pages(tmp_path / "html", results, datetime.now(UTC))
    tab = visit(page)
    newest = {"machine": "here", "workload": "fixed", "env": "py3.12"}
    assert tab.evaluate("RP.selection").items() >= newest.items()
    assert tab.evaluate(CHOOSE) == []
    tab.goto(link(page, [point for point in results.points if point.machine == "there"]))
    tab.reload()
    assert tab.evaluate("RP.selection").items() >= {"machine": "there", "commit": COMMITS[1].hash[:8]}.items()
    assert text(tab, "#unknown") == ""


def test_every_figure_says_where_it_comes_from_by_keyboard_too(committed, visit):
    tab = visit(committed, H200)
    tab.focus("#matrix tbody tr:nth-child(4) td:nth-child(3) button")
    tab.keyboard.press("Enter")
    said = text(tab, "#origin")
    for part in (
        "zmq, step time",
        "338 ms",
        "c9ff6fe7",
        "7, from 1 engine start",
        "One engine start only: an interval shows how rollouts differ, not how engine starts do",
        "NVIDIA H200",
        "vllm 0.26.0",
        "fixed, batch 64",
        "results/h200-1x/records/c9ff6fe7",
        "asv run",
        "rollout-perf measure --path zmq",
    ):
        assert part in said
    assert barriers(tab) == []
    tab.keyboard.press("Escape")
    assert not tab.locator("#origin").is_visible()
    tab.click("#history-numbers >> xpath=../summary")
    tab.click("#history-numbers tbody tr:nth-child(3) .ask >> nth=0")
    assert "88e583f6" in text(tab, "#origin")


def test_a_commit_can_be_chosen_and_left_again(committed, visit):
    tab = visit(committed, f"{H200}&commit=e45d8b24")
    assert text(tab, "#compare-title").startswith("The paths at e45d8b24")
    tab.click("#compare-title button")
    tab.wait_for_selector("body[data-drawn=all]", state="attached")
    assert text(tab, "#compare-title") == "The paths at c9ff6fe7 (newest)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_and_the_button_between_them(scheme, committed, visit):
    tab = visit(committed, H200, color_scheme=scheme)

    def look():
        return tab.evaluate(
            "[getComputedStyle(document.body).backgroundColor, "
            "document.querySelector('#history .xtick text').style.fill]"
        )

    light, dark = ["rgb(244, 246, 248)", "rgb(22, 32, 43)"], ["rgb(16, 22, 29)", "rgb(232, 237, 242)"]
    assert look() == (light if scheme == "light" else dark)
    assert barriers(tab) == []
    tab.click("#theme")
    tab.wait_for_selector("body[data-drawn=all]", state="attached")
    assert look() == (dark if scheme == "light" else light)


def test_a_phone_needs_no_sideways_scrolling(committed, visit):
    tab = visit(committed, H200, viewport={"width": 375, "height": 700})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 375
    assert tab.locator("#lead").bounding_box()["y"] < 550
    tab.fill("#search", "h100-2x grpo zmq")
    follow(tab, tab.locator("#found a >> nth=0"))
    assert tab.evaluate("RP.selection").items() >= {"machine": "h100-2x", "workload": "grpo"}.items()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 375


def test_on_paper_it_is_light_with_all_charts(committed, visit):
    tab = visit(committed, H200, color_scheme="dark")
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate("document.querySelector('#history .xtick text').style.fill") == "rgb(22, 32, 43)"


def test_without_scripts_a_page_says_so_and_shows_nothing_empty(committed, tab_and_wrong):
    tab, _wrong = tab_and_wrong
    plain = tab.context.browser.new_context(java_script_enabled=False).new_page()
    change_point = next((committed.parent / "change-points").iterdir())
    for page in (
        committed,
        committed.parent / "compare.html",
        committed.parent / "regressions.html",
        change_point,
    ):
        plain.goto(page.as_uri())
        assert "needs JavaScript" in plain.inner_text("main")
        assert plain.locator(":is(.chart, section:not(#plain), .choices, button):visible").count() == 0
    plain.goto(committed.as_uri())
    assert "reference\t" in plain.inner_text("#plain")  # whose ratio is 1 without an interval
    assert "[1.00 .. 1.00]" not in plain.inner_text("#plain tr:has-text('vllm-mp') >> nth=0")
    plain.context.close()


def test_words_lead_to_the_glossary_and_the_documents_can_be_searched(committed, visit):
    pytest.importorskip("mkdocs")
    tab = visit(committed, H200)
    tab.click("h2 a:text-is('Change points')")
    tab.wait_for_selector("tr:target td:text-is('change point')")
    tab.focus("input.md-search__input")  # which loads the index
    tab.wait_for_selector(".md-search-result__meta:text('Type to start')", state="attached")
    tab.keyboard.type("saturation")
    tab.wait_for_selector(".md-search-result__item a[href*='glossary.html']", state="attached")
    tab.keyboard.press("Escape")
    tab.click(".md-header a.md-logo")
    tab.wait_for_selector("#lead")


@pytest.mark.parametrize("page", ["index", "glossary", "transport-speed", "reference/command-line"])
def test_the_documents_keep_nobody_from_reading_them(page, committed, visit):
    """What is ours of a page and what the theme makes of it: links, tables, the search."""
    pytest.importorskip("mkdocs")
    assert barriers(visit(committed.parent / "docs" / f"{page}.html", ready="article")) == []


def test_asvs_explorer_works_from_files(committed, visit):
    tab = visit(
        committed.parent / "asv" / "index.html", ready="text=rollout.Qwen05B.track_step_seconds >> nth=0"
    )
    assert "22 benchmarks" in text(tab, "body")  # counts of before a gated start are another version's


def test_asvs_classic_pages_work_from_files(committed, visit):
    file = committed.parent / "asv" / "classic.html"
    if "npm was" in file.read_text():
        pytest.skip("npm could not fetch what asv's classic pages need")
    visit(file, "#rollout.Qwen05B.track_step_seconds?x-axis=batch", ready="#main-graph canvas >> nth=0")


def test_with_every_metric_there_every_chart_is_drawn(simulated, visit):
    tab = visit(simulated[0], f"#machine={MACHINE}")
    assert set(charts(tab)) == {"history", "compare", "breakdown", "limit", "idle", "roofline", "tail"}
    assert "has not been measured" in text(tab, "#pipe-absent")
    assert barriers(tab) == []
    for part in ("GPU", "encode", "send", "wait", "receive", "decode", "rest of the host"):
        assert part in text(tab, "#breakdown-key")
    parts = tab.evaluate(
        "RP.cases().filter(c => c.path === 'zmq').map(c => [RP.parts(c), c.metrics.engine_step_seconds[0]])"
    )
    for split, whole in parts:
        assert sum(split.values()) == pytest.approx(whole)


def test_a_change_point_is_marked_listed_and_has_its_page(simulated, visit):
    page, found_points = simulated
    found = {(point.key.path, point.key.batch, point.first) for point in found_points}
    assert found >= {("zmq", 8, COMMITS[8]), ("zmq", 64, COMMITS[8])}
    tab = visit(page, f"#machine={MACHINE}&batch=8")
    assert tab.locator("#history .textpoint").all_inner_texts() == ["+30.0 %"] or "+" in tab.inner_text(
        "#history"
    )
    assert "vllm 0.26.0" in tab.text_content("#history")
    href = tab.locator("#change-points tbody tr", has_text="zmq").locator("a").first.get_attribute("href")
    point = visit(page.parent / href)
    assert charts(point) == ["samples"]
    assert re.match(r"● zmq got worse: step time \+\d", text(point, "#lead"))
    assert "0.27.0" in text(point, "#environment")
    assert COMMITS[7].hash[:8] in text(point, "#range")
    assert "asv does not track this workload" in text(point, "#commands")
    assert barriers(point) == []
    point.click("#numbers >> xpath=../summary")
    point.click("#numbers .ask >> nth=0")
    assert "7, from 1 engine start" in text(point, "#origin")


def test_what_is_counted_changes_without_an_interval_between_its_own_levels(committed, visit):
    """Bytes on the wire fell and grew again; each page is of the level before and after its own change."""
    listed = visit(committed.parent / "regressions.html")
    titles = [one.split(" bytes")[0] for one in listed.locator("h3.finding").all_inner_texts()]
    assert titles[:4] == ["▲ +563 %", "▲ +0.6 %", "▼ −47.7 %", "▼ −77.3 %"]
    shown = listed.locator("section tbody tr:first-child").all_inner_texts()
    assert any(row.startswith("−47.7 %\tbytes") for row in shown)  # as in the title, and no interval
    listed.locator("a:text-is('+0.6 %') >> nth=0").click()
    listed.wait_for_selector("body[data-drawn=all]", state="attached")
    facts = text(listed, "#facts")
    assert "171 B → 172 B medians of 1 and 2 commits" in facts
    assert "Confidence exact" in facts
    assert "99 %" not in facts
    assert ".." not in listed.inner_text("#numbers")


def test_a_regression_is_one_however_many_series_show_it(simulated, visit):
    page, found_points = simulated
    tab = visit(page.parent / "regressions.html", "#deadbeef..cafecafe")
    assert text(tab, "h1") == "Regressions (1 open)"
    assert 'asks for "deadbeef..cafecafe", which is no regression' in text(tab, "#messages")
    [section] = tab.locator("#findings section").all()
    assert section.locator("tbody tr:visible").count() == 2  # the step time at two batches
    assert section.locator("details tbody tr").count() == len(found_points) - 2 == 2
    assert "vllm 0.26.0" in section.inner_text()
    assert f"rollout-perf triage {section.get_attribute('id')} --acknowledged" in section.inner_text()
    assert barriers(tab) == []
    tab.goto(tab.url.partition("#")[0] + f"#{section.get_attribute('id')}")
    follow(tab, section.locator("tbody a").first)
    assert text(tab, "#lead").startswith("● zmq got worse")


def test_two_commits_stand_side_by_side_by_a_link(simulated, visit):
    page, _found = simulated
    old, new = (f"{MACHINE}@{commit.hash[:8]}" for commit in COMMITS[7:9])
    compare = page.parent / "compare.html"
    tab = visit(compare, f"#a={old}&b={new}&find=zmq+8,&sort=case&values=ratio&c=1&metric=moon")
    said = text(tab, "#unknown")
    assert '"c", which is no part of a link; metric "moon" (shown: step_seconds)' in said
    [row] = tab.locator("#cases tbody tr").all_inner_texts()
    assert "1.29 ×" in row  # of the gate, and not of what was measured apart
    assert "side by side: worse" in row
    assert barriers(tab) == []
    tab.click("#cases td button:text('parts')")
    tab.wait_for_selector("#origin[open]")
    assert "pipe: wait" in text(tab, "#origin")
    tab.keyboard.press("Escape")
    tab.select_option("#a", new)
    tab.select_option("#b", old)
    tab.select_option("#values", "percent")
    tab.wait_for_selector("body[data-drawn=all]", state="attached")
    assert "−22.5 %" in text(tab, "#cases")
    tab.fill("#find", "")
    tab.wait_for_selector("body[data-drawn=all]", state="attached")
    assert "measured apart: not judged" in text(tab, "#cases")
    assert text(tab, "#how").startswith("12 cases on both sides")  # those that broke are absent
    assert f"rollout-perf gate {COMMITS[8].hash[:8]} {COMMITS[7].hash[:8]}" in text(tab, "#notes")
    again = visit(compare, tab.evaluate("location.hash"))
    assert again.locator("#a").input_value() == new
    assert text(again, "#unknown") == ""


def test_two_machines_stand_side_by_side_by_their_sessions(committed, visit):
    tab = visit(committed.parent / "compare.html", "#a=h200-1x@sessions&b=h100-2x@sessions&find=ray+256")
    rows = tab.locator("#cases tbody tr").all_inner_texts()
    assert any("1.11 × vllm-mp" in row and "1.17 × vllm-mp" in row and "+5.1 %" in row for row in rows)
    assert "of the ratio to vllm-mp" in text(tab, "#cases")


def test_the_gates_verdict_is_on_the_change_points_page_where_there_is_one(simulated, visit):
    page, _found = simulated
    reported = {}
    for file in (page.parent / "change-points").glob("*-zmq-[0-9]*-step_seconds-*.html"):
        tab = visit(file)
        reported[re.search(r"batch (\d+);", text(tab, "#facts"))[1]] = text(tab, "#gates")
    assert "worse, ratio 1.29 [1.25 .. 1.33]; the smallest effect it could have seen: 2.00 %" in reported["8"]
    assert "did not judge" in reported["64"]


def test_names_with_html_in_them_stay_text(simulated, visit):
    page, _found = simulated
    for address in (f"#machine={MACHINE}", "#machine=bare"):
        tab = visit(page, address)
        assert tab.evaluate("window.pwned") is None
        assert tab.locator("img[src=x]").count() == 0
        tab.click("#matrix tbody button >> nth=0")
        assert tab.evaluate("window.pwned") is None
    assert NASTY in tab.inner_text("body")
    for file in list((page.parent / "change-points").glob("*.html"))[:1]:
        point = visit(file)
        assert NASTY in point.inner_text("#range")
        assert point.evaluate("window.pwned") is None


def test_failed_cases_damaged_files_and_machines_without_gpu_are_shown(simulated, visit):
    tab = visit(simulated[0], f"#machine={MACHINE}")
    said = text(tab, "#read")
    assert "it broke" in said
    assert "ffffffff-env-x.jsonl:1: not JSON" in said
    assert "No GPU facts are kept of bare" in said
    assert "failed" in text(tab, "#matrix")
    tab = visit(simulated[0], "#machine=bare")
    assert text(tab, "#lead").startswith("A CPU's results do not rank paths; ")
    assert "no record of this selection has gpu_idle_share: no CUDA here." in text(tab, "#idle-absent")
    assert (
        f"It is there for {MACHINE}, virtualenv-py3.12, simulated, tensor-parallel size 1, workload fixed"
        in text(tab, "#idle-absent")
    )


def test_the_fastest_path_is_named_by_how_much_and_its_traces_lead_to_files(tmp_path, visit):
    """Of the traces that records name those beside them; a record may name any file of the machine."""
    names = ["/elsewhere/a@b.json.gz", "/elsewhere/gone.json.gz", "/etc/passwd"]
    observed = {"workers": [], "tokens_generated": 0, "vllm": "0", "engine": {}}
    observed["traces"] = [{"trace": name} for name in names] + [{"untraced": "it ended before"}]
    write_session(tmp_path, {"vllm-mp": [1] * 4, "zmq": [0.8, 0.82] * 2}, observed=observed)
    (tmp_path / MACHINE / "turns" / "a@b.json.gz").write_text("a trace")
    (tmp_path / MACHINE / "turns" / "passwd").write_text("secret")
    tab = visit(write_pages(tmp_path / "html", read_results(tmp_path, []), datetime.now(UTC)))
    assert text(tab, "#lead") == "● zmq is fastest at batch 8: 19.0 % less step time than vllm-mp"
    assert "4 engine starts of each" in text(tab, "#where")
    assert text(tab, "#overview-lead") == "Engine to workers: compared with ■ vllm-mp; faster: ● zmq by 19 %."
    assert "● zmq 0.810 × [" in text(tab, "#overview")
    [link] = tab.locator("#facts a[href^=traces]").all()
    assert link.inner_text() == "a@b.json.gz"
    assert (tmp_path / "html" / link.get_attribute("href")).read_text() == "a trace"


def test_entries_have_a_chart_of_step_time_against_requests_in_flight(tmp_path, visit):
    """Of the batches at which an entry was compared; twice as many twice as fast pays, and then no more. What
    a request took on its way, and costs, is there where a record has it."""
    for batch, seconds in ((1, 1.0), (8, 1.0), (16, 1.0), (32, 2.0)):
        raced = {"vllm-mp": [seconds] * 4, "vllm-mp@http": [1.5 * seconds] * 4}
        others = {"vllm-mp": [1.0] * 4, "ray": [1.1] * 4}
        metrics = {
            "step_seconds": [seconds] * 4,
            "way_in_seconds": [0.003, 0.001, 0.002],
            "entry_bytes": [2048.0],
        }
        some = {} if batch < 32 else {"metrics": metrics}
        write_session(tmp_path, raced if batch > 1 else others, batch, name=f"session-{batch}", **some)
    tab = visit(write_pages(tmp_path / "html", read_results(tmp_path, []), datetime.now(UTC)))
    assert charts(tab) == ["side", "entries"]
    assert text(tab, "#entries-key") == "■ vllm-mp (entry local) ✶ vllm-mp@http"
    points = tab.evaluate("document.getElementById('entries').data.map(one => [one.name, one.x, one.y])")
    assert points == [["vllm-mp", [8, 16, 32], [1, 1, 2]], ["vllm-mp@http", [8, 16, 32], [1.5, 1.5, 2]]]
    ways = [" ".join(text.split()) for text in tab.locator("#ways table").all_text_contents()]
    assert ways[0].startswith("32 in flightto queuevllm-mp2.00 ms")
    assert ways[1].startswith("32 in flightbytesvllm-mp2.00 KiB")
    numbers = tab.locator("#entries-numbers tbody tr").all_text_contents()
    assert [row.rpartition("tokens/s")[2] for row in numbers] == ["at 16", "not yet"]
    tab.locator("#batches label").first.click()
    assert tab.locator("#entries-section").is_visible()  # it is of all batches


def test_two_releases_stand_side_by_side_by_a_link_of_the_page_of_releases(tmp_path, visit):
    site, _one = write_site(tmp_path)
    tab = visit(site / "releases.html", ready="[data-drawn=all]")
    assert barriers(tab) == []
    follow(tab, tab.get_by_role("link", name="with 0.7.0"))
    assert text(tab, "#lead") == f"step time: {MACHINE} 00000007 → {MACHINE} 00000008"
    follow(tab, tab.get_by_role("link", name="Releases"))
    assert tab.url == (site / "releases.html").as_uri()


@pytest.mark.parametrize(
    ("paths", "lead"),
    [
        ({}, ""),
        (PATHS, "No clear winner at batch 8; lowest median: ▲ sync"),
        ({"zmq": 1.0}, "Only ● zmq was measured at batch 8 of the newest commit"),
    ],
)
def test_no_result_and_one_commit(paths, lead, tmp_path, visit):
    if paths:
        write_records(tmp_path / "results", COMMITS[:1], [8], paths=paths)
    results = read_results(tmp_path / "results", COMMITS)
    tab = visit(
        write_pages(tmp_path / "html", results, datetime.now(UTC), facts={"asv": False, "asv_reason": "x"})
    )
    if paths:
        assert "history" in charts(tab)
        assert text(tab, "#lead").startswith(lead)
        assert not tab.locator("#side-section").is_visible()
        assert "Nothing was measured side by side here" in text(tab, "#facts")
    else:
        assert text(tab, "#lead") == "Nothing has been measured yet."
        assert charts(tab) == []
