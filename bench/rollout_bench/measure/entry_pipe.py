"""The entries alone, without a model: how many requests each carries in a second, and what that costs whom.

Behind each is an engine that answers at once (`model_free`). Requests are in flight all the time: some
callers wait, each for its share of them, and ask again. All entries are open in one process, and take their
turns in rounds, so that what disturbs the machine disturbs all. `run_entries` asks for a measurement in a
fresh process, which runs this module:

    PYTHONPATH=bench python -P -m rollout_bench.measure.entry_pipe < request.json
"""

import asyncio
import contextlib
import itertools
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from ..schema.record import now
from . import machine
from .door import NoDoor, open_door, open_entry
from .drive import cpu_seconds
from .process import run_module, say
from .submit import UnequalWork

IN_FLIGHT = (64, 256, 1024)
BLOCKS = 7
PROMPT_TOKENS, OUTPUT_TOKENS = 64, 128
DEADLINE_SECONDS = 900.0
_CALLERS = 4
_BLOCK_SECONDS = 0.5
_FACTORY = "rollout_bench.measure.model_free:start"


def run_entries(
    entries: Sequence[str],
    blocks: int = BLOCKS,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    in_flight: Sequence[int] = IN_FLIGHT,
    provenance: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure the entries in a process of their own: requests and CPU seconds, by entry and number in flight.

    Every entry asked for is under "entries", "absent" or "failed", the latter two with the reason.
    """
    request = {
        "entries": list(entries),
        "blocks": blocks,
        "in_flight": list(in_flight),
        "provenance": {"measured_at": now(), **(provenance or {})},
    }
    outcome = run_module("rollout_bench.measure.entry_pipe", request, say, DEADLINE_SECONDS)
    if outcome.reason is not None:
        reasons = dict.fromkeys(entries, outcome.reason)
        return {"entries": {}, "absent": {}, "failed": reasons, "provenance": request["provenance"]}
    result: dict[str, Any] = json.loads(outcome.answer)
    return result


# --- in the process that measures ----------------------------------------------------------------


class _Entry:
    """An open entry, what was timed on it, and the processes that a request passes."""

    def __init__(self, engine: Any, facts: dict[str, Any], sampling: Any):
        self.engine = engine
        self.facts = facts
        self.samples: dict[int, list[dict[str, float]]] = {}
        self._front = facts.get("front_pid")
        self._sampling = sampling
        self._names = itertools.count()
        self._prompt = list(range(100, 100 + PROMPT_TOKENS))

    async def block(self, in_flight: int) -> dict[str, float]:
        """Requests in a second while so many are in flight, and CPU seconds of caller and front for one."""
        front = cpu_seconds(self._front) if self._front else 0.0
        cpu, begin = time.process_time(), time.perf_counter()
        share = max(1, in_flight // _CALLERS)
        callers = (self._ask(share, begin + _BLOCK_SECONDS) for _ in range(min(_CALLERS, in_flight)))
        count = sum(await asyncio.gather(*callers))
        seconds = time.perf_counter() - begin
        values = {
            "requests_per_second": count / seconds,
            "caller_cpu_seconds": (time.process_time() - cpu) / count,
        }
        if self._front:
            values["front_cpu_seconds"] = (cpu_seconds(self._front) - front) / count
        return values

    async def _ask(self, requests: int, end: float) -> int:
        """Ask again and again until the time is over; how many requests were answered."""
        count = 0
        while not count or time.perf_counter() < end:
            results: list[Any] = [None] * requests
            asked = [
                (f"r{next(self._names)}", index, self._prompt, self._sampling, 0) for index in range(requests)
            ]
            await self.engine.generate(asked, results.__setitem__)
            lengths = {
                len(sample["token_ids"]) for result in results for sample in result or [{"token_ids": []}]
            }
            if lengths != {OUTPUT_TOKENS}:
                raise UnequalWork(f"answers of {OUTPUT_TOKENS} tokens were forced; {sorted(lengths)} came")
            count += requests
        return count


async def _measure(asked: dict[str, Any]) -> dict[str, Any]:
    door = open_door()
    sampling = door.Sampling(max_tokens=OUTPUT_TOKENS, ignore_eos=True)
    opened: dict[str, _Entry] = {}
    absent: dict[str, str] = {}
    failed: dict[str, str] = {}
    async with contextlib.AsyncExitStack() as stack:
        for name in asked["entries"]:
            say(f"starting {name} …")
            try:
                engine = await stack.enter_async_context(open_entry(name, _FACTORY))
                opened[name] = _Entry(engine, await engine.describe(), sampling)
            except NoDoor as error:
                absent[name] = str(error)
            except Exception as error:
                failed[name] = f"{type(error).__name__}: {error}"
        for number, in_flight in itertools.product(range(-1, asked["blocks"]), asked["in_flight"]):
            turns = [name for name in opened if name not in failed]
            for name in turns[number % max(1, len(turns)) :] + turns[: number % max(1, len(turns))]:
                try:
                    block = await opened[name].block(in_flight)
                except Exception as error:
                    failed[name] = f"{in_flight} in flight: {type(error).__name__}: {error}"
                    say(f"{name} failed: {failed[name].splitlines()[0]}")
                    continue
                if number >= 0:
                    opened[name].samples.setdefault(in_flight, []).append(block)
                speed = f"{name} {block['requests_per_second']:.0f} requests/s"
                say(f"{in_flight} in flight: round {number + 1}/{asked['blocks']}: {speed} …")
    return {
        "entries": {
            name: {str(size): _summary(blocks) for size, blocks in one.samples.items()}
            for name, one in opened.items()
            if name not in failed
        },
        "absent": absent,
        "failed": failed,
        "observed": {name: one.facts for name, one in opened.items()},
        "work": {"prompt_tokens": PROMPT_TOKENS, "output_tokens": OUTPUT_TOKENS},
    }


def _summary(blocks: Sequence[dict[str, float]]) -> dict[str, Any]:
    samples = {name: [block[name] for block in blocks] for name in blocks[0]}
    return {**{name: median(values) for name, values in samples.items()}, "samples": samples}


def main() -> int:
    """Measure what standard input asks for and write the result."""
    asked = json.loads(sys.stdin.readline())
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a connection a request, over http
    result = asyncio.run(_measure(asked))
    provenance = asked["provenance"] | {"machine": machine.facts()}
    Path(asked["output"]).write_text(json.dumps({**result, "provenance": provenance}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
