"""Keeps a cluster busy with the sessions that are left, and tells how it goes.

No scheduler: which session runs where, and when, is Ray's choice. Ray has a few more than can run at once, so
that it may choose nodes that come later too.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .cluster import Lost
from .file import Campaign
from .home import Home
from .kinds import Node, gpus_of, machine_of, share_of
from .plan import Session

_TRIES = 3
"""Of a session whose node is lost, or on which nothing could be measured."""
_WAITING = 2
"""Sessions of a kind that Ray has beyond those that run, so that a node that is done has its next at once."""
_POLL_SECONDS = 1.0
_NODES_SECONDS = 5.0
_END_SECONDS = 180.0

Task = Any


class Fleet(Protocol):
    """What is needed of a cluster; `cluster.Cluster` is one."""

    def nodes(self) -> Sequence[Node]:
        """The nodes that can run sessions now."""

    def submit(self, request: Mapping[str, Any], cpus: float, gpus: int, nodes: Sequence[str]) -> Task:
        """Have a session run on one of these nodes, with so many CPUs and GPUs."""

    def events(self, tasks: Collection[Task], seconds: float) -> Iterator[tuple[Task, Any]]:
        """What sessions tell within a time; Lost as the last of one that tells no more."""

    def cancel(self, task: Task) -> None:
        """End a session."""


@dataclass
class Running:
    """A session that Ray has."""

    session: Session
    nodes: Collection[str]
    """On which it may run."""
    host: str = ""
    node: str = ""
    """Ray's, once it has begun."""
    begun: float = 0.0
    values: dict[str, str] = field(default_factory=dict)
    """asv's files, which are taken with the records or not at all."""


