"""A session on a node: asv over the commits of one system under test, as `track` runs it.

Run in a lane's checkout by `campaign.node`, as `python -m rollout_bench.campaign.session`. Its request is a
line of JSON on standard input, whose end asks it to end; events go to standard output, a line of JSON each.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import BenchError
from ..history import asv_runs
from ..history.ledger import GIGABYTES, Ledger
from ..history.results import Commit
from ..measure.alone import alone
from ..measure.lanes import shares_of_cores
from ..measure.marked import let_end
from ..schema import variables
from .node import try_lane


def main() -> None:
    """Run the session that standard input asks for."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the worker does with it
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_asker, name="asker", daemon=True).start()
    try:
        tell("ended", **run(Path.cwd().parent, request))
    except BenchError as error:
        tell("ended", code=1, why=str(error))
    except KeyboardInterrupt:
        tell("ended", code=130, why="interrupted")


def run(lane: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Measure in a lane; asv's exit code, and its last words where it failed."""
    use_cores(request["locked"], request["lanes"])
    name = request["machine"]["machine"]
    make_room(lane, request)
    root = checkout_in(lane, request)
    results = asv_runs.results_folder(root)
    shutil.rmtree(results / name, ignore_errors=True)
    for path, text in request["files"].items():
        (results / path).parent.mkdir(parents=True, exist_ok=True)
        (results / path).write_text(text)
    _save_machine(request["machine"])
    sent = Sent(results, name, dict(request["files"]))
    commits = [Commit(*one) for one in request["commits"]]
    hashes = asv_runs.log_file(root).with_suffix(".commits")
    hashes.parent.mkdir(exist_ok=True)
    hashes.write_text("".join(f"{commit.hash}\n" for commit in commits))
    chosen = {variables.SET: request["set"], variables.NODE: request["node"]}
    if request["replicates"]:
        chosen[variables.REPLICATES] = str(request["replicates"])
    if request["lanes"] > 1:
        os.environ[variables.ALONE] = "a lane of a campaign"  # which has cores, and GPUs, of its own

    def say(text: str) -> None:
        tell("doing", text=text)
        sent.send("records/*.jsonl")

    log = asv_runs.log_file(root)
    log.unlink(missing_ok=True)
    bench = rf"--bench=^rollout\.({'|'.join(request['classes'])})\."
    try:
        with alone(say):
            code = asv_runs.run_asv(root, [f"HASHFILE:{hashes}", bench], commits, name, chosen, say, let_end)
    finally:
        sent.send("records/*.jsonl")
    sent.send("*.json")
    sent.send("../benchmarks.json")
    return {"code": code, "why": asv_runs.last_line(log) if code else None}


def checkout_in(lane: Path, request: Mapping[str, Any]) -> Path:
    """The checkout that asv runs in: the lane's, or a ledger's in it."""
    if not request["ledger"]:
        return lane
    ledger = Ledger(lane, *request["ledger"])
    ledger.take_sut(lambda text: tell("doing", text=text))
    return ledger.folder


class Sent:
    """What of a machine's results the campaign has already, and what it gets as it changes."""

    def __init__(self, results: Path, machine: str, known: dict[str, str]) -> None:
        self._results, self._machine, self._known = results, machine, known

    def send(self, pattern: str) -> None:
        """Tell of files that are new or have changed."""
        changed = {}
        for file in sorted((self._results / self._machine).glob(pattern)):
            path, text = os.path.relpath(file, self._results), file.read_text()
            if self._known.get(path) != text:
                changed[path] = self._known[path] = text
        if changed:
            tell("files", files=changed)


def use_cores(lanes: list[int], count: int) -> None:
    """Keep this process, and what it starts, on the cores of its lanes."""
    if count > 1:
        shares = shares_of_cores(count)
        os.sched_setaffinity(0, {core for lane in lanes for core in shares[lane % count]})


def make_room(lane: Path, request: Mapping[str, Any]) -> None:
    """Remove environments of lanes that no session is in, this one's last, until those to come have room.

    These are the commit's and the control's; of what is there already one changes at most.
    Raises BenchError where they have none then.
    """
    count = 1 if any(lane.glob(".asv/env*")) else 2
    wanted = GIGABYTES["cuda" if request["gpus"] else "cpu"] * count * 1e9
    others = [one for one in sorted(lane.parent.glob("lane-*/")) if one != lane]
    for at in [*others, lane]:
        if shutil.disk_usage(lane).free >= wanted:
            return
        lock = contextlib.nullcontext() if at == lane else try_lane(at.parent, int(at.name[len("lane-") :]))
        if lock is not None:
            with lock:
                tell("doing", text=f"removing the environments of {at}: the disk is short of space")
                for pattern in (".asv/env*", ".asv/control", ".asv/releases/*/.asv"):
                    for folder in at.glob(pattern):
                        shutil.rmtree(folder, ignore_errors=True)
    free = shutil.disk_usage(lane).free
    if free < wanted:
        raise BenchError(
            f"{lane} has {free / 1e9:.1f} GB free, and environments take {wanted / 1e9:g} GB: make room "
            "(`uv cache clean`), or name another disk by the file's `folder`"
        )


def tell(event: str, **facts: Any) -> None:
    """Write an event."""
    sys.stdout.write(f"{json.dumps({'event': event, **facts})}\n")
    sys.stdout.flush()


def _save_machine(entry: Mapping[str, str]) -> None:
    """Have asv know the kind of this node under its name; written only where it says otherwise."""
    from asv.machine import MachineCollection
    from asv.util import UserError

    with contextlib.suppress(UserError):
        if dict(MachineCollection.load(entry["machine"])) == dict(entry):
            return
    MachineCollection.save(entry["machine"], dict(entry))


def _end_with_asker() -> None:
    """End as at Ctrl-C when standard input does: the worker is gone, or wants it so."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
