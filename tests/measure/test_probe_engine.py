"""The probe in real engines without a GPU: what vLLM's scheduler and workers do, against figures by hand.

Two engine starts in one session, which must count the very same. Each has a KV cache of 16 blocks of 128
tokens, one of which vLLM keeps to itself.
"""

import gzip
import json

import pytest
from rollout_bench.measure import machine
from rollout_bench.measure.roofline import Device
from rollout_bench.measure.session import Contestant, run_session
from rollout_bench.measure.tracked import fixed
from rollout_bench.measure.workload import Workload
from rollout_bench.schema.record import MEASURED

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(300),
    pytest.mark.skipif(machine.gpus(), reason="the figures are those of nano on the CPU"),
]

GROUPS = Workload(prompts=1, samples=4, prompt_tokens=300, output_tokens=(2, 3, 4, 9), name="replay")
"""Three of four samples find two whole blocks of their 300 tokens: 256."""

TOO_MANY = Workload(prompts=8, prompt_tokens=120, output_tokens=16)
"""Eight sequences of two blocks each, where 15 are: one has to go when they cross 128 tokens."""

ALIKE = fixed("nano", [4, 12])
"""Requests of one length; each sequence has a block of its own."""


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """The records of each engine start."""
    builds = ("one", "other")
    records = run_session(
        "nano",
        [Contestant("zmq", build) for build in builds],
        [GROUPS, TOO_MANY, *ALIKE],
        rounds=2,
        warmups=0,
        say=print,
        arguments={"kv_cache_memory_bytes": 4 << 20, "block_size": 128},
        timeline=True,
        profile=str(tmp_path_factory.mktemp("traces")),
    )
    return [[record for record in records if record.provenance["side"] == build] for build in builds]


@pytest.fixture(scope="module")
def records(starts):
    """Those of one start, at the workloads whose lengths differ or that do not fit the KV cache."""
    return starts[0][:2]


def test_two_engine_starts_count_the_very_same(starts):
    """32 tokens are 32 engine steps if all begin together, and one more call carries the end."""
    assert [record.status for records in starts for record in records] == [MEASURED] * 8
    one, other = ([record.observed["counted"] for record in records] for records in starts)
    assert one == other
    alike = one[2:]
    assert [(counted["engine_steps"], counted["wire_calls"]) for counted in alike] == [(32, 33)] * 2
    for record, counted in zip(starts[0][2:], alike, strict=True):
        assert record.metrics["wire_bytes"] == [counted["wire_bytes"] / 32]
        assert record.observed["absent"] == {}


def test_lengths_are_forced_sample_by_sample(records):
    assert [(record.status, record.reason) for record in records] == [(MEASURED, None)] * 2
    assert [record.observed["tokens_generated"] for record in records] == [18, 128]


def test_samples_of_a_prompt_share_it_and_rollouts_do_not(records):
    assert records[0].metrics["prefix_miss_share"] == pytest.approx([1 - 3 * 256 / 1200] * 2)
    assert records[0].metrics["preemptions"] == [0, 0]


def test_a_sample_that_is_put_back_is_counted_once(records):
    assert records[1].metrics["preemptions"] == [1, 1]


def test_the_last_sample_is_done_before_the_rollout_and_after_the_others(records):
    for record in records:
        steps = record.metrics["step_seconds"]
        for half, most, all_but_none, step in zip(
            record.metrics["done_50_seconds"],
            record.metrics["done_90_seconds"],
            record.metrics["done_99_seconds"],
            steps,
            strict=True,
        ):
            assert 0 < half <= most <= all_but_none < step
        assert all(0 < share < 1 for share in record.metrics["worker_idle_share"])
        assert all(0 < share < 1 for share in record.metrics["roofline_gap_share"])


def test_a_timeline_has_every_stage_of_its_engine_steps(records):
    """Without a GPU the output is there when all was launched."""
    for record in records:
        assert "timeline" not in record.observed["absent"]
        stages = {name: samples for name, samples in record.metrics.items() if name.startswith("stage_")}
        assert {name for name, samples in stages.items() if 0 in samples} == {"stage_compute_seconds"}
        assert {len(samples) for samples in stages.values()} == {2}
        assert all(min(samples) > 0 for name, samples in stages.items() if name != "stage_compute_seconds")


def test_what_bounds_a_step_is_that_of_the_preset(records):
    """4 layers of Q and O of 128 x 128, K and V of 128 x 64, 3 x 128 x 256; 4096 rows out; 4 bytes each."""
    found = Device(**records[0].observed["roofline"])
    layer = 2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 256
    assert found.weight_bytes == 4 * (4 * layer + 128 * 4096)
    assert found.kv_token_bytes == 2 * 4 * 2 * 32 * 4


def test_a_trace_of_engine_steps_is_kept(records):
    [found] = records[1].observed["traces"]
    with gzip.open(found["trace"]) as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert names & {"aten::linear", "aten::mm", "aten::addmm", "aten::embedding"}
