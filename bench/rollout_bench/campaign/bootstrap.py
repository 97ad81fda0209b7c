"""The first code of a task on a node. Ray carries it there by value: the node need not have the harness.

So it knows the standard library and Ray alone, and imports what else it needs from what it was sent.
"""

from collections.abc import Iterator
from typing import Any


def on_node(harness: bytes, function: str, *arguments: Any) -> Iterator[dict[str, Any]]:
    """What a function of `campaign.node` yields on this node, by the harness that was sent."""
    import hashlib
    import os
    import sys
    import tempfile
    from pathlib import Path

    import ray

    folder = Path(tempfile.gettempdir()) / f"rollout-perf-harness-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise RuntimeError(f"{folder} is another user's: remove it, or set TMPDIR where Ray is started")
    file = folder / f"{hashlib.sha256(harness).hexdigest()[:16]}.zip"
    if not file.exists():
        part = file.with_suffix(f".{os.getpid()}")
        part.write_bytes(harness)
        part.rename(file)
    if str(file) not in sys.path:
        sys.path.insert(0, str(file))
    from rollout_bench.campaign import node

    yield from getattr(node, function)(ray.get_runtime_context().get_node_id(), *arguments)
