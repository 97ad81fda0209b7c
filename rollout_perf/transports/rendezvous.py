"""How workers find each other for torch: by a file on one host, and across hosts by a store at one address.

torch's own server for tcp listens on every interface, and whoever reaches it may read and write in it; here
it gets a socket that is bound to the one that reaches the other nodes.
"""

import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

_SCHEME = "rollout-perf"


def across(address_and_port: str) -> str:
    """The init method for workers of several hosts; rank 0's listens there."""
    return f"{_SCHEME}://{address_and_port}"


def for_rank(init_method: str, rank: int) -> str:
    """The init method as worker `rank` gives it to vLLM, which can be used in this process from now on."""
    if not init_method.startswith(_SCHEME):
        return init_method
    import torch.distributed

    torch.distributed.register_rendezvous_handler(_SCHEME, _store)
    # vLLM's workers on the CPU use shared memory where what follows the last colon is the same for all
    # (0.32), and would not see that they are on different hosts.
    return f"{init_method}/:{rank}"


def _store(url: str, timeout: timedelta | None = None, **_more: Any) -> Iterator[tuple[Any, int, int]]:
    """torch's rendezvous handler: the store, this rank, and how many there are."""
    from torch.distributed import TCPStore
    from torch.distributed.constants import default_pg_timeout

    parts = urlsplit(url)
    host, port, query = str(parts.hostname), int(parts.port or 0), parse_qs(parts.query)
    rank, world_size = int(query["rank"][0]), int(query["world_size"][0])
    listener = None
    if rank == 0:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family).detach()
    yield (
        TCPStore(
            host,
            port,
            world_size,
            rank == 0,
            timeout or default_pg_timeout,
            master_listen_fd=listener,
        ),
        rank,
        world_size,
    )
