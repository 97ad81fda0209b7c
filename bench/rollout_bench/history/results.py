"""Reads results/: every record and every pipe run, of every machine and commit; and series of them.

    results = read_results(Path("results"), history(Path(".")))
    for key, points in results.series("step_seconds").items(): ...

A damaged file or line is named in `damaged` and the rest is read. Starts nothing but git, and
only in `history`.
"""

import math
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from .. import git
from ..schema.record import Record, read_pipe_run
from ..schema.shape import read_json
from .control import chained, control_of
from .forks import uncollected
from .lines import Damage, lines_of, records_of
from .sessions import Session, read_session_record

_NO_TIME = 253_402_300_800_000
"""asv's dates are milliseconds since 1970; this one is of the year 10000, which no calendar here has."""

_DAMAGED = 20
"""Damaged files and lines that are named; of more the number is."""

_NAMED = 5
"""Commits that a line names; of more it gives the number."""


@dataclass(frozen=True)
class Commit:
    """A commit; the time is git's, in seconds since 1970, and 0 where it is not known."""

    hash: str
    subject: str = ""
    time: int = 0

    def __str__(self) -> str:
        return f"{self.hash[:8]} {self.subject}".rstrip()

    def __hash__(self) -> int:
        return hash(self.hash)  # which a text remembers: a long history asks for it millions of times


@dataclass(frozen=True)
class Point:
    """What was measured of one case at one commit: a line of a records file."""

    machine: str
    environment: str
    commit: Commit
    record: Record
    source: Path
    """The file that it was read from."""

    def samples(self, metric: str) -> list[float]:
        """The record's."""
        return self.record.samples(metric)

    def has(self, metric: str) -> bool:
        """Whether there are samples of a metric."""
        return any(map(math.isfinite, self.record.metrics.get(metric, ())))


class Key(NamedTuple):
    """What stays the same along a series of points."""

    machine: str
    environment: str
    preset: str
    tensor_parallel_size: int
    path: str
    workload: str
    """The workload's name."""
    fingerprint: str
    batch: int


@dataclass(frozen=True)
class Pipe:
    """A run of the pipe alone at a commit, as `rollout-perf pipe` prints it."""

    machine: str
    environment: str
    commit: Commit
    result: Mapping[str, Any]
    source: Path


@dataclass(frozen=True)
class Results:
    """All of results/, the points and pipes in the order of the history."""

    machines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """asv's facts of each machine, by name; empty facts where its machine.json is missing or damaged."""
    points: Sequence[Point] = ()
    pipes: Sequence[Pipe] = ()
    sessions: Sequence[Session] = ()
    """By name of file, which begins with the day; they are part of no series."""
    damaged: Sequence[Damage] = ()
    outside: Sequence[Point | Pipe] = ()
    """Those of commits that are not in the history, as after a rebase, by asv's date: part of no series."""

    unordered: frozenset[Commit] = frozenset()
    """Commits that neither the history nor a date places: they come last, and nothing is before or after."""
    warnings: Sequence[str] = ()
    """What is to be known of the order, a line each."""
    _cases: dict["Key", list[Point]] = field(init=False, default_factory=dict, compare=False, repr=False)
    """Points of each case, as `cases` has found them."""
    _series: dict[tuple["Key", str | None], list[Point]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )
    """What `series_of` has made: of a long history it takes long, and is asked for several times."""

    def ordered(self) -> "Results":
        """Without the commits that have no place."""
        if not self.unordered:
            return self
        return replace(
            self,
            points=[point for point in self.points if point.commit not in self.unordered],
            pipes=[pipe for pipe in self.pipes if pipe.commit not in self.unordered],
        )

    @property
    def outside_commits(self) -> list[Commit]:
        """Commits that have results and are not in the history."""
        return list(dict.fromkeys(one.commit for one in self.outside))

    def outside_line(self) -> str | None:
        """What of results/ is left out of every series, for people; None where nothing is."""
        commits = self.outside_commits
        if not commits:
            return None
        named = ", ".join(commit.hash[:8] for commit in commits[:_NAMED])
        more = f" and {len(commits) - _NAMED} more" if len(commits) > _NAMED else ""
        return (
            f"left out: results of {len(commits)} commit{'s' * (len(commits) > 1)} that HEAD's history of "
            f"first parents does not have (rebased, of a side branch, or the clone is shallow): "
            f"{named}{more}; `rollout-perf report HASH` shows one"
        )

    def damaged_lines(self) -> list[str]:
        """What was passed over, for people: each of the first, and how many more."""
        lines = [str(one) for one in self.damaged[:_DAMAGED]]
        more = len(self.damaged) - len(lines)
        return [*lines, f"and {more} more, as `rollout-perf detect --json` lists"] if more else lines

    def with_outside(self, commit: Commit) -> "Results":
        """These results with those of a commit that is not in the history, before all others."""
        found = [one for one in self.outside if one.commit == commit]
        return replace(
            self,
            points=[*(one for one in found if isinstance(one, Point)), *self.points],
            pipes=[*(one for one in found if isinstance(one, Pipe)), *self.pipes],
        )

    def of_machines(self, names: Collection[str]) -> "Results":
        """What was measured on these machines."""
        return replace(
            self,
            machines={name: facts for name, facts in self.machines.items() if name in names},
            points=[point for point in self.points if point.machine in names],
            pipes=[pipe for pipe in self.pipes if pipe.machine in names],
            sessions=[session for session in self.sessions if session.machine in names],
            outside=[one for one in self.outside if one.machine in names],
        )

    def cases(self) -> Mapping[Key, list[Point]]:
        """Every point by its series, in the order of the history."""
        if not self._cases:
            for point in self.points:
                self._cases.setdefault(key_of(point), []).append(point)
        return self._cases

    def series(self, metric: str | None = None) -> dict[Key, list[Point]]:
        """`series_of` each case that has any point."""
        return {key: points for key in self.cases() if (points := self.series_of(key, metric))}

    def series_of(self, key: Key, metric: str | None = None) -> list[Point]:
        """Points of a case in the order of the history; with a metric, those that have samples of it.

        What commits of the same system under test share is a point of the first of them: one measurement is
        no change that lasts, and what changed did so there, though asv measures the newest commit first.
        Where some have counted the metric exactly, the others are another figure, and left out.
        """
        if (key, metric) not in self._series:
            points = [one for one in self.cases().get(key, ()) if metric is None or one.has(metric)]
            found = _once(points)
            self._series[key, metric] = [one for one in found if is_counted(one, metric)] or found
        return self._series[key, metric]


