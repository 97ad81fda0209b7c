"""The entries alone: a small real run, and what becomes of an entry that does not do the work."""

import asyncio
from types import SimpleNamespace

import pytest
from rollout_bench.measure import entry_pipe
from rollout_bench.measure.submit import UnequalWork
from rollout_bench.report.entry_pipe import entry_table


def test_a_real_run_has_requests_and_cpu_of_every_entry(monkeypatch):
    said = []
    result = entry_pipe.run_entries(["local", "zmq", "telepathy"], 1, said.append, [8], {"command": "test"})
    assert result["failed"] == {}
    assert "no entry 'telepathy'; it has local, zmq" in result["absent"]["telepathy"]
    local, zmq = (result["entries"][name]["8"] for name in ("local", "zmq"))
    assert min(one["requests_per_second"] for one in (local, zmq)) > 100
    assert "front_cpu_seconds" not in local
    for name in ("caller_cpu_seconds", "front_cpu_seconds"):
        assert 0 < zmq[name] * zmq["requests_per_second"] < 2
    assert {"command", "measured_at", "machine"} <= set(result["provenance"])
    _caption, *lines = entry_table(result).splitlines()
    rows = [
        line.split()[0] for line in lines if line and not line.startswith(" ")
    ]  # that is a reason, folded
    assert rows == ["entry", "local", "zmq", "telepathy"]


def test_an_entry_that_answers_with_too_few_tokens_is_no_row():
    async def short(requests, took):
        for place in range(len(requests)):
            took(place, [{"token_ids": [1] * (entry_pipe.OUTPUT_TOKENS - place % 2)}])

    one = entry_pipe._Entry(SimpleNamespace(generate=short), {}, None)
    with pytest.raises(UnequalWork, match=r"128 tokens were forced; \[127, 128\] came"):
        asyncio.run(one.block(8))
