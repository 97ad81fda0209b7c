"""How the site bears a long history: simulated results, published and opened in a browser.

    python tests/support/site_scale.py [--commits 1000] [--series 50]

A series is a path at a batch, with five metrics. Prints a table, and one line of JSON: seconds that
publishing took (asv's part included), on the clock and of CPU; bytes of the front page without the
chart library; milliseconds from navigation until controls answer and until the first and the last chart
is drawn, as the browser's own clock has it; and milliseconds of CPU that the page's main thread took.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from browser import open_browser  # noqa: E402 - it runs from anywhere
from rollout_bench.site.publish import publish  # noqa: E402
from simulated import FEW, PATHS, write_asv, write_records, write_repository  # noqa: E402


def make(folder: Path, commits: int, series: int) -> None:
    """A checkout with a history and results of it."""
    listed = write_repository(folder, commits)
    shutil.copy2(ROOT / "asv.conf.json", folder / "asv.conf.json")
    results = folder / "results"
    batches = [8 * number for number in range(1, 1 + max(1, series // len(PATHS)))]  # each is made
    dropped = commits // 2
    write_records(
        results,
        listed,
        batches,
        metrics=FEW,
        slower=lambda path, batch, number: 1.1 if path == "zmq" and number >= dropped else 1.0,
        versions=lambda number: {"vllm": "0.27.0" if number >= commits // 3 else "0.26.0"},
    )
    write_asv(results, listed, series)


def front_page_bytes(folder: Path, loaded: list[str]) -> int:
    """Bytes of what the front page loads, the chart library aside."""
    names = {Path(url.removeprefix("file://").partition("#")[0]) for url in loaded if url.startswith("file:")}
    return sum(path.stat().st_size for path in names if path.name != "plotly.min.js")


def measure_page(page: Path) -> dict[str, float]:
    """What the browser says of opening the front page, the median of three."""
    runs = []
    for _ in range(3):
        with open_browser() as browser:
            tab = browser.new_page()
            loaded: list[str] = []
            tab.on("request", lambda request, loaded=loaded: loaded.append(request.url))
            session = tab.context.new_cdp_session(tab)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            tab.goto(page.as_uri())
            tab.wait_for_selector("body[data-drawn=all]", timeout=60_000)
            marks = tab.evaluate(
                "Object.fromEntries(performance.getEntriesByType('mark').map(m => [m.name, m.startTime]))"
            )
            metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
            marks["main_thread_cpu"] = metrics["TaskDuration"] * 1e3
            runs.append({**marks, "front_page_bytes": front_page_bytes(page.parent, loaded)})
    return {name: sorted(run[name] for run in runs)[1] for name in runs[0]}


def cpu_seconds() -> float:
    """CPU time of this process and of those that have ended below it."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--series", type=int, default=50)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="site-scale-") as made:
        folder = Path(made)
        make(folder, given.commits, given.series)
        begin, before = time.monotonic(), cpu_seconds()
        page = publish(folder / "results", folder, say=print)
        found = {
            "commits": given.commits,
            "series": given.series,
            "publish_seconds": round(time.monotonic() - begin, 1),
            "publish_cpu_seconds": round(cpu_seconds() - before, 1),
        }
        found |= {name: round(value) for name, value in measure_page(page).items()}
    for name, value in found.items():
        print(f"{name:24} {value}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
