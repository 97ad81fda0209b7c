"""What another user of this host can do to a run: tried by a child process that has become `nobody`.

    python stranger.py < REQUEST    prints, as JSON, what he got hold of

He knows everything that can be known without a secret: names, addresses, how Ray is joined.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil

NOBODY = 65534

NOTHING: dict[str, list] = {
    "list": [],
    "read": [],
    "write": [],
    "plant": [],
    "connect": [],
    "listen to the net": [],
}


def tree(*roots: int) -> list[psutil.Process]:
    """The processes with these numbers, and all below them."""
    found = [psutil.Process(root) for root in roots]
    return found + [child for root in found for child in root.children(recursive=True)]


def listeners(processes: list[psutil.Process]) -> tuple[set[str], set[str]]:
    """Addresses that they listen on over tcp, and paths of their unix sockets."""
    addresses, paths = set(), set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in process.net_connections(kind="all"):
                if one.status == psutil.CONN_LISTEN:
                    addresses.add(one.laddr.ip.removeprefix("::ffff:"))
                elif one.family == socket.AF_UNIX and str(one.laddr).startswith("/"):
                    paths.add(one.laddr)
    return addresses, paths


def shared_memory(processes: list[psutil.Process]) -> set[str]:
    """What they have mapped of /dev/shm."""
    found = set()
    for process in processes:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
                name = line[line.find("/dev/shm/") :] if "/dev/shm/" in line else ""
                if os.path.exists(name):
                    found.add(name)
    return found


def gains(folder: Path, processes: list[psutil.Process]) -> dict[str, list]:
    """What a stranger can do to a run with this folder and these processes; every list must be empty."""
    addresses, sockets = listeners(processes)
    files = [str(path) for path in (folder, *folder.rglob("*"))]
    memory = shared_memory(processes)
    assert files
    request = {"files": files, "sockets": sorted(sockets), "memory": sorted(memory)}
    done = subprocess.run(
        [sys.executable, __file__], input=json.dumps(request), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    outside = sorted(address for address in addresses if address not in ("127.0.0.1", "::1"))
    return {**json.loads(done.stdout), "listen to the net": outside}


def can(action, *arguments) -> bool:
    try:
        action(*arguments)
    except OSError:
        return False
    return True


def touch(path: str, mode: str) -> None:
    with open(path, mode):
        pass


def plant(folder: str) -> None:
    """Leave a file of his own in a folder."""
    path = f"{folder}/planted"
    with open(path, "x"):
        pass
    os.unlink(path)


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)


def main() -> None:
    request = json.load(sys.stdin)
    # Not by `subprocess`: he need not be able to run this Python, which may lie in root's home.
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    files = request["files"]
    contents = files + request["memory"]
    gained = {
        "list": [path for path in files if can(os.listdir, path)],
        "read": [path for path in contents if can(touch, path, "rb")],
        "write": [path for path in contents if can(touch, path, "ab")],
        "plant": [path for path in files if can(plant, path)],
        "connect": [path for path in request["sockets"] if can(connect, path)],
    }
    print(json.dumps(gained))


if __name__ == "__main__":
    main()
