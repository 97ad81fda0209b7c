"""What a campaign does on a node, in a worker of Ray's: looks at it, and runs sessions in lanes.

A lane is a share of the node for one session at once: a folder with a checkout and asv's environments, and
cores of its own. It is locked while a session is in it, also by one whose worker is gone. Standard library
and the harness's own alone: the node's Python may have nothing else.
"""

import contextlib
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from .. import git
from ..errors import BenchError
from ..measure import machine

Event = dict[str, Any]

_END_SECONDS = 150.0
"""asv and its cases have a minute each, to end."""
_LANE_SECONDS = 10.0
_LAST_LINES = 5
_RAYS_OWN = ("OMP_NUM_THREADS",)
"""What Ray sets for a task by the CPUs that it asks for: what is measured sets its own."""


def look(node: str) -> Iterator[Event]:
    """The node's facts: what its kind is made of."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # Ray hides the GPUs from a task that asks for none
    where = {"node": node, "host": platform.node(), "arch": platform.machine()}
    yield machine.facts() | {"cores": os.cpu_count()} | where


def measure(node: str, request: dict[str, Any], repository: Any) -> Iterator[Event]:
    """Run a session; what it does, and the files that it leaves in results/ as they come.

    Events are `began`, `doing`, `files`, and `ended`, as `session` tells them. `repository` is a
    `shipment.Repository`.
    """
    folder = Path(request["folder"] or f"~/.cache/rollout-perf/{platform.node()}").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        locks = {number: stack.enter_context(lock) for number, lock in take_lanes(folder, request).items()}
        lane = lane_folder(folder, min(locks))
        yield {"event": "began", "node": node, "host": platform.node(), "lane": str(lane)}
        check_out(lane, repository)
        process = subprocess.Popen(
            [str(_python(lane, folder)), "-m", "rollout_bench.campaign.session"],
            cwd=lane / "bench",  # from which it is imported, whatever is installed
            env=_environment(request["gpus"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            pass_fds=[lock.fileno() for lock in locks.values()],
            start_new_session=True,
        )
        try:
            yield from _followed(
                process, request | {"locked": sorted(locks), "node": f"{platform.node()} {node}"}
            )
        finally:
            _end(process)


def lane_folder(folder: Path, number: int) -> Path:
    """Where a lane's checkout is."""
    return folder / f"lane-{number}"


def try_lane(folder: Path, number: int) -> IO[bytes] | None:
    """The lock of a lane; None where a session is in it."""
    file = (folder / f"lane-{number}.lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def take_lanes(folder: Path, request: dict[str, Any]) -> dict[int, IO[bytes]]:
    """The locks of as many lanes as a session asks for, the first that are free.

    Ray gives a node no more sessions than it has lanes; one may still be ending in its lane, and has
    its time. Lanes beyond these are of another node of Ray's on this host.
    """
    deadline = time.monotonic() + _LANE_SECONDS
    held: dict[int, IO[bytes]] = {}
    more = 0
    while True:
        for number in range(request["lanes"] + more):
            if len(held) < request["width"] and number not in held and (lock := try_lane(folder, number)):
                held[number] = lock
        if len(held) == request["width"]:
            return held
        time.sleep(0.5)
        more += time.monotonic() > deadline


def check_out(lane: Path, repository: Any) -> None:
    """Have a lane's checkout be what was sent; environments and results of before stay in it."""
    marker = lane / ".git" / "rollout-perf-key"
    if marker.exists() and marker.read_text() == repository.key:
        return
    marker.unlink(missing_ok=True)
    if not (lane / ".git").exists():
        lane.mkdir(exist_ok=True)
        git.change(lane, "init", "--quiet", f"--initial-branch={repository.branch}")
    if repository.shallow is not None:
        (lane / ".git" / "shallow").write_text(repository.shallow)
    git.change(lane, "index-pack", "--stdin", data=repository.pack)
    git.change(lane, "update-ref", f"refs/heads/{repository.branch}", repository.head)
    git.change(lane, "symbolic-ref", "HEAD", f"refs/heads/{repository.branch}")
    git.change(lane, "read-tree", "--reset", "-u", repository.tree)
    if repository.ledger is not None:
        bundle = lane / "releases" / repository.ledger[0] / "ledger.bundle"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_bytes(repository.bundle)
    marker.write_text(repository.key)


def _python(lane: Path, folder: Path) -> Path:
    """A Python that has asv: this one, or one made by the checkout's tools.lock."""
    if Path(sys.executable).with_name("asv").exists():
        return Path(sys.executable)
    tools = folder / "tools"
    with (folder / "tools.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (tools / "bin" / "asv").exists():
            _call(sys.executable, "-m", "venv", "--clear", str(tools))
            pins = str(lane / "requirements" / "tools.lock")
            _call(str(tools / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "-r", pins)
    return tools / "bin" / "python"


def _call(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise BenchError(f"asv cannot be installed on {platform.node()}: {done.stdout.strip()[-300:]}")


def _environment(gpus: int) -> dict[str, str]:
    """The node's own environment, without what Ray has set for this task, its GPUs aside."""
    kept = {
        name: value
        for name, value in git.environment().items()
        if not name.startswith("RAY_") and name not in (*_RAYS_OWN, "PYTHONPATH")
    }
    return kept | {"PYTHONUNBUFFERED": "1"} | ({} if gpus else {"CUDA_VISIBLE_DEVICES": ""})


def _followed(process: subprocess.Popen[str], request: dict[str, Any]) -> Iterator[Event]:
    """The events of a session, which ends when its standard input does."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    said: deque[str] = deque(maxlen=_LAST_LINES)
    ended = False
    for line in process.stdout:
        try:
            event = json.loads(line)
            ended |= event["event"] == "ended"
        except (ValueError, LookupError, TypeError):
            said.append(line.strip())
            continue
        yield event
    if not ended:
        why = " / ".join(said) or f"exit code {process.wait()}"
        yield {"event": "ended", "code": 1, "why": f"the session broke off: {why}"}


def _end(process: subprocess.Popen[str]) -> None:
    """End a session as at Ctrl-C, and wait until all that it started has ended."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.stdout is not None
    process.stdout.close()
