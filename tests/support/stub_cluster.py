"""A Ray cluster of this host whose nodes have the real campaign's tasks, and sessions that only wait.

with stub_cluster(cpus=[1, 1]) as (fleet, nodes): ...
"""

import contextlib
import io
import zipfile
from collections.abc import Iterator
from typing import Any
from unittest import mock

from fake_fleet import ENVIRONMENT
from rollout_bench.campaign import cluster

RECORD_BYTES = 40_000
"""Of a table of two paths at two batches."""

STUB = f"""
import time

def look(node):
    yield {{"host": node[:6], "cpu": "stub", "cores": 1, "memory_bytes": 1, "arch": "stub", "gpus": []}}

def measure(node, request, repository):
    machine, commit = request["machine"]["machine"], request["commits"][0][0][:8]
    yield {{"event": "began", "node": node, "host": node[:6], "lane": ""}}
    time.sleep(float(request["folder"]))
    yield {{"event": "doing", "text": "round 1/4"}}
    file = f"{{machine}}/records/{{commit}}-{ENVIRONMENT}-nano.jsonl"
    yield {{"event": "files", "files": {{file: "x" * {RECORD_BYTES}}}}}
    yield {{"event": "ended", "code": 0, "why": None}}
"""


def stub_harness() -> bytes:
    """A harness whose sessions wait as long as the campaign's `folder` says, and measure nothing."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, text in (("__init__", ""), ("campaign/__init__", ""), ("campaign/node", STUB)):
            archive.writestr(f"rollout_bench/{name}.py", text)
    return written.getvalue()


@contextlib.contextmanager
def stub_cluster(cpus: list[int]) -> Iterator[tuple[cluster.Cluster, Any]]:
    """A raylet for each of these, with so many CPUs; and Ray's own means to add and remove one."""
    from ray.cluster_utils import Cluster

    own = {"include_dashboard": False, "object_store_memory": 100_000_000}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus[0], **own})
    try:
        for count in cpus[1:]:
            made.add_node(num_cpus=count, object_store_memory=own["object_store_memory"])
        with mock.patch.object(cluster, "harness", stub_harness):
            fleet = cluster.Cluster(made.address)
        with contextlib.closing(fleet):
            fleet.send(None)  # type: ignore[arg-type]
            yield fleet, made
    finally:
        made.shutdown()
