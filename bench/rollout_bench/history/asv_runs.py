"""Runs asv over a range of commits and says how it goes.

asv starts the engines; this starts asv. It knows git's ranges, asv's files and asv's output, and
the harness only as a folder: a checkout with asv.conf.json and benchmarks/.
"""

import contextlib
import itertools
import json
import os
import platform
import queue
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import git
from ..errors import UsageError
from ..measure.marked import end_with_asker
from ..schema import variables
from ..schema.shape import read_json
from .results import Commit

DEFAULT_RANGE = "HEAD~2..HEAD"
_EVERYTHING = "--max-count=2 HEAD"  # what the default range comes to where HEAD~2 does not exist
_ALLOWED = "give what `git rev-list` takes, such as HEAD~5..HEAD, v1.0..main or HEAD^!"
MACHINE_NAME = re.compile(r"\w[\w .+@-]*")
_ASV_END_SECONDS = 60.0
_CELL_END_SECONDS = 60.0
_POLL_SECONDS = 0.3


class Interrupted(KeyboardInterrupt):
    """The run was interrupted; asv and every case have ended."""


def find_range(root: Path, given: str | None) -> tuple[str, list[Commit]]:
    """The range to give to asv and its commits, newest first.

    Raises UsageError where this is no repository, or the range is unknown or empty, names no revision
    (git would take HEAD, and asv fails), or has an option that does more than choose commits: asv hands its
    words to git as they are.
    """
    git.require()
    if git.answer(root, "rev-parse", "--git-dir") is None:
        raise UsageError(
            f"{root} is not in a git repository that git reads, and asv measures commits: {git.refusal(root)}"
        )
    if git.answer(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") is None:
        raise UsageError(f"the repository in {root} has no commit yet: commit something first")
    wanted = DEFAULT_RANGE if given is None else given.strip()
    if given is None and git.answer(root, "rev-parse", "--verify", "--quiet", "HEAD~2^{commit}") is None:
        wanted = _EVERYTHING
    if wanted == "HEAD":  # to asv it is the one commit, to git all of its history
        wanted = "HEAD^!"
    try:
        words = shlex.split(wanted)
    except ValueError as error:
        raise UsageError(f"cannot read the range {wanted!r}: {error}") from None
    options, revisions = git.split_range(words)
    if not revisions and not {"--all", "--branches", "--tags"} & {*options}:
        raise UsageError(f"the range {given!r} names no revision: {_ALLOWED}, or leave it out for the newest")
    logged = git.log(root, *options, given=revisions)
    if logged is None:
        raise UsageError(f"unknown range {wanted!r}: {_ALLOWED}")
    commits = [Commit(one.hash, one.subject, one.time) for one in logged]
    if not commits:
        raise UsageError(f"no commit is in the range {wanted!r} (A..B leaves A out): {_ALLOWED}")
    return wanted, commits


def name_machine(name: str | None, gpus: Sequence[dict[str, str]]) -> str:
    """The machine's name in results/; asv's entry for it is made where there is none.

    Raises UsageError where asv is not installed, or its file of machines cannot be read or written.
    """
    entry = machine_entry(name, gpus)
    from asv.machine import MachineCollection
    from asv.util import UserError

    try:
        MachineCollection.save(entry["machine"], entry)
    except (UserError, OSError) as error:
        file = MachineCollection.get_machine_file_path()
        raise UsageError(
            f"asv's file of machines, {file}, cannot be read or written: {error}; mend it or move it away"
        ) from None
    return entry["machine"]


def machine_entry(name: str | None, gpus: Sequence[dict[str, str]]) -> dict[str, str]:
    """asv's entry for this machine under a name, as it is or would be made.

    What changes often and says little (kernel, exact memory) is left out: it is part of a series'
    identity. Raises UsageError where asv is not installed.
    """
    try:
        from asv.machine import Machine, MachineCollection
        from asv.util import UserError
    except ImportError:
        raise UsageError("asv is not installed here: run `make setup`") from None
    default = os.environ.get(variables.MACHINE) or Machine.get_unique_machine_name()
    asked = default if name is None else name
    if not MACHINE_NAME.fullmatch(asked):
        raise UsageError(
            f"{variables.MACHINE if name is None else '--machine'} is {asked!r}; a name is of letters, "
            "digits, spaces and . _ + @ - and begins with a letter or digit: results/ has a folder of it"
        )
    try:
        return dict(MachineCollection.load(asked))
    except UserError:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        entry = Machine.get_defaults() | {
            "machine": asked,
            "os": platform.system(),
            "ram": f"{memory / 1024**3:.0f} GiB",
        }
        if gpus:
            entry |= {"gpu": f"{len(gpus)} x {gpus[0]['name']}", "driver": gpus[0]["driver"]}
        return dict(entry)


def other_machine(folder: Path, own: Mapping[str, str], say: Callable[[str], None]) -> str | None:
    """What a machine's folder of results says of another machine than this, whose entry is `own`."""
    file = folder / "machine.json"
    if not file.exists():
        return None
    try:
        known = dict(read_json(file.read_text()))
    except (ValueError, TypeError) as error:
        say(f"damaged and passed over: {file}: {error}")
        return None
    for fact in ("arch", "cpu", "num_cpu", "gpu"):
        if fact in known and known[fact] != own.get(fact):
            return f"another machine ({fact} {known[fact]}, here {own.get(fact, 'none')})"
    return None


def run_asv(
    root: Path,
    asked: Sequence[str],
    commits: Sequence[Commit],
    machine: str,
    chosen: dict[str, str],
    say: Callable[[str], None],
    end_processes: Callable[[str, str, float], None],
) -> int:
    """Run asv over `asked`, a range and options; its exit code. `log_file` gains all of its output.

    `chosen` are the environment variables that say what is measured.
    `end_processes(name, value, grace_seconds)` ends what has `name=value` in its environment: the
    cells, which asv does not know. On Ctrl-C asv and the cases end, then Interrupted is raised. Where
    this process is killed, all that it has started here is killed as well.
    """
    command = [asv_command(), "run", *asked, "--record-samples", "--show-stderr", f"--machine={machine}"]
    log = log_file(root)
    log.parent.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="rollout-perf-progress-"))
    progress = folder / "progress"
    with _ended_with_this(str(progress), folder), log.open("a", encoding="utf-8") as output:
        progress.touch()
        process = subprocess.Popen(
            command,
            cwd=root,
            env=git.environment()
            | chosen
            | {variables.PROGRESS: str(progress), "PYTHONUNBUFFERED": "1"}
            | {"PATH": path_from(Path(sys.executable).parent)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # so that Ctrl-C reaches it once, from here
        )
        try:
            shown = _Progress(commits, say)
            for source, line in _lines(process, progress):
                if source == "asv":
                    output.write(f"{line}\n")
                    shown.asv(line)
                else:
                    shown.case(line)
            return process.wait()
        except KeyboardInterrupt:
            say("interrupted: waiting for the case to end")
            raise Interrupted from None
        finally:
            _end(process)
            end_processes(variables.PROGRESS, str(progress), _CELL_END_SECONDS)


def log_file(root: Path) -> Path:
    """What holds all of asv's output."""
    return root / ".asv" / "rollout-perf-track.log"


def last_line(log: Path) -> str:
    """What asv said last."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"


def path_from(folder: Path) -> str:
    """PATH with a folder first; where asv makes environments, of the Python in it."""
    return os.pathsep.join([str(folder), os.environ.get("PATH", os.defpath)])


def asv_command() -> str:
    """asv beside the Python that runs this. Raises UsageError where it is not."""
    asv = Path(sys.executable).with_name("asv")
    if not asv.is_file():
        raise UsageError(f"asv is not installed beside {sys.executable}: run `make setup`")
    return str(asv)


@contextlib.contextmanager
def _ended_with_this(progress: str, folder: Path) -> Iterator[None]:
    """For a block, have what carries the mark killed where this process is; the folder goes in any case."""
    end = end_with_asker(variables.PROGRESS, progress, folder)
    try:
        yield
    finally:
        end.communicate()


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_ASV_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _lines(process: subprocess.Popen[str], progress: Path) -> Iterator[tuple[str, str]]:
    """Lines of asv's output and of the cases' progress, as they come, until asv has ended."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in process.stdout:
                lines.put(line.rstrip())
        lines.put(None)

    threading.Thread(target=read, name="asv-output", daemon=True).start()
    with progress.open(encoding="utf-8", errors="replace") as file:
        while True:
            try:
                line = lines.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                line = ""
            for written in file.read().splitlines():
                yield "case", written
            if line is None:
                return
            if line:
                yield "asv", line


class _Progress:
    """Turns lines of asv and of cases into progress: which commit, which case, since when."""

    def __init__(self, commits: Sequence[Commit], say: Callable[[str], None]):
        self._numbers = {commit.hash[:8]: n for n, commit in enumerate(commits, 1)}
        self._say = say
        self._begin = time.monotonic()

    def asv(self, line: str) -> None:
        """Pass on what says where asv is; values are in the tables, all of it in the log."""
        if re.match(r"(\[ *[\d.]+%\] )?·", line) and not re.search(r"·+ =|\.track_|For parameters", line):
            said = re.sub(r"^(\[ *[\d.]+%\] )?·+ *", "asv: ", line)
            self._tell(f"{said} …" if line.startswith("[") else said)  # a benchmark; the rest is environments

    def case(self, line: str) -> None:
        """Pass on "TIME COMMIT what is going on"."""
        _when, commit, text = [*line.split(" ", 2), "", ""][:3]
        number = self._numbers.get(commit)
        where = f"commit {number} of {len(self._numbers)}" if number else "commit"
        self._tell(f"{where} ({commit}) {text}")

    def _tell(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._begin), 60)
        self._say(f"[{minutes:3d}:{seconds:02d}] {text}")


