"""One run of an engine: the folder and the settings that its processes share.

The process that opens a rollout, the front, makes the run; the engine's process finds it through the
environment variable ROLLOUT_PERF_RUN. Which processes belong to a run, and how they are ended, is in
`watcher`.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from .. import errors
from ..errors import EngineError, Stalled
from . import watcher
from .placement import Placement
from .watcher import VARIABLE, write_private

_SETTINGS = ("transport", "start_deadline_seconds", "step_deadline_seconds", "endpoint")


@dataclass(frozen=True)
class Run:
    """Where a run keeps its sockets and notes, which path it takes, and how long it waits."""

    folder: Path
    transport: str
    start_deadline_seconds: float
    step_deadline_seconds: float
    endpoint: str | None = None
    """Where the transport's sockets are bound, where that is not its own choice."""
    placement: Placement | None = None
    """Where the workers are, where that is not this host."""
    watcher: subprocess.Popen | None = field(default=None, repr=False)
    """The process that ends the run if the front, where alone it is known, is killed."""

    @classmethod
    def create(
        cls,
        transport: str,
        start_deadline_seconds: float,
        step_deadline_seconds: float,
        endpoint: str | None = None,
        placement: Placement | None = None,
    ) -> "Run":
        """Make the run's folder, which only this user can enter, with the settings; start its watcher."""
        # Directly under /tmp: the path of a unix socket may have 107 bytes at most, Ray's have about 95.
        folder = Path(tempfile.mkdtemp(prefix="rp-", dir="/tmp"))
        run = cls(folder, transport, start_deadline_seconds, step_deadline_seconds, endpoint, placement)
        settings = {name: getattr(run, name) for name in _SETTINGS}
        settings["placement"] = placement.as_json() if placement else None
        write_private(folder / "run.json", json.dumps(settings))
        return replace(run, watcher=_watch(folder))

    @classmethod
    def from_environment(cls) -> "Run":
        """The run that this process belongs to. Raises EngineError where there is none."""
        folder = os.environ.get(VARIABLE)
        if not folder:
            raise EngineError(f"{VARIABLE} is not set: start the engine through rollout_perf.open_rollout")
        settings = json.loads((Path(folder) / "run.json").read_text())
        placement = settings.pop("placement")
        return cls(Path(folder), **settings, placement=Placement.of_json(placement) if placement else None)

    def variables(self) -> dict[str, str]:
        """What the environment of its processes says: the run's mark, that no title overwrites it, and that
        vLLM makes its sockets, which it leaves, in the run's folder."""
        mark = str(self.folder)
        return {VARIABLE: mark, "SPT_NOENV": "1", "VLLM_RPC_BASE_PATH": mark}

    def note_failure(self, error: EngineError) -> None:
        """Leave the cause of a failure for the process that opened the rollout."""
        path = self.folder / "failure.json"
        if not self.folder.is_dir() or (type(error) is EngineError and path.exists()):
            return  # the run is over, or a cause is known and this is what followed from it
        scratch = path.with_suffix(f".{os.getpid()}-{os.urandom(4).hex()}")
        write_private(scratch, json.dumps({"kind": type(error).__name__, "text": str(error)}))
        scratch.replace(path)

    def failure(self) -> EngineError | None:
        """The cause that the engine's process has left, if any."""
        try:
            note = json.loads((self.folder / "failure.json").read_text())
        except FileNotFoundError:
            return None
        return getattr(errors, note["kind"], EngineError)(note["text"])

    def kill(self) -> None:
        """Kill every process of the run; called by the front."""
        watcher.kill(watcher.members(str(self.folder), self._pipe()))

    def started_late(self) -> Stalled:
        """The error of a start that has not ended in time, with how far its processes have come, which must
        still be there; called by the front."""
        living = watcher.described(watcher.members(str(self.folder), self._pipe()))
        return Stalled(
            f"the engine did not start within {self.start_deadline_seconds:g} s; "
            f"its processes then: {', '.join(living) or 'none'}"
        )

    def shared_memory(self) -> set[str]:
        """Names of the shared memory that the run's processes use; called by the front."""
        return watcher.mapped(str(self.folder), self._pipe())

    def end(self, grace_seconds: float, known: Iterable[str] = ()) -> None:
        """Wait for the run's processes to end, kill those that do not, and remove folder and shared memory,
        what was `known` of it before among that; called by the front, once."""
        assert self.watcher is not None
        watcher.end(str(self.folder), self._pipe(), grace_seconds, known)
        self.watcher.kill()
        self.watcher.wait()
        _pipes.pop(str(self.folder)).close()

    def _pipe(self) -> str:
        return watcher.pipe_of(_pipes[str(self.folder)].fileno())


_pipes: dict[str, IO[bytes]] = {}
"""The front's end of each watcher's pipe, by the folder of the run."""


def _watch(folder: Path) -> subprocess.Popen:
    """Start the process that ends the run when this one is killed; they share nothing but a pipe."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", watcher.__file__, str(folder), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,
    )
    assert process.stdin is not None
    _pipes[str(folder)] = process.stdin
    return process


def _leave_other_runs() -> None:
    """In a fork: keep the pipe of the run that it is made for alone; it would end with any that is open."""
    for folder, pipe in _pipes.items():
        if folder != os.environ.get(VARIABLE):
            pipe.close()


os.register_at_fork(after_in_child=_leave_other_runs)
