"""asv's plugin: plain `asv publish` lists the open regressions that `detect` finds, in its page and its feed.

asv.conf.json names it. asv imports it with every command, as a part of the folder in which it runs and not of
a package that is installed, so what makes the lists is imported once pages are made.
"""

import os
import sys
from pathlib import Path
from typing import Any

from asv.console import log
from asv.plugins.regressions import Regressions
from asv.util import UserError

BENCH = Path(__file__).resolve().parents[2]


def setup() -> None:
    """Put it in the place of asv's own rule. asv calls this as it loads the plugin."""
    Regressions.publish = classmethod(_publish)


def _publish(cls: Any, conf: Any, repo: Any, benchmarks: Any, graphs: Any, revisions: dict[str, int]) -> None:
    sys.path.insert(0, str(BENCH))
    from rollout_bench.errors import BenchError
    from rollout_bench.schema.variables import PAGES

    if PAGES in os.environ:
        return
    try:
        from rollout_bench.site.asv_regressions import detect_regressions
    except ImportError as error:
        raise UserError(f"{error}, which `rollout-perf detect` needs: run `make setup`") from None
    index = {
        "benchmarks": dict(benchmarks),
        "revision_to_hash": {revision: commit for commit, revision in revisions.items()},
        "graph_param_list": [graph.params for _path, graph in graphs if "summary" not in graph.params],
        "params": graphs.get_params(),
    }
    try:
        for line in detect_regressions(Path(conf.html_dir), index, Path(conf.results_dir), Path.cwd()):
            log.warning(line)
    except BenchError as error:
        raise UserError(str(error)) from None
