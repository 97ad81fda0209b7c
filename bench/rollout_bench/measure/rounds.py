"""Says which contestant of a session generates a rollout next: the process that orders the rounds.

    PYTHONPATH=bench python -P -m rollout_bench.measure.rounds < request.json

`session` makes the request. A process for each build holds its engines (`contestants`); this one, without
vLLM, starts those and sends orders, of which one is under way at a time.
"""

import json
import os
import random
import select
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, groupby
from statistics import median
from typing import Any

from ..schema.record import way
from ..stats.rounds import slowed
from .control import BUILD
from .host_state import Host, between, observed, quietest
from .pinning import Speed, cores_for
from .process import Interpreter, end_marked, leave, log, say, start_beside
from .saturation import Search
from .workload import Workload

READY, PASSED, KEPT = "ready", "passed over", "kept"
"""What a contestant answers, beside the step time of a rollout in seconds."""

_LEFT = 3
"""Exit code where a contestant was not there to the end."""

_PATIENCE, _PATIENCE_SECONDS = 4, 60.0
"""How many times as long as the first to be up the others may take to start, and how long in any case."""

_ROLLOUT_DEADLINE_SECONDS, _END_SECONDS = 300.0, 60.0

_SAMPLE_SECONDS = 0.01
"""How often it is asked how fast the cores of a rollout are."""


class _Channel:
    """What leads to a contestant: orders go out, answers come back."""

    def __init__(self, request: dict[str, Any]):
        self.way = way(request["path"], request.get("entry"))
        self.name = " ".join(filter(None, (request["build"], self.way)))
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        self.request = request | {"orders": orders, "answers": answers}
        self.processes = 0
        self.theirs = (orders, answers)
        self._reader = os.fdopen(self._answers)

    def fileno(self) -> int:
        """Where it answers."""
        return self._answers

    def answer(self, deadline_seconds: float) -> str | None:
        """What it says next, which is nothing where it has ended; None where it says nothing in time."""
        ready, _, _ = select.select([self], [], [], deadline_seconds)
        return self._reader.readline().strip() if ready else None

    def is_up(self) -> bool:
        """Whether what it says now is that it is up, and has so many processes."""
        ready, *processes = (self.answer(0.0) or "").split()[:2] or [""]
        self.processes = int(processes[0]) if processes else 0
        return ready == READY

    def ask(self, meanwhile: Callable[[], None] | None = None, **order: Any) -> str | None:
        """What it answers to an order: a step time, PASSED or KEPT; None where it has broken.

        `meanwhile` is called every few milliseconds until then.

        One with a workload alone is for its next rollout: the first is counted exactly, the next ones are
        warm-ups, and the others are timed. One that says which rounds count, and how the host was
        meanwhile, is for its record.
        """
        with suppress(BrokenPipeError):
            os.write(self._orders, json.dumps(order).encode() + b"\n")
        end = time.monotonic() + _ROLLOUT_DEADLINE_SECONDS
        answer = self.answer(_SAMPLE_SECONDS if meanwhile else _ROLLOUT_DEADLINE_SECONDS)
        while answer is None and meanwhile and time.monotonic() < end:
            meanwhile()
            answer = self.answer(_SAMPLE_SECONDS)
        if answer is None:
            log(f"{self.name} did not end a rollout within {_ROLLOUT_DEADLINE_SECONDS:g} s")
        return answer or None

    def end(self) -> None:
        """There are no more orders."""
        os.close(self._orders)


