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
from collections.abc import Iterator
from pathlib import Path

from ..errors import EngineError, Stalled
from .base import CLOSE_SECONDS, python_path

_OBJECT_STORE_BYTES = 256 * 1024 * 1024
_START_DEADLINE_SECONDS = 120.0


@contextlib.contextmanager
def local_cluster(folder: Path) -> Iterator[None]:
    """Have a Ray cluster for the length of the block, and its address in RAY_ADDRESS.

    A cluster that RAY_ADDRESS or this process already knows is used and left alone; otherwise
    one is started on this host, with its files in `folder`, and ended with the block.
    """
    if os.environ.get("RAY_ADDRESS"):
        yield
        return
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        with _environment({"RAY_ADDRESS": ray.get_runtime_context().gcs_address}):
            yield
        return
    token = folder / "ray-token"  # in a folder that only this user can enter
    token.write_text(secrets.token_hex(32))
    admission = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    holder = subprocess.Popen(
        [sys.executable, "-P", "-m", "rollout_perf.transports.ray_cluster", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": python_path()} | admission,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    raylet = ""
    try:
        if not select.select([holder.stdout], [], [], _START_DEADLINE_SECONDS)[0]:
            raise Stalled(f"Ray did not start within {_START_DEADLINE_SECONDS:g} s")
        address, _, raylet = holder.stdout.readline().strip().partition(" ")
        if not address:
            raise EngineError(f"Ray did not start; its logs are in {folder} while this process lives")
        with _environment({"RAY_ADDRESS": address, **admission}):
            yield
    finally:
        holder.stdin.close()
        try:
            holder.wait(CLOSE_SECONDS * 2)
        except subprocess.TimeoutExpired:
            holder.kill()
            holder.wait()
        holder.stdout.close()
        if raylet:
            # The semaphores of a graph's channels bear its number; killed, it has left them.
            for semaphore in Path("/dev/shm").glob(f"sem.???{raylet}-*"):
                semaphore.unlink(missing_ok=True)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Have `values` in this process's environment, which the engine's process inherits."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _hold_cluster(folder: str) -> None:
    """Start a cluster, print its address, and end it when standard input ends."""
    import ray

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked for it decides when it ends
    asker = os.getppid()
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        _temp_dir=folder,
    )
    print(ray.get_runtime_context().gcs_address, raylet_pid() or "", flush=True)
    sys.stdin.read()
    ray.shutdown()
    if os.getppid() != asker:  # killed, so it cannot; and Ray has written there until now
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