def _once(points: Sequence[Point]) -> list[Point]:
    """Without those that share what one before them has measured."""
    shared = any("of_commit" in point.record.provenance for point in points)
    if not shared and len({point.commit for point in points}) == len(points):
        return list(points)
    found: list[Point] = []
    seen: dict[tuple[str, Any], bool] = {}
    for point in points:
        its = point.record.provenance
        shared = "of_commit" in its
        measured = (its.get("of_commit", point.commit.hash), its.get("measured_at"))
        if measured in seen and (shared or seen[measured]):
            continue
        seen[measured] = shared
        found.append(point)
    return found


def is_counted(point: Point, metric: str | None) -> bool:
    """Whether a metric is an exact count there, of a gated start."""
    totals = point.record.observed.get("counted")
    return isinstance(totals, dict) and metric in totals


def key_of(point: Point) -> Key:
    """The series that a point belongs to."""
    record = point.record
    load = record.workload
    return Key(
        point.machine,
        point.environment,
        record.preset,
        record.tensor_parallel_size,
        record.way,
        load["name"],
        load["fingerprint"],
        load["batch"],
    )


def history(root: Path, branch: str = "HEAD") -> list[Commit]:
    """Commits of a branch, first parents only, oldest first; none outside a git repository."""
    logged = git.log(root, "--reverse", given=[branch]) or []
    return [Commit(one.hash, one.subject, one.time) for one in logged]


