"""One run of an engine: the folder and the settings that its processes share.

The process that opens a rollout makes the run; the engine's process finds it through the
environment variable ROLLOUT_PERF_RUN. The variable also marks the processes that belong to the
run, except those that vLLM forks: they show the environment that this process began with, and
are known as its children, by the title that vLLM gives them.
"""

import contextlib
import json
import os
import select
import shutil
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from .. import errors
from ..errors import EngineError

VARIABLE = "ROLLOUT_PERF_RUN"
_SETTINGS = ("transport", "start_deadline_seconds", "step_deadline_seconds", "endpoint", "front")


@dataclass(frozen=True)
class Run:
    """Where a run keeps its sockets and notes, which path it takes, and how long it waits."""

    folder: Path
    transport: str
    start_deadline_seconds: float
    step_deadline_seconds: float
    endpoint: str | None = None
    """Where the transport's sockets are bound, where that is not its own choice."""
    front: int = field(default_factory=os.getpid)
    """The process that has opened the run."""
    forked_before: frozenset[psutil.Process] = field(default=frozenset(), repr=False)
    """What vLLM had forked from this process before the run, which is none of its business."""

    @classmethod
    def create(
        cls,
        transport: str,
        start_deadline_seconds: float,
        step_deadline_seconds: float,
        endpoint: str | None = None,
    ) -> "Run":
        """Make the run's folder, which only this user can enter, and write the settings there."""
        # Directly under /tmp: the path of a unix socket may have 107 bytes at most, Ray's are long.
        folder = Path(tempfile.mkdtemp(prefix="rp-", dir="/tmp"))
        before = frozenset(_forked())
        run = cls(
            folder, transport, start_deadline_seconds, step_deadline_seconds, endpoint, forked_before=before
        )
        settings = {name: getattr(run, name) for name in _SETTINGS}
        (folder / "run.json").write_text(json.dumps(settings))
        return run

    @classmethod
    def from_environment(cls) -> "Run":
        """The run that this process belongs to. Raises EngineError where there is none."""
        folder = os.environ.get(VARIABLE)
        if not folder:
            raise EngineError(f"{VARIABLE} is not set: start the engine through rollout_perf.open_rollout")
        return cls(Path(folder), **json.loads((Path(folder) / "run.json").read_text()))

    def note_failure(self, error: EngineError) -> None:
        """Leave the cause of a failure for the process that opened the rollout."""
        path = self.folder / "failure.json"
        if not self.folder.is_dir() or (type(error) is EngineError and path.exists()):
            return  # the run is over, or a cause is known and this is what followed from it
        scratch = path.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps({"kind": type(error).__name__, "text": str(error)}))
        scratch.replace(path)

    def failure(self) -> EngineError | None:
        """The cause that the engine's process has left, if any."""
        try:
            note = json.loads((self.folder / "failure.json").read_text())
        except FileNotFoundError:
            return None
        return getattr(errors, note["kind"], EngineError)(note["text"])

    def processes(self) -> list[psutil.Process]:
        """Every living process, other than this one, that was started within the run."""
        found = set(_forked()) - self.forked_before
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get(VARIABLE) == str(self.folder):
                    found.add(process)
            except psutil.Error:
                continue
        return sorted(found, key=lambda process: process.pid)

    def end_with_front(self) -> None:
        """Have this process, the engine's, end when the front does: one that is killed ends nothing itself.

        The workers end with the engine.
        """
        if self.front != os.getpid():
            threading.Thread(target=self._end_with_front, name="front-watch", daemon=True).start()

    def _end_with_front(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            ended = select.poll()
            ended.register(os.pidfd_open(self.front), select.POLLIN)
            ended.poll()
        self._remove()
        os._exit(1)

    def note_group(self, identity: str) -> None:
        """Note by what name the workers find each other: vLLM names shared memory by it, on the CPU."""
        (self.folder / "group").write_text(identity)

    def end(self, grace_seconds: float) -> None:
        """Wait for the run's processes to end, kill those that do not; remove folder and shared memory."""
        _gone, alive = psutil.wait_procs(self.processes(), timeout=grace_seconds)
        for process in alive:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(alive, timeout=grace_seconds)
        self._remove()

    def _remove(self) -> None:
        group = self.folder / "group"
        if group.is_file():  # a worker that is killed leaves its segment
            for segment in Path("/dev/shm").glob(f"{group.read_text()}-*-cpushm_*"):
                segment.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _forked() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith("VLLM::"):
                found.append(process)
        except psutil.Error:
            continue
    return found
