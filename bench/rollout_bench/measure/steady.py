"""The steady state of a rollout whose requests arrive one after another, found in its data. Pure.

It ends when the last request is sent, since fewer are in flight from then on. It begins where MSER says so,
the marginal standard error rule (White, An effective truncation heuristic for bias reduction in simulation
output, 1997): the time before that end is cut into BINS equal parts, and of the tokens a second in each the
first ones are left out that leave the mean of the others with the least standard error. Where that is half of
them, there is no steady state.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import pvariance

from .samples import Counts, RequestTimes, percentile

BINS = 40

LEAST_REQUESTS = 10
"""Sent at steady state, or there are too few for anything to be said of it."""


class NotSteady(Exception):
    """There is no steady state; the message says why, in a line."""


def warm_up(values: Sequence[float]) -> int:
    """How many of the first values MSER leaves out. Raises NotSteady where it is half of them."""
    half = len(values) // 2
    left_out = min(range(half + 1), key=lambda count: pvariance(values[count:]) / (len(values) - count))
    if left_out == half:
        raise NotSteady("throughput was still changing when half of the requests' time was over; give more")
    return left_out


def produced(requests: Sequence[RequestTimes], at: float) -> float:
    """Tokens that there were so many seconds after the rollout began: a request's come at even distances."""
    tokens = 0.0
    for one in requests:
        assert one.sent_seconds is not None
        done = one.sent_seconds + one.latency_seconds
        first = one.sent_seconds + one.first_token_seconds
        if at >= done:
            tokens += one.tokens
        elif at >= first:
            tokens += 1 + (one.tokens - 1) * (at - first) / (done - first)
    return tokens


def steady_metrics(requests: Sequence[RequestTimes], began: float, counts: Counts) -> dict[str, float]:
    """One sample of each metric of the steady state, from one rollout that began then, of perf_counter.

    Raises NotSteady where there is none.
    """
    sent = [one.sent_seconds or 0.0 for one in requests]
    end = max(sent)
    if end <= 0:
        raise NotSteady("all requests were sent at once")
    edges = [end * number / BINS for number in range(BINS + 1)]
    tokens = [produced(requests, at) for at in edges]
    left_out = warm_up([after - before for before, after in pairwise(tokens)])
    begin = edges[left_out]
    own = [one for one, at in zip(requests, sent, strict=True) if at >= begin]
    if len(own) < LEAST_REQUESTS or tokens[-1] == tokens[left_out]:
        raise NotSteady(
            f"{len(own)} requests were sent at steady state, fewer than {LEAST_REQUESTS}; give more"
        )
    first = [one.first_token_seconds for one in own]
    return {
        "steady_token_seconds": (end - begin) / (tokens[-1] - tokens[left_out]),
        "steady_first_token_p50_seconds": percentile(first, 0.5),
        "steady_first_token_p99_seconds": percentile(first, 0.99),
        "steady_latency_p50_seconds": percentile([one.latency_seconds for one in own], 0.5),
        "steady_latency_p99_seconds": percentile([one.latency_seconds for one in own], 0.99),
        "warm_up_share": left_out / BINS,
        **_idle(began + begin, began + end, counts),
    }


def _idle(begin: float, end: float, counts: Counts) -> dict[str, float]:
    """The share of the time in which whoever computes ran no engine step: mean over workers."""
    if not counts.steps:
        return {}
    who = "worker" if counts.gpu_busy_seconds is None else "gpu"
    busy = [sum(seconds for at, seconds in steps if begin <= at < end) for steps in counts.steps]
    return {f"steady_{who}_idle_share": max(0.0, 1 - sum(busy) / len(busy) / (end - begin))}
