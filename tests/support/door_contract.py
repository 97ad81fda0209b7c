"""Holds an installed system under test against the door's contract; a line of JSON says what it breaks.

    python -P tests/support/door_contract.py    # of the rollout_perf that this Python imports

In a process of its own, so that it may be another commit's. What only a live engine shows, a measurement
checks.
"""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollout_bench.measure import door

ROW = ("transport", "in_process", "absent", "load", "surround")
DEADLINES = {"start_deadline_seconds": 1.0, "step_deadline_seconds": 1.0}


def broken() -> list[str]:
    """What the harness calls and this system under test does not take."""
    try:
        module = door.open_door()
    except door.NoDoor as error:
        return [str(error)]
    found = _refused("open_rollout", module.open_rollout, "nano", "zmq", 1, **DEADLINES, seed=0)
    found += _refused("Sampling", module.Sampling, max_tokens=1, ignore_eos=True)
    if not issubclass(module.ConfigurationError, Exception):
        found.append("ConfigurationError is no exception")
    if "nano" not in module.PRESETS:
        found.append("PRESETS have no nano")
    for name, row in module.TRANSPORTS.items():
        found += [f"row {name} has no {one}" for one in ROW if not hasattr(row, one)]
        reason = row.absent(False)
        if not isinstance(reason, str | None):
            found.append(f"row {name}: absent is {reason!r}, neither a reason nor None")
    zmq = module.TRANSPORTS["zmq"]
    return found + (_transport(zmq) if zmq.transport else [])


def _transport(row: door.Row) -> list[str]:
    """What a pipe's measurement calls and the transport of a row does not take."""
    spec = door.host_spec("module:Host", b"payload")
    kind: Any = row.load()
    return [
        *_refused("transport", kind, 1, Path("/nowhere")),
        *_refused("start", kind.start, None, spec, 1.0),
        *_refused("send", kind.send, None, [b"payload"], [0], 1.0),
        *_refused("describe", kind.describe, None),
        *_refused("close", kind.close, None),
    ]


def _refused(name: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> list[str]:
    try:
        inspect.signature(call).bind(*arguments, **named)
    except TypeError as error:
        return [f"{name}: {error}"]
    return []


if __name__ == "__main__":
    print(json.dumps({"package": str(inspect.getfile(__import__(door.PACKAGE))), "broken": broken()}))
