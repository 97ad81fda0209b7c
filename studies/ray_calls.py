"""Are calls of an actor slower in newer releases of Ray? A table of the docs.

    python -m studies.ray_calls 2.50.0 2.53.0 2.54.0 [--rounds 8] [--environments FOLDER]

Every round starts a process for each release, one after another, in an order that turns: Ray, one actor,
calls with 1 KiB back and forth. *One*: each call waits for the last. *Many*: 500 are under way. Both are in
Ray's own lists, as 1_1_actor_calls_sync and _async. *Graph*: one at a time through a compiled graph. Ratios
are to the first release in the same round. An environment has Ray and what it asks for, installed by uv.
"""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

from rollout_bench.report.table import table
from rollout_bench.stats.ratios import Pairs, Ratio, ratios_of

WAYS = ("one", "many", "graph")

_CHILD = """
import json, statistics, time
import ray
from ray.dag import InputNode

ray.init(address="local", num_cpus=2, include_dashboard=False, configure_logging=False)

@ray.remote(num_cpus=0)
class Echo:
    def echo(self, payload):
        return payload

payload, actor, begun = bytes(1024), Echo.remote(), time.perf_counter

def timed(calls, least=4, blocks=5, seconds=0.15):
    found = []
    for number in range(-2, blocks):
        end, times = begun() + seconds, []
        while begun() < end or len(times) < least:
            start = begun()
            do()
            times.append((begun() - start) / calls)
        found += [statistics.median(times)] if number >= 0 else []
    return found

do = lambda: ray.get(actor.echo.remote(payload))
result = {"one": timed(1)}
do = lambda: ray.get([actor.echo.remote(payload) for _ in range(500)])
result["many"] = timed(500)
with InputNode() as given:
    graph = actor.echo.bind(given).experimental_compile()
do = lambda: ray.get(graph.execute(payload))
result["graph"] = timed(1)
graph.teardown()
print(json.dumps(result))
"""


def environment(folder: Path, release: str) -> Path:
    """The Python of an environment with that release."""
    python = folder / release / "bin" / "python"
    if not python.exists():
        subprocess.run(
            ["uv", "venv", "--quiet", f"--python={sys.executable}", str(folder / release)], check=True
        )
        asked = [
            "uv",
            "pip",
            "install",
            "--quiet",
            "--compile-bytecode",
            f"--python={python}",
            f"ray=={release}",
        ]
        subprocess.run(asked, check=True)
    return python


def main() -> None:
    """Measure, say each process's medians as a line of JSON, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("releases", nargs="+", metavar="RELEASE")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--environments", type=Path, default=Path("/tmp/ray-calls"), metavar="FOLDER")
    given = parser.parse_args()
    pythons = {release: environment(given.environments, release) for release in given.releases}
    found: dict[str, list[dict[str, list[float]]]] = {release: [] for release in pythons}
    for number in range(given.rounds):
        first = number % len(pythons)
        for release in [*pythons][first:] + [*pythons][:first]:
            done = subprocess.run([pythons[release], "-P", "-c", _CHILD], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"Ray {release}: {done.stderr.strip().splitlines()[-1]}")
            found[release].append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps({"round": number, "release": release, **found[release][-1]}), flush=True)
    base, *others = given.releases
    cases = [(release, way) for release in others for way in WAYS]
    pairs = {
        (release, way): [(one[way], of[way]) for one, of in zip(found[release], found[base], strict=True)]
        for release, way in cases
    }
    ratios = {
        case: _said(one)
        for case, one in zip(cases, ratios_of([Pairs(case[0], pairs[case]) for case in cases]), strict=True)
    }
    rows = [[release, *(ratios[release, way] for way in WAYS)] for release in others]
    print(table([f"over {base}", *WAYS], rows))


def _said(one: Ratio) -> str:
    interval = one.interval or (math.nan, math.nan)
    return f"{one.middle:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


if __name__ == "__main__":
    main()
