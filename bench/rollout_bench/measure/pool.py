"""Pools the replicates of a case, each of a session of its own, into one record, and takes it apart. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, chain, pairwise
from typing import Any

from ..schema.metrics import CONTROL_RATIO, STEP
from ..schema.record import MEASURED, Record


def pool(replicates: Sequence[Sequence[Record]]) -> list[Record]:
    """One record a case: the samples of all replicates that were measured, one after the other.

    Each replicate has the same cases in the same order. A case that none has measured is as the last one left
    it; what failed in some is left out, and observed["replicates_left_out"] says why.
    """
    return [_measured_of(records) for records in zip(*replicates, strict=True)]


def _measured_of(records: Sequence[Record]) -> Record:
    measured = [record for record in records if record.status == MEASURED]
    if len(records) == 1 or not measured:
        return records[-1]
    found = pooled(measured)
    if lost := [record.reason for record in records if record.status != MEASURED]:
        found = replace(found, observed=found.observed | {"replicates_left_out": lost})
    return found


def pooled(measured: Sequence[Record]) -> Record:
    """Records of one case, each with values, as one; what else was observed is as the first has it."""
    observed: dict[str, Any] = {
        "engine_starts": sum(record.observed.get("engine_starts") or 1 for record in measured)
    }
    metrics = _joined([record.metrics for record in measured])
    if all("session" in record.provenance for record in measured):
        facts = [_replicates(record, metrics) for record in measured]
        observed["replicates"] = {name: [one for its in facts for one in its[name]] for name in facts[0]}
    if all("rollouts" in record.observed for record in measured):
        observed["rollouts"] = sum(record.observed["rollouts"] for record in measured)
    if hosts := [one.observed["host"] for one in measured if one.observed.get("host")]:
        rounds = [host.get("rounds") or {} for host in hosts]
        observed["host"] = hosts[0] | {
            "rounds": {name: [fact for its in rounds for fact in its.get(name, ())] for name in rounds[0]},
            **{name: sum(host.get(name) or 0 for host in hosts) for name in ("spoilt", "repeated")},
        }
    if controls := [one.observed["control"] for one in measured if one.observed.get("control")]:
        observed["control"] = controls[0] | {
            "metrics": _joined([control.get("metrics") or {} for control in controls])
        }
        if links := [control["link"] for control in controls if control.get("link")]:
            observed["control"]["link"] = _one_link(links)
    return replace(measured[0], metrics=metrics, observed=measured[0].observed | observed)


def _joined(metrics: Sequence[Mapping[str, list[float]]]) -> dict[str, list[float]]:
    """The samples of each metric, one replicate after the other."""
    names = dict.fromkeys(name for one in metrics for name in one)
    return {name: [sample for one in metrics for sample in one.get(name, ())] for name in names}


def _one_link(links: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The ratios of all sessions to the previous control that the first has; "rounds" says how many are of
    each."""
    previous = [(one["commit"], one["lock"]) for one in links]
    some = [link for link, one in zip(links, previous, strict=True) if one == previous[0]]
    sessions = dict.fromkeys(session for link in some for session in link_sessions(link))
    rounds = {"rounds": [*map(len, sessions)]} if len(sessions) > 1 else {}
    return {**links[0], "ratio": [*chain(*sessions)], **rounds}


def link_sessions(link: Mapping[str, Any]) -> list[tuple[float, ...]]:
    """The ratios of a control to the previous one, by session and round."""
    ratios = link["ratio"]
    ends = accumulate(link.get("rounds") or [len(ratios)], initial=0)
    return [tuple(ratios[begin:end]) for begin, end in pairwise(ends)]


def replicates_of(record: Record) -> list[Record]:
    """The record of each replicate, of the session that its provenance names; the record itself where it is
    of one, and none where it is of several, and does not say of which.

    A replicate without a metric, or without the control, is without it here; a metric that has neither a
    sample a round nor one a replicate is left out.
    """
    if "replicates" not in record.observed:
        return [record] * ((record.observed.get("engine_starts") or 1) == 1)
    facts = _replicates(record, record.metrics)
    observed = {name: fact for name, fact in record.observed.items() if name not in _OF_ALL}
    control = observed.pop("control", None)

    def own(samples: Sequence[float], number: int, name: str) -> list[float]:
        """Those of a replicate, where all that are not without `name` have some."""
        there = [one for one, without in enumerate(facts["without"]) if name not in without]
        if number not in there:
            return []
        ends = [*accumulate((facts["rounds"][one] for one in there), initial=0)]
        place = there.index(number)
        if len(samples) == ends[-1]:
            return [*samples[ends[place] : ends[place + 1]]]
        return [*samples[place : place + 1]] if len(samples) == len(there) else []

    def beside(number: int) -> dict[str, Any]:
        if not control or CONTROL_RATIO in facts["without"][number]:
            return {}
        its = (control.get("metrics") or {}).items()
        metrics = {name: some for name, samples in its if (some := own(samples, number, CONTROL_RATIO))}
        return {"control": control | {"metrics": metrics}}

    return [
        replace(
            record,
            metrics={
                name: some for name, samples in record.metrics.items() if (some := own(samples, number, name))
            },
            observed=observed | beside(number) | {"engine_starts": 1, "host": {"spoilt": spoilt}},
            provenance=record.provenance | {"session": session},
        )
        for number, (session, spoilt) in enumerate(zip(facts["session"], facts["spoilt"], strict=True))
    ]


_OF_ALL = ("replicates", "rollouts")
"""What was observed that is of all replicates of a record."""


def _replicates(record: Record, metrics: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Of each replicate its session, how many of the samples are of its rounds, how many are spoilt, and
    which of the metrics it is without."""
    of_one = {
        "session": record.provenance.get("session"),
        "rounds": len(record.metrics.get(STEP, ())),
        "spoilt": (record.observed.get("host") or {}).get("spoilt") or 0,
    }
    facts = record.observed.get("replicates") or {name: [fact] for name, fact in of_one.items()}
    lacking = [name for name in metrics if not record.metrics.get(name)]
    without = facts.get("without") or [[] for _session in facts["session"]]
    return facts | {"without": [[*dict.fromkeys([*some, *lacking])] for some in without]}
