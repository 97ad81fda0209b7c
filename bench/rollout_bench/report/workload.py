"""What is in a workload, for people and as JSON: counts, pictures of lengths, groups, turns, most in flight.

Knows no token ids: of a long trace they are many millions.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from ..measure.sizing import CONCURRENCY
from ..measure.workload import Workload
from .numbers import number, quantity, share
from .table import table

_BAR = 40
_BINS = 12
_QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))


def facts(
    load: Workload, kv_token_bytes: float | None = None, tokens_per_second: float | None = None
) -> dict[str, Any]:
    """What is in a workload. `kv_token_bytes` is of a token in the KV cache of a worker; `tokens_per_second`
    is how fast one sample is answered: without it arrival times do not say how many are in flight."""
    sizes = _each(load.samples, load.prompts)
    most, why = _in_flight(load, tokens_per_second)
    at_once = min(most, CONCURRENCY)
    kv_tokens = sum(heapq.nlargest(at_once, _held(load)))
    prompt_tokens = sum(load.prompt_lengths())
    shared = _shared(load)
    return {
        "name": load.name,
        "source": load.source,
        "samples": load.batch,
        "prompts": load.prompts,
        "groups": {"number": sum(size > 1 for size in sizes), "largest": max(sizes)},
        "prompt_tokens": prompt_tokens,
        "shared_prompt_tokens": shared,
        "output_tokens": load.tokens,
        "prompt_length": _spread(load.prompt_lengths()),
        "output_length": _spread(load.output_lengths()),
        "sessions": _sessions(load),
        "arrival": _arrival(load),
        "in_flight": {"most": most, "because": why},
        "kv_cache": {
            "sequences": at_once,
            "tokens": kv_tokens,
            "bytes": None if kv_token_bytes is None else math.ceil(kv_tokens * kv_token_bytes),
        },
    }


def lines(load: Workload, found: dict[str, Any], preset: str | None) -> Iterator[str]:
    """The facts as text. The KV cache is of the preset."""
    rows = [
        ("samples", f"{found['samples']} of {found['prompts']} prompts"),
    ]
    if found["groups"]["number"]:
        rows.append(
            ("groups", f"{found['groups']['number']}, the largest of {found['groups']['largest']} samples")
        )
    if found["sessions"]:
        turns = found["sessions"]["turns"]
        delay = found["sessions"]["delay_seconds"]
        between = f"; {number(delay['p50'])} s between two, at most {number(delay['max'])} s" if delay else ""
        rows.append(
            ("sessions", f"{found['sessions']['number']}, of {turns['min']} to {turns['max']} turns{between}")
        )
    if found["arrival"]:
        rate = found["arrival"]["per_second"]
        mean = f", {number(rate)} a second" if rate else ""
        rows.append(("arrival", f"over {number(found['arrival']['seconds'])} s{mean}"))
    rows.append(("in flight", f"{found['in_flight']['most']} at most: {found['in_flight']['because']}"))
    cached = found["shared_prompt_tokens"] / found["prompt_tokens"]
    rows.append(("prompt tokens", f"{found['prompt_tokens']}, {share(cached)} of them in an earlier prefix"))
    rows.append(("answer tokens", str(found["output_tokens"])))
    cache = found["kv_cache"]
    size = (
        f", {quantity(cache['bytes'], 'gpu_peak_bytes')} in each worker of {preset}" if cache["bytes"] else ""
    )
    rows.append(
        (
            "KV cache",
            f"{cache['tokens']} tokens for {cache['sequences']} samples at once, prefixes not shared{size}",
        )
    )
    yield table(("", load.source or load.name), rows, caption="what a rollout of it holds: not measured")
    for title, lengths in (("a prompt", load.prompt_lengths()), ("an answer", load.output_lengths())):
        yield ""
        yield from picture(f"tokens of {title}", lengths)


def picture(title: str, values: Sequence[int]) -> Iterator[str]:
    """A histogram: bins are of equal width, or double where the values reach over more than a power of 16."""
    low, high = min(values), max(values)
    if high > 16 * low:
        edges = [2**power for power in range(low.bit_length() - 1, high.bit_length() + 1)]
    else:
        step = max(1, math.ceil((high - low + 1) / _BINS))
        edges = [low + step * place for place in range((high - low) // step + 2)]
    counts = [sum(begin <= value < end for value in values) for begin, end in pairwise(edges)]
    spread = _spread(values)
    quantiles = ", ".join(f"{name} {spread[name]}" for name, _share in _QUANTILES)
    yield f"{title}: {low} to {high}, {quantiles}, mean {number(spread['mean'])}"
    names = [str(begin) if end == begin + 1 else f"{begin} .. {end - 1}" for begin, end in pairwise(edges)]
    for name, count in zip(names, counts, strict=True):
        bar = "█" * round(_BAR * count / max(counts)) or ("▏" if count else "")
        yield f"{name.rjust(max(map(len, names)))} {bar} {count}"


def _spread(values: Sequence[float]) -> dict[str, Any]:
    ordered = sorted(values)
    found = {name: ordered[math.ceil(part * len(ordered)) - 1] for name, part in _QUANTILES}
    return {"min": ordered[0], **found, "max": ordered[-1], "mean": sum(ordered) / len(ordered)}


def _sessions(load: Workload) -> dict[str, Any] | None:
    turns: dict[str, int] = {}
    for session in load.session or ():
        if session is not None:
            turns[session] = turns.get(session, 0) + 1
    if not turns:
        return None
    later = [delay for delay, turn in zip(load.delay_seconds or (), load.turn or (), strict=True) if turn > 1]
    return {
        "number": len(turns),
        "turns": _spread(list(turns.values())),
        "delay_seconds": _spread(later) if later else None,
    }


def _arrival(load: Workload) -> dict[str, Any] | None:
    times = [one for one in load.arrival_seconds or () if one is not None]
    if not times:
        return None
    seconds = max(times) - min(times)
    return {"seconds": seconds, "per_second": (len(times) - 1) / seconds if seconds else None}


def _in_flight(load: Workload, tokens_per_second: float | None) -> tuple[int, str]:
    """How many samples are in flight at most, and why."""
    lone = sum(session is None for session in load.session or [None] * load.batch)
    sessions = len({session for session in load.session or () if session is not None})
    together = lone + sessions
    times = load.arrival_seconds
    if times is None:
        return together, "a turn of each session at once" if sessions else "all at once"
    if tokens_per_second is None:
        return together, "all at once; as they arrive with --tokens-per-second"
    # A later turn without a time of its own begins when the one before is done.
    ends: dict[str, float] = {}
    changes = []
    whose, delays = load.session or [None] * load.batch, load.delay_seconds or [0.0] * load.batch
    for begin, session, delay, length in zip(times, whose, delays, load.output_lengths(), strict=True):
        at = (ends.get(session or "", 0.0) + delay) if begin is None else begin
        end = at + length / tokens_per_second
        ends[session or ""] = end
        changes += [(at, 1), (end, -1)]
    running = most = 0
    for _time, change in sorted(changes):
        running += change
        most = max(most, running)
    return most, f"as they arrive, at {number(tokens_per_second)} tokens/s each, prompts in no time"


def _held(load: Workload) -> list[int]:
    """Tokens that the KV cache holds for each that can be in flight; of a session, its longest turn."""
    longest: dict[Any, int] = {}
    for place, (session, length) in enumerate(
        zip(load.session or [None] * load.batch, load.lengths(), strict=True)
    ):
        key = place if session is None else session
        longest[key] = max(longest.get(key, 0), length)
    return list(longest.values())


def _shared(load: Workload) -> int:
    """Prompt tokens that an earlier prompt begins with too, or an earlier turn has: what a cache can find."""
    sizes, lengths = _each(load.samples, load.prompts), _each(load.prompt_tokens, load.prompts)
    before = load.turns_before()
    chains: dict[tuple[int, int | str], int] = {}
    shared = 0
    for prompt, (size, length) in enumerate(zip(sizes, lengths, strict=True)):
        shared += (size - 1) * length
        if prompt in before:
            earlier, answer = before[prompt]
            shared += lengths[earlier] + answer
            continue
        found, chain = 0, -1
        for name in load.blocks[prompt] if load.blocks else ():
            known = (chain, name) in chains
            found += known
            chain = chains.setdefault((chain, name), len(chains))
        shared += min(length, found * load.block_tokens)
    return shared


def _each(value: int | tuple[int, ...], count: int) -> Sequence[int]:
    return [value] * count if isinstance(value, int) else value