class _Rounds:
    """Rounds of the contestants that are up, each of which generates while the others wait."""

    def __init__(self, host: Host, seed: str):
        self.up: list[_Channel] = []
        self._host = host
        self._draw = random.Random(seed)
        self._last: _Channel | None = None
        self._seconds: dict[tuple[int, str], list[float]] = defaultdict(list)
        self._slowness: dict[tuple[int, str], list[float | None]] = defaultdict(list)

    def run(self, workload: int, title: str) -> bool:
        """One round of a workload, in an order drawn anew; whether anyone has generated a rollout."""
        times = []
        for one in self._order():
            answer, slowness = self._turn(one, workload)
            if answer is None:
                say(f"{one.name} has left the session")
                self.up.remove(one)
            elif answer != PASSED:
                self._last = one
                times.append(f"{one.name} {float(answer):.3f}")
                self._seconds[workload, one.name].append(float(answer))
                self._slowness[workload, one.name].append(slowness)
        if times:
            say(f"{title}: {', '.join(times)} …")
        return bool(times)

    def _turn(self, one: _Channel, workload: int) -> tuple[str | None, float | None]:
        """What a contestant answers that is to generate, and how slow its cores were, if it has cores."""
        # Without a GPU a worker has threads for many cores, which vLLM places.
        cores = cores_for(one.processes) if self._host.gpus else []
        if not cores:
            return one.ask(workload=workload), None
        speed = Speed(cores)
        placed = [sorted(core) for core in cores]
        return one.ask(workload=workload, cores=placed, meanwhile=speed.sample), speed.slowness()

    def _order(self) -> list[_Channel]:
        """The contestants, drawn anew; those of a way, which are held against each other, are neighbours.

        Who has just generated is not the first: caches that are still its own would favour it.
        """
        while True:
            mixed = self._draw.sample(self.up, len(self.up))
            ways = list(dict.fromkeys(one.way for one in mixed))
            order = sorted(mixed, key=lambda one: ways.index(one.way))
            if len(order) < 2 or order[0] is not self._last:
                return order

    def run_timed(
        self, loads: Mapping[int, str], wanted: int, most: int, seconds: float, repeats: int
    ) -> float:
        """The timed rounds of a workload's variants, by number: as many as are wanted, on to `most` while
        these have taken less than so many seconds, and up to so many more in place of those that others
        spoilt. Then each contestant makes records of those that count. The seconds that they took.

        A round has each of the variants, so that they are neighbours too, every other one in reverse.
        """
        title = " and ".join(loads.values())
        rounds: list[dict[str, Any]] = []
        quiet, aim = 0, wanted
        self._seconds.clear()
        self._slowness.clear()
        begin = time.monotonic()
        before = self._host.look()
        while True:
            if quiet == aim < most and time.monotonic() - begin < seconds:
                aim += 1
            if quiet == aim or len(rounds) == aim + repeats:
                break
            of = f"/{wanted + min(len(rounds) - quiet, repeats)}" if aim == wanted else ""
            count = f"round {len(rounds) + 1}{of}"
            order = sorted(loads, reverse=bool(len(rounds) % 2))
            ran = [self.run(workload, f"{loads[workload]}: {count}") for workload in order]
            if not any(ran):
                return 0.0
            after = self._host.look()
            rounds.append(between(before, after))
            before = after
            quiet += rounds[-1]["spoilt"] is None
        took = time.monotonic() - begin
        if reasons := [reason for one in rounds if (reason := one["spoilt"])]:
            say(f"{title}: others spoilt {len(reasons)} of {len(rounds)} rounds; the last: {reasons[-1]}")
        for workload, load in loads.items():
            found = ((one.name, self._seconds.get((workload, one.name))) for one in self.up)
            medians = (f"{name} {median(seconds):.3f} s" for name, seconds in found if seconds)
            say(f"{load}: {len(rounds)} rounds, median {', '.join(medians)}")
        chosen = quietest(rounds, max(wanted, quiet))
        none = [None] * len(chosen)
        for workload in loads:
            slowness, longer = self._of_cores(workload, len(rounds), chosen)
            for one in self.up:
                slow = slowness.get(one.name, none)
                host = observed(rounds, chosen)
                host["rounds"] |= {"slowness": slow, "slowed": longer.get(one.name, none)}
                host["pinned"] = host["pinned"] or any(slow)
                one.ask(workload=workload, rounds=chosen, host=host)
        return took

    def _of_cores(
        self, workload: int, rounds: int, chosen: Sequence[int]
    ) -> tuple[dict[str, list[float | None]], dict[str, list[float]]]:
        """By contestant how slow its cores were in the rounds that count, and what builds of a path compare
        without (`stats.rounds.slowed`)."""
        there = [one for one in self.up if len(self._seconds.get((workload, one.name), ())) == rounds]
        seconds = {one.name: [self._seconds[workload, one.name][at] for at in chosen] for one in there}
        slowness = {one.name: [self._slowness[workload, one.name][at] for at in chosen] for one in there}
        longer: dict[str, list[float]] = {}
        for path in {one.way for one in there}:
            builds = [one.name for one in there if one.way == path]
            if len(builds) > 1:
                longer |= slowed({name: seconds[name] for name in builds}, slowness)
        return slowness, longer


