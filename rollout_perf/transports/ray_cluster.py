"""A Ray cluster for the length of a rollout: joined where there is one, else started on this host.

A process of its own holds a started cluster. The process that opens the rollout must not even
import Ray: vLLM forks its engine from it, and neither Ray's threads nor the settings that its
library reads when it is loaded would be right in the fork. Run as

    python -P -m rollout_perf.transports.ray_cluster FOLDER
"""

import contextlib
import os
import secrets
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import EngineError, Stalled
from .base import CLOSE_SECONDS, python_path
from .watcher import note_shared_memory, remove_shared_memory, write_private

_OBJECT_STORE_BYTES = 256 * 1024 * 1024
_START_DEADLINE_SECONDS = 120.0

_LOOPBACK = {
    # Unless told that a cluster may not be of several hosts, as on macOS, Ray takes this host's outer
    # address for its own, and whatever listens does so on every interface (Ray 2.60).
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # vLLM's own executor looks for the node of this address, and listens there.
    "VLLM_HOST_IP": "127.0.0.1",
}

_WORKERS = {
    "RAY_worker_niceness": "0",
    # For whoever joins Ray starts a process for each core, which can be none of our actors: these have an
    # environment of their own.
    "RAY_prestart_worker_first_driver": "0",
}


@contextlib.contextmanager
def local_cluster(folder: Path) -> Iterator[Mapping[str, str]]:
    """Have a Ray cluster for the length of the block; yields the environment variables by which it is joined.

    A cluster that RAY_ADDRESS or this process already knows is used and left alone; otherwise
    one is started on this host, with its files in `folder`, and ended with the block. It listens on the
    loopback interface alone, lets in who knows its token, and only this user can read that.
    """
    if os.environ.get("RAY_ADDRESS"):
        yield {}
        return
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        yield {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
        return
    # Ray opens its own folder to everyone: this one keeps others out of it.
    home = Path(tempfile.mkdtemp(prefix="ray-", dir=folder))
    token = home / "token"
    write_private(token, secrets.token_hex(32))
    admission = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), **_LOOPBACK}
    holder = subprocess.Popen(
        [sys.executable, "-P", "-m", "rollout_perf.transports.ray_cluster", str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": python_path()} | _WORKERS | admission,
        text=True,
        errors="replace",
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    raylet = ""
    try:
        if not select.select([holder.stdout], [], [], _START_DEADLINE_SECONDS)[0]:
            raise Stalled(f"Ray did not start within {_START_DEADLINE_SECONDS:g} s")
        address, _, raylet = holder.stdout.readline().strip().partition(" ")
        if not address:
            raise EngineError(f"Ray did not start; its logs are in {home} while this process lives")
        if raylet:  # its number is in the names of the semaphores that a graph's channels have
            note_shared_memory(folder, f"sem.???{raylet}-*")
        yield {"RAY_ADDRESS": address, **admission}
    finally:
        holder.stdin.close()
        try:
            holder.wait(CLOSE_SECONDS * 2)
        except subprocess.TimeoutExpired:
            holder.kill()
            holder.wait()
        holder.stdout.close()
        remove_shared_memory(folder)  # a raylet that was killed has left them


def _hold_cluster(folder: str) -> None:
    """Start a cluster with its files in `folder`, print its address; end both when standard input ends."""
    import ray

    os.umask(0o077)  # a graph's semaphores are in /dev/shm, where no folder keeps others out
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked for it decides when it ends
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        _temp_dir=f"{folder}/t",  # a unix socket's path may have 107 bytes, and Ray adds 65
        _node_ip_address=_LOOPBACK["VLLM_HOST_IP"],
    )
    print(ray.get_runtime_context().gcs_address, raylet_pid() or "", flush=True)
    sys.stdin.read()
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def raylet_pid() -> int | None:
    """The process by which Ray keeps the workers of this host; None where it cannot be seen from here."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    [path] = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == here]
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            size = struct.calcsize("3i")  # struct ucred: process, user and group of whoever listens there
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    except OSError:
        return None
    return struct.unpack("3i", peer)[0] or None  # 0: a process of another container


if __name__ == "__main__":
    _hold_cluster(sys.argv[1])
