"""Records in, text out: what each of several engines had. Pure."""

from collections.abc import Sequence
from typing import Any

from ..schema.record import MEASURED, Record
from .numbers import share
from .rollouts import batch
from .table import table


def replica_table(records: Sequence[Record]) -> str:
    """One row a replica of a measured record: its requests since it started, those that went elsewhere when
    it died; of the last rollout its engine steps and the share of prompt tokens that its prefix cache had.

    Nothing where none has several engines.
    """
    titles = ["path", "batch", "replica", "requests", "retried", "engine steps", "cached"]
    rows = [
        [record.way, batch(record), str(number), *_counts(record, one)]
        for record in records
        if record.status == MEASURED
        for number, one in enumerate(record.observed.get("replicas", ()))
    ]
    caption = "replicas: their requests since they started; engine steps and prefix cache of the last rollout"
    return table(titles, rows, right=range(1, len(titles)), caption=caption) if rows else ""


def _counts(record: Record, replica: dict[str, Any]) -> list[str]:
    last = replica["last_rollout"]
    tokens, cached = last["prompt_tokens"], "off"
    if record.observed["engine"]["prefix_caching"]:
        cached = share(last["cached_tokens"] / tokens) if tokens else ""
    return [*(str(one) for one in (replica["requests"], replica["retried"], last["engine_steps"])), cached]
