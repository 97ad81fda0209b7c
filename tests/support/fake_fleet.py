"""A cluster of nodes that measure nothing, for tests of campaigns: what each does with a session is a script.

fleet = FakeFleet([node("a"), node("b")], does={"a": DIES})
"""

import json
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from rollout_bench.campaign.cluster import Lost
from rollout_bench.campaign.kinds import Node
from rollout_bench.campaign.plan import environment_name
from rollout_bench.measure.workload import Workload
from rollout_bench.schema.record import MEASURED, Record

ENVIRONMENT = environment_name({})
FACTS = {"cpu": "Intel(R) Xeon(R) Processor @ 2.10GHz", "cores": 2, "memory_bytes": 8 << 30, "arch": "x86_64"}


def node(name: str, cpus: float = 2.0, gpus: int = 0, kind: str = "box", gpu: str = "NVIDIA H100") -> Node:
    """A node of a kind."""
    facts = FACTS | {"host": name, "gpus": [{"name": gpu}] * gpus}
    return Node(name, name, kind, cpus, gpus, facts)


def files(request: Mapping[str, Any]) -> dict[str, str]:
    """What a session leaves of its commits."""
    machine, found = request["machine"]["machine"], {}
    for commit, *_rest in request["commits"]:
        lines = [
            Record(path, "nano", 1, Workload(prompts=1).as_dict(), MEASURED, provenance={"commit": commit})
            for path in ("vllm-mp", "zmq")
        ]
        stem = f"{commit[:8]}-{ENVIRONMENT}"
        records = f"{machine}/records/{stem}-{_table(request)}.jsonl"
        found[records] = "".join(f"{one.to_json()}\n" for one in lines)
        found[f"{machine}/{stem}.json"] = values(commit, request["classes"], 0.1)
    return found


def values(commit: str, classes: Sequence[str], value: float | None) -> str:
    """asv's file of a commit."""
    rows = {f"rollout.{name}.track_step_seconds": [value and [value], [], "1"] for name in classes}
    return json.dumps({"version": 2, "commit_hash": commit, "results": rows, "durations": {}})


def _table(request: Mapping[str, Any]) -> str:
    return "nano" if "Nano" in request["classes"] else "nano-rl"


Does = Callable[[str, Mapping[str, Any]], list[Any]]
"""The events of a session on a node."""


def measures(name: str, request: Mapping[str, Any]) -> list[Any]:
    """A session as it should be."""
    found = files(request)
    records = {path: text for path, text in found.items() if "/records/" in path}
    rest = {path: text for path, text in found.items() if path not in records}
    return [
        {"event": "began", "host": name, "node": name, "lane": "/lane-0"},
        {"event": "doing", "text": "round 1/4 …"},
        {"event": "files", "files": records},
        {"event": "files", "files": rest},
        {"event": "ended", "code": 0, "why": None},
    ]


def dies(name: str, request: Mapping[str, Any]) -> list[Any]:
    """The node goes away in the middle of a session."""
    return [*measures(name, request)[:2], Lost("NodeDiedError: it is gone")]


def builds_nothing(name: str, request: Mapping[str, Any]) -> list[Any]:
    """asv cannot build the commit: it says so in its values, and there is no record."""
    commit, machine = request["commits"][0][0], request["machine"]["machine"]
    values_file = f"{machine}/{commit[:8]}-{ENVIRONMENT}.json"
    sent = {values_file: values(commit, request["classes"], None)}
    return [
        measures(name, request)[0],
        {"event": "files", "files": sent},
        {"event": "ended", "code": 2, "why": "it cannot be built"},
    ]


class FakeFleet:
    """Gives each session to the first of its nodes that has a free place."""

    def __init__(self, nodes: Sequence[Node], **does: Does) -> None:
        self.here = list(nodes)
        self.does = does
        self.given: list[tuple[str, Mapping[str, Any]]] = []
        self._scripts: dict[int, deque[Any]] = {}
        self._where: dict[int, str] = {}

    def nodes(self) -> Sequence[Node]:
        return list(self.here)

    def submit(self, request: Mapping[str, Any], cpus: float, gpus: int, nodes: Sequence[str]) -> int:
        busy = [*self._where.values()]
        name = min(nodes, key=lambda one: (busy.count(one), nodes.index(one)))
        task = len(self.given)
        self.given.append((name, request))
        self._where[task] = name
        self._scripts[task] = deque(self.does.get(name, measures)(name, request))
        return task

    def events(self, tasks: Collection[int], seconds: float) -> Iterator[tuple[int, Any]]:
        task = min(tasks)
        event = self._scripts[task].popleft()
        if isinstance(event, type) and issubclass(event, BaseException):
            raise event
        if isinstance(event, Lost):
            self.here = [one for one in self.here if one.identity != self._where[task]] or self.here
        if isinstance(event, Lost) or event["event"] == "ended":
            del self._where[task]
        yield task, event

    def cancel(self, task: int) -> None:
        self._scripts[task] = deque([Lost("cancelled")])
