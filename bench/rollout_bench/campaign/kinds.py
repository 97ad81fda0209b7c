"""Nodes of one kind: what they have in common, and what their results are called. Pure.

A series is of one kind of hardware. What may differ between two nodes of a kind (driver, kernel, memory) is
in each record.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..measure.tracked import FLAVOURS, Tracked
from .file import Campaign

_NOISE = re.compile(r"\((r|tm)\)|\b(nvidia|cpu|processor)\b|@", re.IGNORECASE)


@dataclass(frozen=True)
class Node:
    """A node of the cluster, and what it has for sessions."""

    identity: str
    """Ray's."""
    host: str
    kind: str
    cpus: float
    """As Ray counts them."""
    gpus: int
    facts: Mapping[str, Any]
    """What `node.look` has found there."""


def kind_of(facts: Mapping[str, Any], gpus: int) -> str:
    """The name of a kind: GPU model and count, CPU model and cores."""
    gpu = f"{facts['gpus'][0]['name']} {gpus}x " if gpus and facts["gpus"] else ""
    text = _NOISE.sub(" ", f"{gpu}{facts['cpu']} {facts['cores']} cores").lower()
    return re.sub(r"[^\w.]+", "-", text).strip("-")


def machine_of(name: str, node: Node) -> dict[str, str]:
    """asv's entry for the nodes of a kind, under their name in results/. It is part of a series' identity."""
    facts = node.facts
    entry = {"machine": name, "os": "Linux", "arch": facts["arch"], "cpu": facts["cpu"]}
    entry |= {"num_cpu": str(facts["cores"]), "ram": f"{facts['memory_bytes'] / 1024**3:.0f} GiB"}
    return entry | ({"gpu": f"{node.gpus} x {facts['gpus'][0]['name']}"} if node.gpus else {})


def choose(nodes: Sequence[Node], campaign: Campaign) -> dict[str, str]:
    """The kinds to measure on, and the name of each in results/.

    Raises UsageError where no kind has what the tables ask for, or where several have and none is named.
    """
    have = _listed(nodes)
    if campaign.machines:
        for kind in campaign.machines:
            if not any(node.kind == kind for node in nodes):
                raise UsageError(f"machines has the kind {kind!r}; the cluster has {have}")
    named = [node for node in nodes if not campaign.machines or node.kind in campaign.machines]
    tables = campaign.tables
    lacking = {name: one for name, one in tables.items() if not any(fits(one, node) for node in named)}
    for name, one in lacking.items():
        if campaign.are_named or len(lacking) == len(tables):
            asked = gpus_of(one)
            what = f"{asked} GPU{'s' * (asked > 1)} on one node" if asked else "a node without a GPU"
            raise UsageError(f"{name} of tracked.toml asks for {what}; the cluster has {have}")
    fitting = {node.kind: node for node in named if any(fits(one, node) for one in tables.values())}
    for flavour in FLAVOURS.values():
        alike = [kind for kind, node in fitting.items() if FLAVOURS[node.gpus > 0] == flavour]
        if len(alike) > 1 and not campaign.machines:
            raise UsageError(
                f"the cluster has nodes of {len(alike)} kinds for these tables, and no series has two: name "
                f'those to measure on in the file, such as machines = {{"{alike[0]}" = "{alike[0]}"}}; '
                f"it has {have}"
            )
    return {kind: campaign.machines.get(kind, kind) for kind in fitting}


def gpus_of(table: Tracked) -> int:
    """GPUs that a session of a table asks for."""
    return table.tensor_parallel_size if table.flavour == FLAVOURS[True] else 0


def fits(table: Tracked, node: Node) -> bool:
    """Whether a node has what a session of a table asks for."""
    return table.flavour == FLAVOURS[node.gpus > 0] and node.gpus >= gpus_of(table)


def _listed(nodes: Sequence[Node]) -> str:
    """The nodes by kind, for people."""
    counted = Counter((node.kind, node.gpus) for node in nodes)
    rows = [
        f"{count} node{'s' * (count > 1)} of {kind} with {gpus or 'no'} GPU{'s' * (gpus != 1)}"
        for (kind, gpus), count in counted.items()
    ]
    return "; ".join(rows) or "no node with a CPU for sessions"


def share_of(nodes: Sequence[Node], gpus: int, sessions_per_node: int) -> float:
    """The CPUs that a session asks Ray for, so that a node runs as many at once as it should and no more.

    Raises UsageError where no number does that on each of these nodes of a kind.
    """
    if gpus:
        return min(node.cpus / node.gpus for node in nodes) * gpus
    fewest, most = (choice(node.cpus for node in nodes) for choice in (min, max))
    share = fewest / sessions_per_node
    if most >= share * (sessions_per_node + 1):
        raise UsageError(
            f"nodes of {nodes[0].kind} have {fewest:g} to {most:g} CPUs for Ray, and some would run more "
            "sessions at once than others: start Ray with the same --num-cpus on each"
        )
    return share