@uncollected()
def read_results(folder: Path, commits: Sequence[Commit] = (), whole: bool = True) -> Results:
    """Everything under results/, in the order of `commits`; what is not among them is `outside`.

    Without `commits`, as where there is no repository, and where they are not the `whole` history, as in a
    shallow clone, all of it comes by asv's date.
    """
    damaged: list[Damage] = []
    machines: dict[str, Mapping[str, Any]] = {}
    points: list[Point] = []
    pipes: list[Pipe] = []
    sessions: list[Session] = []
    known = {commit.hash: commit for commit in commits}
    for machine in (path for path in _listed(folder, "", damaged) if _is_folder(path, damaged)):
        machines[machine.name] = {}
        named = _listed(machine, "", damaged)
        if not named:  # there is nothing in it, or nobody may see what
            continue
        if machine / "machine.json" in named:
            machines[machine.name] = _object(machine / "machine.json", damaged) or {}
        dated = _dated(named, damaged)
        files = _listed(machine / "records", ".jsonl", damaged)
        for file, records in zip(files, records_of(files, damaged), strict=True):
            for record in records:
                environment = _environment(file, record.preset)
                commit = _commit(record.provenance, file, known, dated)
                points.append(Point(machine.name, environment, commit, record, file))
        for file in _listed(machine / "pipe", ".jsonl", damaged):
            for run in lines_of(file, read_pipe_run, damaged):
                environment = file.stem.partition("-")[2]
                commit = _commit(run.get("provenance"), file, known, dated)
                pipes.append(Pipe(machine.name, environment, commit, run, file))
        sessions += [
            Session(machine.name, list(lines_of(file, read_session_record, damaged)), file)
            for file in _listed(machine / "turns", ".jsonl", damaged)
        ]
    place = {commit.hash: number for number, commit in enumerate(commits if whole else ())}

    def order(one: Point | Pipe) -> tuple[int, int, str]:
        return place.get(one.commit.hash, len(place)), one.commit.time, one.commit.hash

    points.sort(key=order)
    pipes.sort(key=order)
    over = [place for place, point in enumerate(points) if control_of(point.record)]
    ratios = chained([(key_of(points[one])._replace(path=""), points[one].record) for one in over])
    for one, record in zip(over, ratios, strict=True):
        points[one] = replace(points[one], record=record)
    both: list[Point | Pipe] = [*points, *pipes]
    if not place:
        unordered = frozenset(one.commit for one in both if not one.commit.time)
        return Results(machines, points, pipes, sessions, damaged, unordered=unordered)
    outside = [one for one in both if one.commit.hash not in place]
    return Results(
        machines,
        [point for point in points if point.commit.hash in place],
        [pipe for pipe in pipes if pipe.commit.hash in place],
        sessions,
        damaged,
        outside,
    )


def _environment(file: Path, preset: str) -> str:
    """The environment in COMMIT-ENVIRONMENT[-PRESET[-PART]].jsonl.

    What stands behind the preset's name was measured with an engine of its own: another series.
    """
    before, _, behind = file.stem.partition("-")[2].rpartition(f"-{preset}")
    return before + behind


def _commit(
    provenance: Mapping[str, Any] | None,
    file: Path,
    known: Mapping[str, Commit],
    dated: Mapping[str, Commit],
) -> Commit:
    """The commit that the provenance names, else the one that the file's name begins with."""
    given = (provenance or {}).get("commit") or file.stem.partition("-")[0]
    for commits in (known, dated):
        if given in commits:
            return commits[given]
        for name, commit in commits.items():
            if name.startswith(given):
                return commit
    return Commit(given)


def _listed(folder: Path, ending: str, damaged: list[Damage]) -> list[Path]:
    """What is in a folder by the end of its name, in order; nothing where there is no folder.

    One that cannot be read is damaged: glob takes it for an empty one.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(ending))
    except FileNotFoundError:
        return []
    except OSError as error:
        damaged.append(Damage(folder, None, str(error)))
        return []


def _is_folder(path: Path, damaged: list[Damage]) -> bool:
    """Whether it is one; what cannot be asked is damaged."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:  # a link to nothing, or removed since it was listed
        return False
    except OSError as error:
        damaged.append(Damage(path, None, str(error)))
        return False


def _dated(files: Sequence[Path], damaged: list[Damage]) -> dict[str, Commit]:
    """Commits that asv has results of on a machine, of which these are the files, with their times."""
    found = {}
    for file in files:
        if file.suffix != ".json" or file.name == "machine.json":
            continue
        content = _object(file, damaged)
        if content is None:
            continue
        commit, date = content.get("commit_hash"), content.get("date")
        if not isinstance(commit, str):
            damaged.append(Damage(file, None, "'commit_hash' is no text"))
            continue
        seconds = 0
        if isinstance(date, int | float) and 0 < date < _NO_TIME:  # NaN is not
            seconds = int(date / 1000)
        else:
            damaged.append(Damage(file, None, "'date' is no time"))
        found[commit] = Commit(commit, "", seconds)
    return found


def _object(file: Path, damaged: list[Damage]) -> dict[str, Any] | None:
    try:
        content = read_json(file.read_text())
    except (OSError, ValueError) as error:
        damaged.append(Damage(file, None, str(error)))
        return None
    if not isinstance(content, dict):
        damaged.append(Damage(file, None, "not an object"))
        return None
    return content
