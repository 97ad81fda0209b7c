"""Several engines that a caller sees as one: which of them a request goes to, and what if that one dies.

Knows not how an engine is started, or where: `shares` says what each has of this host, and whoever places
them on several hosts hands other engines to `Replicas`.
"""

import asyncio
import itertools
import os
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any

from .engine import Engine, Limits, Request, Result, Tokens, Took, is_result
from .errors import ConfigurationError, EngineError, WorkerError

ROUND_ROBIN, LEAST_IN_FLIGHT, STICKY = "round-robin", "least-in-flight", "sticky"
ROUTINGS = (ROUND_ROBIN, LEAST_IN_FLIGHT, STICKY)
RETRY, FAIL = "retry", "fail"
ON_DEATH = (RETRY, FAIL)

_OF_ONE = ("counters", "entry_carried", "front_pid", "router_pid")
"""Facts of an engine that do not hold of all."""

_MOST_HOMES = 10_000
"""Groups and sessions whose replica is remembered: those that had a request last."""

_GPU_SHARE = 0.9
"""Of a GPU's memory for the engines that share it, as vLLM takes where it is alone."""


class Routing:
    """Which of so many replicas takes a request. Pure.

    In turn; or where the fewest requests are in flight, the first of several; or, sticky, where the first one
    of its group or session went, which goes where the fewest are in flight.
    """

    def __init__(self, name: str, replicas: int):
        if name not in ROUTINGS:
            raise ConfigurationError(f"unknown routing {name!r}; known: {', '.join(ROUTINGS)}")
        self.name = name
        self.alive = list(range(replicas))
        self._in_flight = [0] * replicas
        self._turns = itertools.count()
        self._homes: OrderedDict[Hashable, int] = OrderedDict()

    def choose(self, key: Hashable) -> int:
        """The replica for a request of a group or session, which is in flight there until `done`."""
        if self.name == ROUND_ROBIN:
            chosen = self.alive[next(self._turns) % len(self.alive)]
        else:
            chosen = min(self.alive, key=lambda one: self._in_flight[one])
        if self.name == STICKY:
            chosen = self._homes.setdefault(key, chosen)
            self._homes.move_to_end(key)
            if len(self._homes) > _MOST_HOMES:
                self._homes.popitem(last=False)
        self._in_flight[chosen] += 1
        return chosen

    def done(self, replica: int) -> None:
        """A request is no longer in flight there."""
        self._in_flight[replica] -= 1

    def lose(self, replica: int) -> None:
        """Nothing goes there from now on."""
        self.alive.remove(replica)
        for key in [key for key, home in self._homes.items() if home == replica]:
            del self._homes[key]


