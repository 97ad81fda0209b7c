"""How a campaign and its results grow: with nodes, with sessions that wait, with commits.

    python -m studies.growth nodes 1 2 8 64      # sessions a day, by sessions at once
    python -m studies.growth queue 1000 100000   # what head and driver take by sessions that wait
    python -m studies.growth results 1000 200    # detect and publish over so many commits and series

Ray, the campaign's loop, its files and the tables are the real ones. A session is a stub, which waits and
sends a record of the size of a real one. Nodes are places of one raylet. Prints a line of JSON for each row.
"""

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rollout_bench.campaign import run
from rollout_bench.campaign.cluster import Cluster
from rollout_bench.campaign.file import Campaign
from rollout_bench.campaign.home import Home
from rollout_bench.campaign.plan import Session
from rollout_bench.cli import main as command
from rollout_bench.history.results import Commit
from rollout_bench.measure.tracked import Class, Tracked

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "support"))

from fake_fleet import ENVIRONMENT  # noqa: E402
from simulated import FEW, PATHS, write_asv, write_records, write_repository  # noqa: E402
from stub_cluster import stub_cluster  # noqa: E402

SESSION_SECONDS = 20.0
ENOUGH = 200
"""Sessions that are done before memory is read: by then the loop turns as it does to the end."""
MOST_WITH_RAY = 10_000
TABLE = Tracked("nano", [], "nano", sets={"default": ["zmq"]}, classes={"Nano": Class("fixed", [])})


class Enough(Exception):
    """What was to be measured is."""


def nodes(count: int) -> dict[str, Any]:
    """Sessions a day of so many nodes, from four sessions of each."""
    with stub_cluster([count]) as (fleet, _nodes):
        with _campaign(fleet, count, 0.0) as runner:
            runner.run(_sessions(fleet, 2 * count))  # Ray's workers take seconds to start, once
        with _campaign(fleet, count, SESSION_SECONDS) as runner:
            begin, cpu = time.monotonic(), time.process_time()
            runner.run(_sessions(fleet, 4 * count))
            took, cpu = time.monotonic() - begin, time.process_time() - cpu
    rate = runner.done / took
    return {
        "nodes": count,
        "session_seconds": SESSION_SECONDS,
        "sessions_a_day": round(rate * 86400),
        "of_ideal": round(rate * SESSION_SECONDS / count, 3),
        "driver_cpu_ms_a_session": round(cpu / runner.done * 1e3, 1),
    }


def queue(count: int, waiting: int | None) -> dict[str, Any]:
    """What driver and head take while so many sessions wait: with the campaign, or all of them with Ray."""
    run._WAITING = 2 if waiting is None else waiting
    with stub_cluster([2]) as (fleet, _nodes), _campaign(fleet, 2, 0.0) as runner:
        runner.run(_sessions(fleet, 4))
        before, cpu, begin = _memory(), time.process_time(), time.monotonic()
        found: dict[str, Any] = {"sessions": count, "with_ray": "all" if waiting else "few"}

        def tell(name: str, **_facts: Any) -> None:
            if name == "done" and runner.done == ENOUGH:
                found["memory_mb"] = round((_memory() - before) / 1e6)
                found["seconds"] = round(time.monotonic() - begin, 1)
                found["driver_cpu_seconds"] = round(time.process_time() - cpu, 1)
                raise Enough

        runner.done, runner.tell = 0, tell
        with contextlib.suppress(Enough):
            runner.run(_sessions(fleet, count))
    return found


def results(commits: int, series: int) -> dict[str, Any]:
    """Size of a simulated history, and what detect and publish take of it, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="growth-") as made:
        folder = Path(made)
        listed = write_repository(folder, commits)
        shutil.copy2(ROOT / "asv.conf.json", folder / "asv.conf.json")
        (folder / "benchmarks").mkdir()

        def slower(path: str, _batch: int, number: int) -> float:
            return 1.1 if path == "zmq" and number >= commits // 2 else 1.0

        batches = range(1, series // len(PATHS) + 1)
        write_records(folder / "results", listed, batches, metrics=FEW, slower=slower)
        write_asv(folder / "results", listed, series)
        size = sum(file.stat().st_size for file in (folder / "results").rglob("*") if file.is_file())
        os.chdir(folder)
        row = {"commits": commits, "series": series, "results_mb": round(size / 1e6)}
        return row | _timed("detect", "--json") | _timed("publish")


@contextlib.contextmanager
def _campaign(fleet: Cluster, at_once: int, seconds: float) -> Iterator[run.Runner]:
    """A campaign of stubs that take so long."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Campaign({"nano": TABLE}, sessions_per_node=at_once, folder=str(seconds))
        home, names = Home(Path(folder), ENVIRONMENT), {fleet.nodes()[0].kind: "stub"}
        yield run.Runner(fleet, home, asked, names, None, lambda *_, **__: None)


def _sessions(fleet: Cluster, count: int) -> list[Session]:
    kind = fleet.nodes()[0].kind
    return [Session("nano", kind, "stub", (Commit(f"{number:08d}" * 5),)) for number in range(count)]


def _memory() -> int:
    """Bytes of this process and of all below it, the head's and the raylet's among them."""
    rows = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            rows.append((int(folder.name), int(fields[1]), int(fields[21]) * os.sysconf("SC_PAGE_SIZE")))
    ours = {os.getpid()}
    for _generation in range(5):
        ours |= {pid for pid, parent, _bytes in rows if parent in ours}
    return sum(taken for pid, _parent, taken in rows if pid in ours)


def _timed(*words: str) -> dict[str, float]:
    """Seconds on the clock and of CPU, and memory, of a command in a fork."""
    begin = time.monotonic()
    child = os.fork()
    if not child:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            command.main(list(words))
        os._exit(0)
    _pid, _status, used = os.wait4(child, 0)
    return {
        f"{words[0]}_seconds": round(time.monotonic() - begin, 1),
        f"{words[0]}_cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        f"{words[0]}_memory_mb": round(used.ru_maxrss / 1e3),
    }


def _print(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)


def main() -> None:
    """Print the rows that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("nodes", "queue", "results"))
    parser.add_argument("sizes", type=int, nargs="+")
    given = parser.parse_args()
    if given.what == "results":
        _print(results(*given.sizes))
    for size in given.sizes if given.what == "nodes" else ():
        _print(nodes(size))
    for size in given.sizes if given.what == "queue" else ():
        for waiting in (None, size) if size <= MOST_WITH_RAY else (None,):
            child = os.fork()  # what Ray has taken of memory is not given back within a process
            if not child:
                _print(queue(size, waiting))
                os._exit(0)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