def configuration(root: Path) -> dict[str, Any]:
    """The checkout's asv.conf.json. Raises UsageError where it cannot be read."""
    from asv.util import load_json

    file = root / "asv.conf.json"
    try:
        return dict(load_json(str(file), js_comments=True))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{file} is no JSON object of asv's settings: {error}; mend it") from None


def results_folder(root: Path) -> Path:
    """Where asv keeps its results."""
    return Path(os.path.normpath(root / str(configuration(root).get("results_dir", "results"))))


def set_damaged_aside(results: Path, machine: str, say: Callable[[str], None]) -> None:
    """Rename asv's results of a machine that asv cannot read, which would end its run, and say so.

    A disk that was full leaves such a file; it is measured again. One of another version of asv stays.
    """
    from asv.results import Results

    for file in sorted((results / machine).glob("*-*.json")):
        try:
            content = json.loads(file.read_bytes())
            if content.get("version", Results.api_version) == Results.api_version:
                Results.load(str(file))
        except Exception as error:  # whatever asv stumbles over
            names = (file.with_name(f"{file.stem}.damaged-{number}.txt") for number in itertools.count(1))
            aside = next(name for name in names if not name.exists())
            file.rename(aside)
            say(f"damaged, and measured again: {file}, now {aside.name}: {' '.join(str(error).split())}")


def saved(root: Path, machine: str, commits: Sequence[Commit]) -> int:
    """How many of the commits asv has saved results of."""
    folder = results_folder(root) / machine
    return sum(any(folder.glob(f"{commit.hash[:8]}-*.json")) for commit in commits)
