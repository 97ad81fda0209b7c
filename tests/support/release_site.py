"""A site with the releases of a made-up ledger: one is slower, one unmeasured, one cannot be resolved."""

from datetime import UTC, datetime
from pathlib import Path

from rollout_bench.history.detect import find_change_points
from rollout_bench.history.ledger import UNRESOLVED, Entry
from rollout_bench.history.results import Commit, read_results
from rollout_bench.site.docs import Docs
from rollout_bench.site.pages import write_pages
from rollout_bench.site.releases import UP, Measured, releases_content, site_of
from simulated import write_records

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENTRIES = [
    Entry(f"0.{n}.0", 1_700_000_000 + n * 86_400, f"vllm <0.{n}.0>", f"vllm==0.{n}.0\n") for n in range(16)
]
COMMITS = [Commit(f"{n:08x}" + "0" * 32, one.subject, one.published) for n, one in enumerate(ENTRIES)]


def measured(folder: Path) -> Measured:
    """What was measured of the releases, with records in a folder."""
    write_records(
        folder,
        COMMITS[:2] + COMMITS[3:],  # the third one was never measured
        batches=(8,),
        paths={"zmq": 1.0, "vllm-mp": 1.0},
        metrics=["step_seconds"],
        slower=lambda path, _batch, number: 1.2 if path == "zmq" and number >= 8 else 1.0,
    )
    results = read_results(folder, COMMITS)
    entries = [*ENTRIES, Entry("0.16.0", 1_702_000_000, "vllm 0.16.0", f"{UNRESOLVED}no <torch>\n")]
    return Measured("vllm-cuda", "vllm", "cuda", entries, results, find_change_points(results))


def write_site(folder: Path) -> tuple[Path, Measured]:
    """A site with a ledger's below, and what was measured by it."""
    one = measured(folder / "results")
    site = folder / "html"
    docs = Docs("docs/index.html", {"path": "docs/glossary.html#word-path"})
    write_pages(site, read_results(folder / "none", []), NOW, releases=releases_content([one]), docs=docs)
    write_pages(site / site_of(one.name), one.results, NOW, one.change_points, docs=docs.seen_from(UP), up=UP)
    return site, one
