"""The pipe alone: a round trip to one worker over each transport and over the bare libraries.

setup_cache measures all of them in one process; the track_ methods look values up. Lower is better.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

from rollout_bench.measure import asv_records, pipe

Cache = dict[str, Any]


def _statistic(name: str, meaning: str) -> Callable[[Any, Cache, str, int], Any]:
    def track(self: Any, cache: Cache, path: str, payload_bytes: int) -> Any:
        if path in cache["paths"]:
            return {"samples": cache["paths"][path][str(payload_bytes)]["samples"][name], "number": 1}
        if path in cache["absent"]:
            print(f"{path} is absent: {cache['absent'][path]}", file=sys.stderr)
            return math.nan
        raise RuntimeError(f"{path}: {cache['failed'][path]}")

    track.unit = "seconds"
    track.pretty_name = meaning
    return track


class RoundTrip:
    """One call of a worker that echoes its payload, and the reply."""

    param_names = ["path", "payload_bytes"]
    params = [list(pipe.PATHS), list(pipe.ROUND_TRIPS)]
    version = "-".join(str(part) for part in (pipe.METHOD, *pipe.ROUND_TRIPS.values()))
    timeout = 300

    def setup_cache(self) -> Cache:
        provenance = {"commit": asv_records.commit(), "command": "asv run"}
        result = pipe.run_pipe(provenance=provenance, say=lambda text: asv_records.say(f"pipe: {text}"))
        pipe.save(result)
        return result

    setup_cache.timeout = pipe.DEADLINE_SECONDS + 120

    track_round_trip_p50_seconds = _statistic("p50_seconds", "a call and its reply, median")
    track_round_trip_p99_seconds = _statistic("p99_seconds", "a call and its reply, 99th percentile")
