"""vLLM's own multiprocessing executor over several nodes: its part on each node other than the engine's.

vLLM has a process for that, which `vllm serve --headless` starts by hand on each node. Here Ray starts it:

    other_nodes   a process beside the engine, which has Ray start this on the other nodes, and watches
    headless      that process: vLLM's workers of its node

Knows no transport of ours: calls and replies are vLLM's business. Run as

    python -P -m rollout_perf.engine.headless < bootstrap
"""

from typing import Any

from ..errors import ConfigurationError
from ..transports.placement import Placement
from ..transports.processes import take_bootstrap


def node_arguments(placement: Placement) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """vLLM's engine arguments by which its executor spans the nodes: of the engine, and of a worker's rank on
    each other node. Raises ConfigurationError where vLLM cannot have its workers so.
    """
    ranks: dict[str, list[int]] = {}
    for rank, place in enumerate(placement.places):
        ranks.setdefault(place.node, []).append(rank)
    here = [place.node for place in placement.places if place.is_here]
    if not here or len(set(map(len, ranks.values()))) > 1:
        raise ConfigurationError(
            "vLLM's own executor has as many workers on this host as on each other node; they would be on "
            + ", ".join(place.name for place in placement.places)
        )
    own = placement.facts[0]
    shared = {
        "nnodes": len(ranks),
        "master_addr": own["address"],
        "master_port": own["free_port"],
    }
    others = [its[0] for node, its in ranks.items() if node != here[0]]
    return shared, {rank: shared | {"node_rank": number} for number, rank in enumerate(others, 1)}


def main() -> None:
    """Run the workers of this node until the engine has gone."""
    arguments = take_bootstrap()
    from vllm import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.executor.multiproc_executor import MultiprocExecutor

    config = AsyncEngineArgs(**arguments).create_engine_config(UsageContext.ENGINE_CONTEXT, headless=True)
    executor = MultiprocExecutor(config, monitor_workers=False)
    executor.start_worker_monitor(inline=True)


if __name__ == "__main__":
    main()
