"""Sessions of a gate that nobody has measured: engines of a known speed, on a clock of their own."""

import random
from types import SimpleNamespace

from rollout_bench.gate import report as gate_report
from rollout_bench.gate.sessions import run_gate
from rollout_bench.gate.verdicts import Question
from rollout_bench.schema.record import Record

FACTS = {
    "base": "a" * 40,
    "head": "b" * 40,
    "machine": "box",
    "measured_at": "2026-11-23T12:00:00+00:00",
    "command": "rollout-perf gate a b",
    "notes": [],
}


class _Record(SimpleNamespace):
    """What a gate asks of a record, and may be spoilt."""

    comparable = Record.comparable


def record_of(path, build, status="measured", reason=None):
    """A record, without metrics."""
    return _Record(
        path=path, way=path, preset="nano", tensor_parallel_size=1, workload={"name": "fixed", "batch": 8},
        status=status, reason=reason, metrics={}, observed={}, provenance={"side": build},
    )  # fmt: skip


class Engines:
    """Sessions of a known time on a clock of their own; engine starts vary around the build's speed."""

    def __init__(self, speeds, cv=0.004, session_seconds=20.0, seed=0, drift=0.0):
        self.speeds = speeds  # {(build, path): seconds, or a status with its reason}
        self.cv, self.session_seconds, self.drift = cv, session_seconds, drift
        self.now = 0.0
        self.sessions = []
        self.said = []
        self._draw = random.Random(seed)

    def clock(self):
        return self.now

    def measure(self, paths, seconds_left):
        """Base and head of each path, seven rounds, while the host gets slower by `drift` a second."""
        assert seconds_left > 0
        self.sessions.append(tuple(paths))
        host = [1 + self.drift * (self.now + self.session_seconds * one / 7) for one in range(7)]
        self.now += self.session_seconds
        return [self.record(path, build, host) for path in paths for build in ("base", "head")]

    def record(self, path, build, host):
        speed = self.speeds.get((build, path), 1.0)
        if isinstance(speed, tuple):
            return record_of(path, build, *speed)
        record = record_of(path, build)
        start = speed * self._draw.gauss(1, self.cv)
        record.metrics = {"step_seconds": [start * one for one in host], "wire_bytes": [100.0 * speed]}
        return record

    def spoilt(self, records):
        """With the record of some sessions, counted from 1, and builds made into something else."""
        measure = self.measure

        def spoil(paths, seconds):
            found = measure(paths, seconds)
            for record in found:
                records.get((len(self.sessions), record.provenance["side"]), lambda record: None)(record)
            return found

        self.measure = spoil
        return self

    def at_once(self, count):
        """What measures in so many lanes: all begin together, and the last one ends it."""

        def measure(paths, seconds):
            begin, ends, found = self.now, [], []
            for _lane in range(count):
                self.now = begin
                found.append(self.measure(paths, seconds))
                ends.append(self.now)
            self.now = max(ends)
            return found

        return measure

    def gate(
        self,
        paths=("zmq",),
        metrics=("step_seconds",),
        budget_seconds=3600.0,
        engines=6,
        noise=None,
        at_once=1,
    ):
        thresholds = {name: 0.015 if name == "step_seconds" else 0.0 for name in metrics}
        exact = frozenset(metrics) - {"step_seconds"}
        question = Question(paths, thresholds, exact, budget_seconds, noise or {})
        measure = self.at_once(at_once)
        outcome = run_gate(question, engines, measure, self.said.append, self.clock, at_once)
        return gate_report.content(outcome, FACTS)