class Replicas(Engine):
    """Engines as one. Where one dies its requests go to the others (RETRY), or all fail with the cause
    (FAIL).

    What a worker raises is the caller's in any case: the request that made it do so would end the next one.
    What streams cannot begin again, so RETRY takes none of it.
    """

    def __init__(self, engines: Sequence[Engine], routing: Routing, on_death: str):
        self._engines = engines
        self._routing = routing
        self._on_death = on_death
        self._calls = itertools.count()
        self._causes: dict[int, EngineError] = {}
        self._seen: list[dict[str, Any]] = [{"requests": 0, "retried": 0} for _ in engines]

    @property
    def limits(self) -> Limits:
        return self._engines[0].limits

    async def generate(self, requests: list[Request], took: Took) -> None:
        if self._on_death == RETRY and any(sampling.stream for *_rest, sampling, _sample in requests):
            raise ConfigurationError(
                'what streams cannot begin again elsewhere; open it with on_death="fail"'
            )
        call = next(self._calls)
        parts: dict[asyncio.Task[None], int] = {}

        def send(places: Sequence[int]) -> None:
            self._check()
            by_replica: dict[int, list[int]] = {}
            for place in places:
                _name, index, _prompt, sampling, _sample = requests[place]
                key = (call, index) if sampling.session is None else sampling.session
                by_replica.setdefault(self._routing.choose(key), []).append(place)
            for replica, some in by_replica.items():
                self._seen[replica]["requests"] += len(some)
                parts[asyncio.create_task(generate(replica, some))] = replica

        async def generate(replica: int, places: list[int]) -> None:
            left = set(places)

            def take(number: int, came: Result | Tokens) -> None:
                if is_result(came):
                    left.discard(places[number])
                    self._routing.done(replica)
                took(places[number], came)

            try:
                await self._engines[replica].generate([requests[place] for place in places], take)
            except EngineError as error:
                if isinstance(error, WorkerError):
                    raise
                self._lose(replica, error)
                send(sorted(left))
                self._seen[replica]["retried"] += len(left)
            finally:
                for _ in left:
                    self._routing.done(replica)

        send(range(len(requests)))
        try:
            while parts:
                done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
                for part in done:
                    del parts[part]
                    part.result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    def _lose(self, replica: int, error: EngineError) -> None:
        """Note that a replica has died; others may have noted it meanwhile."""
        if replica in self._routing.alive:
            self._routing.lose(replica)
            self._causes[replica] = type(error)(f"replica {replica} has ended: {error}")

    def _check(self) -> None:
        """Raise why nothing can be generated any more, if so."""
        if self._causes and (self._on_death == FAIL or not self._routing.alive):
            raise next(iter(self._causes.values()))

    async def _each(self, what: str, *args: Any) -> list[Any]:
        """What each engine that is left answers."""
        self._check()
        calls = [getattr(self._engines[replica], what)(*args) for replica in self._routing.alive]
        return list(await asyncio.gather(*calls))

    async def call_workers(self, method: str, args: tuple) -> list[Any]:
        return [reply for replies in await self._each("call_workers", method, args) for reply in replies]

    async def abort(self, share: float) -> int:
        return sum(await self._each("abort", share))

    async def pause(self, mode: str) -> None:
        await self._each("pause", mode)

    async def resume(self) -> None:
        await self._each("resume")

    async def sleep(self, level: int) -> None:
        await self._each("sleep", level)

    async def wake_up(self, what: str | None) -> None:
        await self._each("wake_up", what)

    async def front_lag(self, watched: bool) -> list[float]:
        return [lag for lags in await self._each("front_lag", watched) for lag in lags]

    async def describe(self) -> dict[str, Any]:
        """Facts of the first one that is left, and of each what it has had; what is counted of one is not."""
        facts: list[dict[str, Any]] = await self._each("describe")
        of_each = [dict(seen) for seen in self._seen]
        for replica, one in zip(self._routing.alive, facts, strict=True):
            of_each[replica] |= {"front_pid": one.get("front_pid", os.getpid())}
            of_each[replica] |= {name: one[name] for name in ("router_pid",) if name in one}
        for replica, cause in self._causes.items():
            of_each[replica] |= {"died": str(cause)}
        first = {name: value for name, value in facts[0].items() if name not in _OF_ONE}
        return first | {"routing": self._routing.name, "on_death": self._on_death, "replicas": of_each}

    async def close(self) -> None:
        ended = await asyncio.gather(*(one.close() for one in self._engines), return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error


def check_on_death(name: str) -> None:
    """Raise ConfigurationError for what is not of ON_DEATH."""
    if name not in ON_DEATH:
        raise ConfigurationError(f"unknown on_death {name!r}; known: {', '.join(ON_DEATH)}")


def shares(
    replicas: int, size: int, gpus: Sequence[str], cores: int, given: dict[str, Any]
) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """What each replica has of this host: variables of its environment, and vLLM's arguments beside `given`.

    GPUs of its own while there are enough, else it shares them, and their memory; without GPUs a share of the
    cores, where those are to be shared (0: who calls has said how many threads each has). Pure.
    """
    if not (gpus or cores):
        return [({}, {})] * replicas
    if not gpus:
        threads = max(1, (cores - 1) // (replicas * size))
        return [({"OMP_NUM_THREADS": str(threads)}, {})] * replicas
    sets = max(1, len(gpus) // size)
    sharing = -(-replicas // sets)
    sized = {"gpu_memory_utilization", "kv_cache_memory_bytes"} & given.keys()
    memory = {} if sized or sharing == 1 else {"gpu_memory_utilization": round(_GPU_SHARE / sharing, 3)}
    return [
        ({"CUDA_VISIBLE_DEVICES": ",".join(gpus[number % sets * size :][:size])}, memory)
        for number in range(replicas)
    ]