@dataclass
class Runner:
    """A campaign under way. `tell` gets every event: its name, and what there is to know of it."""

    fleet: Fleet
    home: Home
    campaign: Campaign
    names: Mapping[str, str]
    """What each kind is called in results/."""
    ledger: tuple[str, str, str] | None
    tell: Callable[..., None]
    done: int = 0
    failed: list[tuple[Session, str]] = field(default_factory=list)
    running: dict[Task, Running] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    """That sessions have taken."""
    _left: dict[str, deque[Session]] = field(default_factory=dict)
    _tries: Counter[Session] = field(default_factory=Counter)
    _avoid: dict[Session, set[str]] = field(default_factory=dict)
    _useless: Counter[str] = field(default_factory=Counter)
    """Sessions in a row of which a node has measured nothing."""
    _nodes: Sequence[Node] = ()
    _ending: bool = False
    _looked: float = float("-inf")
    _begin: float = field(default_factory=time.monotonic)

    def run(self, sessions: Sequence[Session]) -> None:
        """Run sessions until all are done or the budget is spent.

        At an interruption those that run are ended; what they have finished is in results/ by then.
        """
        for session in sessions:
            self._left.setdefault(session.kind, deque()).append(session)
        try:
            while self._submit() or self.running:
                self._look()
                self._take_events()
        except KeyboardInterrupt:
            self._ending = True
            for task in self.running:
                self.fleet.cancel(task)
            deadline = time.monotonic() + _END_SECONDS
            while self.running and time.monotonic() < deadline:
                self._take_events()
            raise

    @property
    def left(self) -> int:
        """Sessions that have not begun, or not ended."""
        return sum(map(len, self._left.values())) + len(self.running)

    @property
    def at_once(self) -> int:
        """Sessions that can run at once now."""
        return sum(self._lanes(node) for kind in self._left for node in self._of(kind))

    @property
    def seconds_left(self) -> float | None:
        """How long what is left will take; None as long as no session has ended."""
        if not self.seconds or not self.at_once:
            return None
        return self.left * sum(self.seconds) / len(self.seconds) / min(self.at_once, max(self.left, 1))

    def _submit(self) -> bool:
        """Give Ray what it has room for; whether there is more to give, now or later."""
        self._look()
        more = False
        for kind, left in self._left.items():
            nodes = self._of(kind)
            room = sum(map(self._lanes, nodes)) + _WAITING if nodes else 0
            held = sum(one.session.kind == kind for one in self.running.values())
            while left and held < room and self._may_begin():
                session = left.popleft()
                avoided = self._avoid.get(session, set())
                chosen = [one for one in nodes if one.identity not in avoided] or nodes
                self._give(session, chosen)
                held += 1
            more |= bool(left) and self._may_begin()
        return more

    def _may_begin(self) -> bool:
        """Whether the budget holds one more."""
        begun = self.done + len(self.failed) + len(self.running)
        if self.campaign.sessions is not None and begun >= self.campaign.sessions:
            return False
        if self.campaign.hours is None:
            return True
        one = sum(self.seconds) / len(self.seconds) if self.seconds else 0.0
        return time.monotonic() - self._begin + one <= self.campaign.hours * 3600

    def _give(self, session: Session, nodes: Sequence[Node]) -> None:
        table = self.campaign.tables[session.table]
        gpus = gpus_of(table)
        request = {
            "machine": self.home.machine(machine_of(session.machine, nodes[0])),
            "classes": list(table.classes),
            "set": self.campaign.set,
            "replicates": self.campaign.replicates,
            "commits": [(one.hash, one.subject, one.time) for one in session.commits],
            "files": self.home.along(session),
            "gpus": gpus,
            "lanes": self._lanes(nodes[0]),
            "width": max(1, gpus),
            "folder": self.campaign.folder,
            "ledger": self.ledger,
        }
        cpus = share_of(nodes, gpus, self.campaign.sessions_per_node)
        ours = [one.identity for one in nodes]
        self.running[self.fleet.submit(request, cpus, gpus, ours)] = Running(session, ours)

    def _take_events(self) -> None:
        if not self.running:
            time.sleep(_POLL_SECONDS)  # no node is there: one may come
        for task, event in self.fleet.events([*self.running], _POLL_SECONDS) if self.running else ():
            one = self.running[task]
            if isinstance(event, Lost):
                self._ended(task, one, str(event))
            elif event["event"] == "began":
                one.host, one.node, one.begun = event["host"], event["node"], time.monotonic()
                self.tell("began", session=one.session, **_without_name(event))
            elif event["event"] == "doing":
                self.tell("doing", session=one.session, host=one.host, text=event["text"])
            elif event["event"] == "files":
                self._files(one, event["files"])
            else:
                self._ended(task, one, event["why"], event["code"])

    def _files(self, one: Running, files: Mapping[str, str]) -> None:
        values = {path: text for path, text in files.items() if self.home.is_values(path)}
        one.values |= values
        records = {path: text for path, text in files.items() if path not in values}
        self.home.take(records)
        for path in records:
            self.tell("saved", session=one.session, host=one.host, file=path)

    def _ended(self, task: Task, one: Running, why: str | None, code: int | None = None) -> None:
        """Count a session as done, give it to Ray again, or give it up."""
        del self.running[task]
        session, host = one.session, one.host or "no node"
        if code is not None and self.home.has_records(session):
            self.home.take(one.values)
            self.done += 1
            self.seconds.append(time.monotonic() - one.begun)
            self._useless[one.node] = 0
            self.tell("done", session=session, host=host, seconds=self.seconds[-1], code=code)
            return
        if self._ending:
            self._left[session.kind].appendleft(session)
            return
        why = why or "asv has measured nothing: the commit cannot be built, or not installed"
        self._tries[session] += 1
        if code is not None:
            self._avoid.setdefault(session, set()).add(one.node)
            self._useless[one.node] += 1
        others = {node.identity for node in self._of(session.kind)} - self._avoid.get(session, set())
        if self._tries[session] < _TRIES and (code is None or others):
            self._left[session.kind].appendleft(session)
            self.tell("lost", session=session, host=host, why=why)
        else:
            self.home.take(one.values)  # asv's, which say that the commit could not be built
            self.failed.append((session, why))
            self.tell("failed", session=session, host=host, why=why)

    def _look(self) -> None:
        """See which nodes there are; sessions that wait for others may run on those that have come."""
        if time.monotonic() - self._looked < _NODES_SECONDS:
            return
        self._looked = time.monotonic()
        nodes = self.fleet.nodes()
        before, now = ({one.identity for one in some} for some in (self._nodes, nodes))
        self._nodes = nodes
        if before == now:
            return
        hosts = [one.host for one in nodes if one.kind in self.names]
        self.tell("nodes", hosts=hosts, came=len(now - before), gone=len(before - now))
        for task, one in [*self.running.items()]:
            if not one.node and not {*one.nodes} >= {node.identity for node in self._of(one.session.kind)}:
                self.fleet.cancel(task)  # and it is given anew
                del self.running[task]
                self._left[one.session.kind].appendleft(one.session)

    def _of(self, kind: str) -> list[Node]:
        """The nodes of a kind; those that measure nothing only where there are no others."""
        nodes = [one for one in self._nodes if one.kind == kind]
        return [one for one in nodes if self._useless[one.identity] < _TRIES] or nodes

    def _lanes(self, node: Node) -> int:
        """Sessions that a node runs at once, each of one GPU where it has any."""
        return node.gpus or self.campaign.sessions_per_node


def _without_name(event: Mapping[str, Any]) -> dict[str, Any]:
    return {name: fact for name, fact in event.items() if name != "event"}
