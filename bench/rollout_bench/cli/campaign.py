"""`rollout-perf campaign FILE`: sessions of many commits or releases as tasks of a Ray cluster."""

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rollout_perf.transports.ray_cluster import local_cluster

from ..campaign import cluster, kinds, shipment
from ..campaign.file import read_campaign
from ..campaign.home import Home
from ..campaign.plan import environment_name, plan
from ..campaign.run import Runner
from ..history import asv_runs
from ..history.ledgers import find_ledger
from ..measure.alone import only_writer
from ..measure.tracked import read_tracked
from .campaign_view import View
from .checkout import checkout_lock, find_checkout, say_ignored
from .console import say
from .outputs import check_folder


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("file", type=Path, metavar="CAMPAIGN.toml", help="what to measure: docs/campaigns.md")
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="the address of a Ray cluster, or auto (default: RAY_ADDRESS, else one is started on this host)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where results go (default: the checkout's results/)"
    )
    parser.add_argument("--json", action="store_true", help="print each event as a line of JSON, and no view")


def run(given: argparse.Namespace) -> int:
    """Run what is left of the campaign; 0 where all of it is in results/ or the budget is spent."""
    top = find_checkout("campaign")
    campaign = read_campaign(given.file, read_tracked(top))
    ledger = find_ledger(top, campaign.releases) if campaign.releases else None
    root = ledger.folder if ledger else top
    _wanted, commits = asv_runs.find_range(root, campaign.range or "main")
    settings = asv_runs.configuration(root)
    results = given.output or asv_runs.results_folder(root)
    check_folder("the folder of results", results)
    view = View(given.json)
    with _joined(given.address) as address, only_writer(say, checkout_lock(root)):
        fleet = cluster.Cluster(address)
        with contextlib.closing(fleet), view:
            nodes = fleet.nodes()
            names = kinds.choose(nodes, campaign)
            for name in names.values():
                check_folder("the folder of a machine's results", results / name)
                say_ignored(root, results / name)
            environment = environment_name(settings)
            left, done = plan(root, results, environment, commits, campaign, names, nodes)
            sent = shipment.repository(top, settings["branches"][0], [] if ledger else commits)
            fleet.send(shipment.with_ledger(sent, ledger) if ledger else sent)
            place = (ledger.folder.name, ledger.package, ledger.flavour) if ledger else None
            runner = Runner(fleet, Home(results, environment), campaign, names, place, view.tell)
            view.begin(runner, done, len(left))
            runner.run(left)
    view.end(runner)
    return 1 if runner.failed else 0


@contextlib.contextmanager
def _joined(given: str | None) -> Iterator[str]:
    """The address of a cluster: the one that is named, or one that is started for the block."""
    named = given or os.environ.get("RAY_ADDRESS")
    if named:
        yield named
        return
    cluster.check_installed()
    say("no --address and no RAY_ADDRESS: a cluster is started on this host")
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="rp-") as folder, local_cluster(Path(folder)) as variables:
        os.environ.update(variables)
        try:
            yield variables["RAY_ADDRESS"]
        finally:
            for name in variables:
                os.environ.pop(name)
            os.environ.update({name: before[name] for name in variables if name in before})
