"""The process beside an engine that has Ray start vLLM's own on the other nodes: see `headless`.

Of its own, since vLLM forks the engine from the front, which must not load Ray. Run as

    python -P -m rollout_perf.engine.other_nodes < bootstrap
"""

import os
import sys
from typing import Any

from ..errors import EngineError, WorkerDied
from ..transports.base import HostSpec, inherited
from ..transports.processes import WorkerProcesses, take_bootstrap
from ..transports.run import Run
from .headless import node_arguments


class OtherNodes:
    """What of vLLM's executor is on other nodes than the engine; in the front's hands."""

    def __init__(self, run: Run, arguments: dict[str, Any], gpus: int):
        """Raises ConfigurationError where vLLM's executor cannot have its workers where the run has them."""
        assert run.placement is not None
        self.arguments, others = node_arguments(run.placement)
        """What the engine's own arguments have beside."""
        [here, *_more] = [place for place in run.placement.places if place.is_here]
        os.environ.update(here.environment)
        spec = HostSpec("", b"", inherited(), gpus, run.placement)
        self._process = WorkerProcesses("rollout_perf.engine.other_nodes", "the process for other nodes:")
        self._process.launch([({rank: arguments | more for rank, more in others.items()}, spec)], {})
        self._process.watch(lambda _epitaph: run.kill())

    def close(self) -> None:
        """End it, and with it what Ray started."""
        self._process.expect_end()
        self._process.end(0.0)


def main() -> None:
    """Have a process on each node that the bootstrap names, until the engine has gone or one of them has."""
    arguments, spec = take_bootstrap()
    from ..transports.remote_processes import RemoteProcesses

    run = Run.from_environment()
    processes = RemoteProcesses("rollout_perf.engine.headless", spec, list(arguments))
    try:
        processes.launch(list(arguments.values()), spec.environment)
    except EngineError as error:
        run.note_failure(error)
        sys.exit(1)
    ends = processes.first_end()
    run.note_failure(WorkerDied(ends))
    sys.exit(1)


if __name__ == "__main__":
    main()