def _start(asked: dict[str, Any], channels: Sequence[_Channel]) -> list[Any]:
    """A process for each build, with the contestants of that build."""
    processes = []
    for build, interpreter in asked["interpreters"].items():
        own = [channel for channel in channels if channel.request["build"] == build]
        targets = [target for target in (asked["output"], asked["keep"]) if target]
        request = {"requests": [channel.request for channel in own], "targets": targets}
        descriptors = [*chain.from_iterable(channel.theirs for channel in own)]
        processes.append(
            start_beside(
                "rollout_bench.measure.contestants", request, Interpreter(**interpreter), descriptors
            )
        )
        for descriptor in descriptors:
            os.close(descriptor)
    return processes


def _wait(channels: Sequence[_Channel], seconds: float) -> list[_Channel]:
    """Those that start, in their order; the others get a multiple of what the first one took.

    None where the controls alone are left, as at a commit that has none of the paths: nothing is to be held
    against them, and their engines take longest to start.
    """
    begin = time.monotonic()
    end = begin + seconds
    waiting, up = list(channels), list[_Channel]()
    while waiting and (left := end - time.monotonic()) > 0:
        if all(channel.request["build"].startswith(BUILD) for channel in (*waiting, *up)):
            return []
        for channel in select.select(waiting, [], [], left)[0]:
            waiting.remove(channel)
            if channel.is_up():
                up.append(channel)
                took = time.monotonic() - begin
                end = min(end, begin + max(_PATIENCE_SECONDS, _PATIENCE * took))
    for channel in waiting:
        log(f"{channel.name} did not start within {time.monotonic() - begin:.0f} s")
    return [channel for channel in channels if channel in up]


def _run(asked: dict[str, Any]) -> int:
    """Start the contestants, run the rounds of one workload after the other, and end them; the exit code."""
    begin = time.monotonic()
    channels = [_Channel(request) for request in asked["requests"]]
    processes = _start(asked, channels)
    shared = asked["requests"][0]
    rounds = _Rounds(Host(), shared["provenance"]["session"])
    rounds.up += _wait(channels, shared["start_deadline_seconds"])
    started = time.monotonic() - begin
    if rounds.up:
        say(f"{', '.join(one.name for one in rounds.up)}: up after {started:.0f} s")
    loads = [f"{one['name']} {Workload(**one).batch}" for one in shared["workloads"]]
    count = "with a gated start, counted"
    search = Search(shared["options"].get("until_limit_seconds"))
    ahead = [n for n, one in enumerate(shared["workloads"]) if not search.covers(one["name"])]
    for number in ahead:
        rounds.run(number, f"{loads[number]}: {count}")
    spare, coming = started, len(loads)
    variants = groupby(enumerate(loads), lambda one: Workload(**shared["workloads"][one[0]]).plain)
    for some in (dict(group) for _plain, group in variants):
        for number, load in some.items():
            before = [] if number in ahead else [count]
            for title in [*before, *["warm-up"] * shared["warmups"]]:
                rounds.run(number, f"{load}: {title}")
        share = spare * len(some) / coming
        spare -= rounds.run_timed(some, shared["rollouts"], asked["most_rounds"], share, asked["repeats"])
        coming -= len(some)
    up = list(rounds.up)
    for one in channels:
        one.end()
    end = time.monotonic() + _END_SECONDS
    for one in up:
        one.answer(max(0.0, end - time.monotonic()))  # none: it has ended
    for process in processes:
        process.communicate()  # the end of its input has it end whoever is left
    return 0 if len(up) == len(channels) else _LEFT


def main() -> int:
    """Run the session that standard input asks for."""
    try:
        return _run(json.loads(sys.stdin.readline()))
    finally:
        end_marked()


if __name__ == "__main__":
    leave(main())
