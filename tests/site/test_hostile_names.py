"""The site over results that somebody else sent: names in them stay text, whatever they hold."""

import json
import re
from pathlib import Path

import pytest
from browser import open_browser, why_no_browser
from rollout_bench.site.publish import publish
from simulated import MACHINE, write_asv, write_records, write_repository, write_session

ROOT = Path(__file__).resolve().parents[2]
PLANT = "window.pwned=1"
NAMES = [
    f'");{PLANT};//',
    f"'+({PLANT})+'",
    f"</script><script>{PLANT}</script>",
    f'<img src=x onerror="{PLANT}">',
    f"\u2028{PLANT};\u2029",
    f"${{{PLANT}}}`",
    "{}",
    "a/b",
    "../../../up",
    "back\\slash\\",
    "line\nbreak\0",
    "%{x|%d} $title",
    "__proto__",
    "constructor",
    "long" * 100,
]
SAFE_FOLDER = f'"><img src=x onerror={PLANT}>'
"""What a folder can be called: any of it but a slash."""
SUBJECT = f'</script><img src=x onerror="{PLANT}">"'
BENCHMARK = f'rollout.Nano.<img src=x onerror="{PLANT}">'
MARKUP = f"<img src=x onerror={PLANT}>"


def edit(file, change):
    content = json.loads(file.read_text())
    file.write_text(json.dumps(change(content) or content))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A real publish of such results; its folder and what it said."""
    root = tmp_path_factory.mktemp("hostile") / "checkout"
    commits = write_repository(root, 12)
    (root / "asv.conf.json").write_text((ROOT / "asv.conf.json").read_text())
    results = root / "results"
    write_records(results, commits, [8], {"zmq": 1.0, NAMES[3]: 1.2}, metrics=["step_seconds"])
    records = results / MACHINE / "records"
    for number, commit in enumerate(commits):
        [file] = records.glob(f"{commit.hash[:8]}-*")
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            samples = [sample * (2 if number >= 6 else 1) for sample in line["metrics"]["step_seconds"]]
            line["metrics"] |= dict.fromkeys(NAMES, samples)
        file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    others = []
    for name in NAMES:
        others.append(line | {"path": name, "preset": name, "workload": line["workload"] | {"name": name}})
        others[-1]["provenance"] = line["provenance"] | {"commit": name, "versions": {name: name}}
    other = results / SAFE_FOLDER / "records"
    other.mkdir(parents=True)
    (other / f"{SAFE_FOLDER}-{SAFE_FOLDER}.jsonl").write_text("\n".join(map(json.dumps, others)))
    write_session(results, {"vllm-mp": [1.0] * 2, NAMES[3]: [0.5] * 2}, name=SUBJECT.replace("/", ""))
    write_asv(results, commits, 2)
    plain = "rollout.Simulated.track_step_seconds"

    def twice(of):
        return of | {BENCHMARK: of[plain] | {"name": BENCHMARK} if isinstance(of[plain], dict) else of[plain]}

    edit(results / "benchmarks.json", lambda kept: kept | twice({plain: kept[plain] | {"code": MARKUP}}))
    for file in (results / MACHINE).glob("*-*.json"):
        edit(file, lambda kept: kept | {"results": twice(kept["results"])})
    edit(results / MACHINE / "machine.json", lambda facts: facts | {"machine": MACHINE})
    said = []
    (root / "html").mkdir()
    return publish(root / "results", root, said.append).parent, said


def scripts(folder):
    for file in sorted((folder / "data").glob("*.js")):
        yield file, file.read_text(encoding="ascii")


def test_every_script_is_one_statement_with_plain_data(site):
    """Were a name able to end its string, what is between the brackets would be no JSON."""
    folder, _said = site
    loaded = 0
    for file, text in scripts(folder):
        found = re.fullmatch(
            r'(?:RP\.(?:front|gates|changePoint) = |RP\.loaded\(("[\w.-]+"),)(\{.*\})\)?;\n', text
        )
        assert found, file
        json.loads(found[2].replace('["__proto__"]:', '"__proto__":'))
        assert "<" not in text
        if found[1]:
            assert json.loads(found[1]) == file.stem
            loaded += 1
    assert loaded > len(NAMES)


def test_what_the_page_shows_without_javascript_is_text(site):
    folder, _said = site
    page = (folder / "index.html").read_text()
    assert "&lt;img src=x" in page
    assert "<img" not in page
    static = ROOT / "bench/rollout_bench/site/static"
    written = "".join((static / f"{name}.html").read_text() for name in ("frame", "index"))
    assert page.count("<script") == written.count("<script")


def test_every_metric_has_a_file_of_its_own_and_the_page_is_reported_which(site):
    folder, _said = site
    text = (folder / "data" / "front.js").read_text().replace('["__proto__"]:', '"__proto__":')
    front = json.loads(text.removeprefix("RP.front = ").rstrip(";\n"))
    for group in front["groups"]:
        for batch, metrics in group["metrics"].items():
            files = {front["files"][metric] for metric in metrics}
            assert len(files) == len(metrics) >= len(NAMES)
            for name in files:
                assert (folder / "data" / f"{group['id']}-{batch}-{name}.js").is_file()
    assert {point["metric"] for point in front["change_points"]} == {*NAMES}
    assert all(
        (folder / "change-points" / f"{point['slug']}.html").is_file() for point in front["change_points"]
    )
    outside = {path.name for path in folder.parent.iterdir()}
    assert outside == {".git", "asv.conf.json", "bench", "html", "results"} | ({".asv"} & outside)


def test_asvs_pages_are_not_given_what_they_would_read_as_html(site):
    folder, said = site
    index = json.loads((folder / "asv" / "index.json").read_text())
    assert list(index["benchmarks"]) == ["rollout.Simulated.track_step_seconds"]
    assert "<" not in json.dumps(index)
    [line] = [line for line in said if "benchmark" in line]
    assert line.startswith("asv's own pages leave out the benchmark 'rollout.Nano.<img")


@pytest.mark.skipif(why_no_browser() is not None, reason=why_no_browser() or "")
def test_in_a_browser_no_name_becomes_code(site):
    folder, _said = site
    wrong = []
    with open_browser() as browser:
        tab = browser.new_context().new_page()
        tab.set_default_timeout(20_000)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("console", lambda message: wrong.append(message.text))

        def look(page, ready):
            tab.goto("about:blank")
            tab.goto(page)
            tab.wait_for_selector(ready, state="attached")
            assert tab.evaluate("window.pwned") is None, page
            assert tab.locator("img[src=x]").count() == 0, page

        drawn = "body[data-drawn=all]"
        look(f"{(folder / 'index.html').as_uri()}#machine={MACHINE}", drawn)
        shown = tab.evaluate("RP.group().metrics[RP.batch()]")
        assert len(shown) == len(NAMES) + 1
        for number in range(len(shown)):
            tab.evaluate("(number) => RP.select({metric: RP.group().metrics[RP.batch()][number]})", number)
            tab.wait_for_selector(drawn, state="attached")
            assert tab.inner_text("#messages") == ""
        assert tab.evaluate("window.pwned") is None
        for number in range(tab.evaluate("RP.front.groups.length")):
            tab.evaluate(
                "(n) => RP.select({...RP.front.groups[n], env: RP.front.groups[n].environment})",
                number,
            )
            tab.wait_for_selector(drawn, state="attached")
        assert tab.evaluate("window.pwned") is None
        for page in ("regressions", "compare"):
            look((folder / f"{page}.html").as_uri(), drawn)
        tab.evaluate("() => { document.getElementById('b').selectedIndex = 0; }")
        tab.dispatch_event("#b", "change")
        tab.wait_for_selector(drawn, state="attached")
        assert tab.evaluate("window.pwned") is None
        for page in sorted((folder / "change-points").glob("*.html"))[::6]:
            look(page.as_uri(), drawn)
        look((folder / "asv" / "index.html").as_uri(), "text=track_step_seconds >> nth=0")
        classic = folder / "asv" / "classic.html"
        if "npm was" not in classic.read_text():
            look(classic.as_uri(), "#summarygrid-display .benchmark-container")
            look(f"{classic.as_uri()}#rollout.Simulated.track_step_seconds", "#main-graph canvas >> nth=0")
    assert wrong == []
