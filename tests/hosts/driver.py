"""What a test has run on a host: a driver without a model, which does what it is told, a line of JSON each.

    ["start", path, nodes, deadline]   ["ask", verb of a Puppet, argument]   ["exchange", rank, size]
    ["close"]

It answers [seconds, kind of error or "", value or the error's text].
"""

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rollout_perf.transports import TRANSPORTS, wire
from rollout_perf.transports.base import HostSpec, Transport
from rollout_perf.transports.placement import placed

CALLS = 20


class Driver:
    """At most one transport at a time: of two workers on nodes, or of six on this host."""

    def __init__(self) -> None:
        self._ends = contextlib.ExitStack()
        self._deadline = 0.0
        self._transport: Transport

    def start(self, path: str, nodes: str | None, deadline: float) -> None:
        self._deadline = deadline
        placement = None if nodes is None else self._ends.enter_context(placed(nodes, 2, False))
        size = 6 if placement is None else 2
        folder = Path(self._ends.enter_context(tempfile.TemporaryDirectory(prefix="rp-", dir="/tmp")))
        row = TRANSPORTS[path]
        endpoint = placement.endpoint if placement and row.endpoint_check else None
        self._transport = row.make(size, folder, endpoint)
        self._ends.callback(self._transport.close)
        self._transport.start(HostSpec("fake_host:Puppet", b"", placement=placement), 60.0)

    def ask(self, verb: str, argument: Any = None) -> list[Any]:
        asked = range(self._transport.world_size)
        replies = self._transport.send(wire.encode((verb, argument)), asked, self._deadline).result()
        return [wire.decode(message) for message in replies]

    def exchange(self, rank: int, size: int) -> list[int]:
        """Have calls of `size` bytes under way at once that worker `rank` alone answers: which it was not."""
        sent = []
        for number in range(CALLS):
            message = wire.encode(("echo", bytes([number]) * size))
            sent.append(self._transport.send(message, [rank], self._deadline))
        answers = [wire.decode(*reply.result()) for reply in sent]
        return [number for number, value in enumerate(answers) if value != bytes([number]) * size]

    def close(self) -> None:
        self._ends.close()


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr
    driver = Driver()
    for verb, *arguments in map(json.loads, sys.stdin):
        begin = time.monotonic()
        try:
            kind, value = "", getattr(driver, verb)(*arguments)
        except Exception as error:
            kind, value = type(error).__name__, str(error)
        print(json.dumps([time.monotonic() - begin, kind, value]), file=answers, flush=True)


if __name__ == "__main__":
    main()
